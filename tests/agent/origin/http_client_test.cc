#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "agent/origin/http_origin.h"
#include "agent/origin/http_range.h"
#include "agent/origin/text.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

TEST(Text, Globs) {
  EXPECT_TRUE(matches_glob("*", ""));
  EXPECT_TRUE(matches_glob("*.bin", "sub/a.bin"));
  EXPECT_TRUE(matches_glob("a?c", "abc"));
  EXPECT_TRUE(matches_glob("a*b*c", "aXbYbc"));
  EXPECT_FALSE(matches_glob("a*b*c", "aXbYbd"));
  EXPECT_FALSE(matches_glob("", "a"));
  EXPECT_FALSE(matches_glob("?", ""));
  // Many stars cost no more than a walk for each.
  EXPECT_FALSE(matches_glob(std::string(64, '*') + "b", std::string(100'000, 'a')));
}

TEST(HttpPlace, IsWhatIsConnectedTo) {
  EXPECT_EQ(*http_place("https://Models.Example/a?b"), (HttpPlace{"https", "models.example", 443}));
  EXPECT_EQ(*http_place("http://[::1]:81/"), (HttpPlace{"http", "::1", 81}));
  for (const char* bad : {"", "file:///etc/passwd", "ftp://h/a", "http://user@h/", "http://u:p@h/",
                          "gopher://h", "http://"}) {
    EXPECT_FALSE(http_place(bad)) << bad;
  }
}

class HttpClientTest : public OriginFixture {
 protected:
  HttpAnswer get(HttpClient& client, const std::string& url) {
    HttpCall call;
    call.url = url;
    return client.document(call, 1000, cancel_);
  }
  // The error of a redirect to `target`.
  Error redirected(const std::string& target) {
    ScriptedServer server([&](const std::string&) {
      return ScriptedServer::Answer{http_answer("302 Found", "Location: " + target + "\r\n", "")};
    });
    HttpAnswer answer = get(*client_, server.url("/"));
    EXPECT_FALSE(answer.result.status) << target;
    return answer.result.status ? Error(Errc::kInternal, "") : answer.result.status.error();
  }

  std::unique_ptr<HttpClient> client_ = client();
};

TEST_F(HttpClientTest, RedirectsGoNowhereElse) {
  EXPECT_EQ(redirected("http://169.254.169.254/latest/meta-data/").code(), Errc::kDenied);
  EXPECT_EQ(redirected("http://[fd00:ec2::254]/latest/").code(), Errc::kDenied);
  Error unlisted = redirected("http://models.example/x?token=secret");
  EXPECT_EQ(unlisted.code(), Errc::kDenied);
  EXPECT_NE(unlisted.message().find("add 'models.example' to origin-allow"), std::string::npos);
  EXPECT_EQ(redirected("file:///etc/passwd").code(), Errc::kInvalid);
  EXPECT_EQ(redirected("gopher://127.0.0.1/").code(), Errc::kInvalid);
  EXPECT_EQ(redirected("http://user:pass@127.0.0.1/").code(), Errc::kInvalid);
  EXPECT_EQ(redirected("http://127.0.0.1:99999/").code(), Errc::kInvalid);
}

TEST_F(HttpClientTest, UsualHostsMayNotResolveToPrivateAddresses) {
  AllowList list = allow({}).with_public(std::vector<std::string>{"localhost", "*.example.org"});
  HttpClient own(list, limits_, options());
  ScriptedServer server([](const std::string&) { return ScriptedServer::Answer{"", true, false}; });
  HttpAnswer answer = get(own, "http://localhost:" + std::to_string(server.port()) + "/");
  ASSERT_FALSE(answer.result.status);
  EXPECT_EQ(answer.result.status.error().code(), Errc::kDenied);
  EXPECT_NE(answer.result.status.error().message().find("private"), std::string::npos);
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(HttpClientTest, CredentialsStayWithThePlaceTheyAreFor) {
  ScriptedServer other([](const std::string& head) {
    EXPECT_EQ(head.find("Authorization"), std::string::npos) << head;
    return ScriptedServer::Answer{http_answer("200 OK", "", "there")};
  });
  ScriptedServer server([&](const std::string& head) {
    EXPECT_NE(head.find("Authorization: secret"), std::string::npos) << head;
    const std::string to = head.starts_with("GET /1 ") ? "/2" : other.url("/");
    return ScriptedServer::Answer{http_answer("302 Found", "Location: " + to + "\r\n", "")};
  });
  HttpCall call;
  call.url = server.url("/1");
  call.authorize = [](const HttpCall&, const std::string&) -> Result<HeaderList> {
    return HeaderList{{"Authorization", "secret"}};
  };
  HttpAnswer answer = client_->document(call, 1000, cancel_);
  ASSERT_TRUE(answer.ok()) << answer.result.status.error().str();
  EXPECT_EQ(answer.text, "there");
  EXPECT_EQ(answer.first.status, 302);
}

TEST_F(HttpClientTest, AHeaderWithALineBreakIsNotSent) {
  ScriptedServer server([](const std::string&) { return ScriptedServer::Answer{"", true, false}; });
  HttpCall call;
  call.url = server.url("/");
  call.headers = {{"X-A", "b\r\nX-Evil: c"}};
  HttpAnswer answer = client_->document(call, 1000, cancel_);
  ASSERT_FALSE(answer.result.status);
  EXPECT_EQ(answer.result.status.error().code(), Errc::kInvalid);
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(HttpClientTest, ADocumentHasAMostSize) {
  ScriptedServer server([](const std::string&) {
    return ScriptedServer::Answer{http_answer("200 OK", "", std::string(1001, 'x'))};
  });
  HttpAnswer answer = get(*client_, server.url("/"));
  ASSERT_FALSE(answer.result.status);
  EXPECT_EQ(answer.result.status.error().code(), Errc::kInvalid);
}

TEST_F(HttpClientTest, ADocumentIsAskedForAgainWhenThatMayHelp) {
  std::atomic<int> asked{0};
  ScriptedServer server([&](const std::string&) {
    ++asked;
    if (asked == 1) return ScriptedServer::Answer{"", true, false};
    if (asked == 2) {
      return ScriptedServer::Answer{http_answer("503 Service Unavailable", "", "")};
    }
    return ScriptedServer::Answer{http_answer("200 OK", "", "good")};
  });
  EXPECT_EQ(get(*client_, server.url("/")).text, "good");
  asked = 0;
  ScriptedServer refusing([&](const std::string&) {
    ++asked;
    return ScriptedServer::Answer{http_answer("403 Forbidden", "", "no")};
  });
  HttpAnswer refused = get(*client_, refusing.url("/"));
  EXPECT_EQ(refused.head.status, 403);
  EXPECT_EQ(refused.text, "no");
  EXPECT_EQ(asked, 1);
}

TEST_F(HttpClientTest, RangesOfCompressedBytesAreRefused) {
  ScriptedServer server([](const std::string&) {
    return ScriptedServer::Answer{
        http_answer("206 Partial Content",
                    "Content-Encoding: gzip\r\nContent-Range: bytes 0-3/10\r\n", "abcd")};
  });
  HttpFile file;
  file.call.url = server.url("/");
  file.version = [](const HttpHead&, const HttpHead&) { return std::string(); };
  OriginSink none = [](std::span<const std::byte>) -> Status {
    ADD_FAILURE() << "bytes were handed out";
    return {};
  };
  OriginStatus status = read_http_file(*client_, file, "", {0, 4}, none, cancel_);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kInvalid);
}

TEST_F(HttpClientTest, AnEmptyFileHasASize) {
  ScriptedServer server([](const std::string&) {
    return ScriptedServer::Answer{http_answer("416 Range Not Satisfiable",
                                              "Content-Range: bytes */0\r\nETag: \"e\"\r\n", "")};
  });
  HttpFile file;
  file.call.url = server.url("/");
  file.version = [](const HttpHead& head, const HttpHead&) { return version_of(head); };
  OriginFile found;
  OriginStatus status = probe_http_file(*client_, file, found, cancel_);
  ASSERT_TRUE(status.status) << status.status.error().str();
  EXPECT_EQ(found.size, 0u);
  EXPECT_EQ(found.version, "\"e\"");
}

TEST_F(HttpClientTest, AProxyIsUsedForAllButThoseSpared) {
  ScriptedServer proxy([](const std::string& head) {
    EXPECT_TRUE(head.starts_with("GET http://models.example/x ")) << head;
    return ScriptedServer::Answer{http_answer("200 OK", "", "through the proxy")};
  });
  ScriptedServer direct([](const std::string&) {
    return ScriptedServer::Answer{http_answer("200 OK", "", "direct")};
  });
  HttpClient::Options with = options();
  with.proxy = proxy.url("");
  with.no_proxy = "other.example, 127.0.0.1";
  HttpClient own(allow({"models.example", "127.0.0.1"}), limits_, with);
  EXPECT_EQ(get(own, "http://models.example/x").text, "through the proxy");
  EXPECT_EQ(get(own, direct.url("/")).text, "direct");
  // What is not allowed is not asked of a proxy either.
  EXPECT_FALSE(get(own, "http://evil.example/x").result.status);
}

// A server of one file of ten bytes that cuts its first answer off after four.
class ReadWholeTest : public OriginFixture {
 protected:
  Status read(const std::string& version, std::string& got) {
    ScriptedServer server([&](const std::string& head) {
      const bool first = asked_++ == 0;
      auto at = head.find("Range: bytes=");
      const auto begin = std::stoul(head.substr(at + 13));
      std::string body = std::string("0123456789").substr(begin);
      std::string answer = http_answer(
          "206 Partial Content",
          "ETag: \"v1\"\r\nContent-Range: bytes " + std::to_string(begin) + "-9/10\r\n", body);
      if (first) answer.resize(answer.size() - 6);
      return ScriptedServer::Answer{answer, first, false};
    });
    HttpOrigin origin(client());
    OriginSink take = [&](std::span<const std::byte> bytes) -> Status {
      got.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return {};
    };
    return read_whole(origin, {server.url("/f"), 10, version}, options().retry, take, cancel_);
  }
  std::atomic<int> asked_{0};
};

TEST_F(ReadWholeTest, IsTakenUpWhereItBroke) {
  std::string got;
  Status status = read("\"v1\"", got);
  ASSERT_TRUE(status) << status.error().str();
  EXPECT_EQ(got, "0123456789");
  EXPECT_EQ(asked_, 2);
}

TEST_F(ReadWholeTest, IsNotTakenUpWhereTheFileMayBeAnother) {
  std::string got;
  Status status = read("", got);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message().find("tells no version"), std::string::npos);
  EXPECT_EQ(got, "0123");
  EXPECT_EQ(asked_, 1);
}

TEST(OriginLimits, SoManyRequestsToOneHostAtOnce) {
  OriginLimits limits({.total = {}, .per_host = {}, .requests_per_host = 1});
  CancelFlag cancel{false};
  auto first = limits.enter("a", cancel);
  ASSERT_TRUE(first);
  EXPECT_TRUE(limits.enter("b", cancel)) << "another host";
  CancelFlag given_up{true};
  auto second = limits.enter("a", given_up);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::kCancelled);
  std::thread waiter([&] { EXPECT_TRUE(limits.enter("a", cancel)); });
  { auto gone = std::move(*first); }
  waiter.join();
}

TEST(OriginLimits, BytesComeAtTheRateAllowed) {
  OriginLimits limits({.total = Rate(10'000'000), .per_host = {}, .requests_per_host = 0});
  CancelFlag cancel{false};
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(limits.received("a", 100'000, cancel));
  // 2 MB at 10 MB/s, less what may come at once.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(120));
  cancel = true;
  EXPECT_EQ(limits.received("a", 100'000'000, cancel).error().code(), Errc::kCancelled);
}

}  // namespace
}  // namespace shoal::agent
