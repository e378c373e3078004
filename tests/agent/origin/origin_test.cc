#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "agent/origin/directory_origin.h"
#include "agent/origin/http_origin.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

AllowList allow(std::vector<std::string> entries) { return *AllowList::parse(entries); }

class DirectoryOriginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/shoal-origin-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    write("file", "0123456789");
  }
  void TearDown() override {
    for (const char* name : {"file", "link", "other"}) ::unlink((root_ + "/" + name).c_str());
    ::rmdir(root_.c_str());
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(root_ + "/" + name, std::ios::trunc) << text;
  }
  std::string url(const std::string& name) { return "file://" + root_ + "/" + name; }

  std::string root_;
};

TEST_F(DirectoryOriginTest, ReadsTheRangeAsked) {
  AllowList list = allow({"dir:" + root_});
  DirectoryOrigin origin(list);
  OriginFile file;
  CancelFlag cancel{false};
  ASSERT_TRUE(origin.probe(url("file"), file, cancel).status);
  EXPECT_EQ(file.size, 10u);
  ReadResult result = read_from(origin, file, {3, 4});
  ASSERT_TRUE(result.status.status) << result.status.status.error().str();
  EXPECT_EQ(result.bytes, "3456");
}

TEST_F(DirectoryOriginTest, RefusesASymlinkThatLeadsOut) {
  AllowList list = allow({"dir:" + root_});
  DirectoryOrigin origin(list);
  ASSERT_EQ(::symlink("/etc/passwd", (root_ + "/link").c_str()), 0);
  OriginFile file;
  CancelFlag cancel{false};
  OriginStatus status = origin.probe(url("link"), file, cancel);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kDenied);
}

TEST_F(DirectoryOriginTest, SaysThatTheFileChangedRatherThanMixVersions) {
  AllowList list = allow({"dir:" + root_});
  DirectoryOrigin origin(list);
  OriginFile file;
  CancelFlag cancel{false};
  ASSERT_TRUE(origin.probe(url("file"), file, cancel).status);
  write("other", "9876543210");
  ASSERT_EQ(::rename((root_ + "/other").c_str(), (root_ + "/file").c_str()), 0);
  ReadResult result = read_from(origin, file, {0, 10});
  ASSERT_FALSE(result.status.status);
  EXPECT_EQ(result.status.status.error().code(), Errc::kConflict);
  EXPECT_EQ(result.bytes, "");
}

TEST_F(DirectoryOriginTest, ListsWhatIsWantedBelowAFolder) {
  DirectoryOrigin origin(allow({"dir:" + root_}));
  write("other", "x");
  ASSERT_EQ(::symlink("file", (root_ + "/link").c_str()), 0);
  OriginListing listing;
  CancelFlag cancel{false};
  OriginStatus status = origin.list({"dir:" + root_, {}, {"o*"}, ""}, listing, cancel);
  ASSERT_TRUE(status.status) << status.status.error().str();
  ASSERT_EQ(listing.files.size(), 2u);
  EXPECT_EQ(listing.files[0].path.str(), "file");
  EXPECT_EQ(listing.files[1].path.str(), "link");
  EXPECT_EQ(listing.files[1].file.size, 10u);
  EXPECT_EQ(listing.files[0].file.url, url("file"));
  EXPECT_EQ(
      origin.list({"dir:" + root_, {"*.none"}, {}, ""}, listing, cancel).status.error().code(),
      Errc::kNotFound);
  EXPECT_EQ(origin.list({"dir:/etc", {}, {}, ""}, listing, cancel).status.error().code(),
            Errc::kDenied);
  ASSERT_EQ(::unlink((root_ + "/link").c_str()), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (root_ + "/link").c_str()), 0);
  EXPECT_EQ(origin.list({"dir:" + root_, {}, {}, ""}, listing, cancel).status.error().code(),
            Errc::kInvalid);
}

TEST_F(DirectoryOriginTest, SaysThatAFileOrAccessIsMissing) {
  AllowList list = allow({"dir:" + root_});
  DirectoryOrigin origin(list);
  OriginFile file;
  CancelFlag cancel{false};
  EXPECT_EQ(origin.probe(url("none"), file, cancel).status.error().code(), Errc::kNotFound);
  EXPECT_EQ(origin.probe("file:///etc/passwd", file, cancel).status.error().code(), Errc::kDenied);
  EXPECT_EQ(origin.probe("file://" + root_, file, cancel).status.error().code(), Errc::kInvalid);
}

TEST_F(DirectoryOriginTest, StopsWhenTheSinkFailsOrTheReadIsCancelled) {
  AllowList list = allow({"dir:" + root_});
  DirectoryOrigin origin(list);
  OriginFile file;
  CancelFlag cancel{false};
  ASSERT_TRUE(origin.probe(url("file"), file, cancel).status);
  OriginStatus status = origin.read(
      file, {0, 10}, [](auto) -> Status { return fail(Errc::kNoSpace, "full"); }, cancel);
  EXPECT_EQ(status.status.error().code(), Errc::kNoSpace);
  cancel = true;
  status = origin.read(
      file, {0, 10}, [](auto) -> Status { return {}; }, cancel);
  EXPECT_EQ(status.status.error().code(), Errc::kCancelled);
}

class HttpOriginTest : public OriginFixture {
 protected:
  OriginStatus probe(const std::string& url, OriginFile& file) {
    CancelFlag cancel{false};
    return origin_.probe(url, file, cancel);
  }
  // Reads 4 bytes at 2 of a ten-byte file whose version is "v1" from a server with that answer.
  ReadResult read_with(const std::string& answer, bool close = false) {
    ScriptedServer server([&](const std::string&) {
      return ScriptedServer::Answer{answer, close, false};
    });
    return read_from(origin_, {server.url("/f"), 10, "\"v1\""}, {2, 4});
  }
  Errc error_with(const std::string& answer, bool close = false) {
    ReadResult result = read_with(answer, close);
    EXPECT_FALSE(result.status.status) << answer;
    return result.status.status ? Errc::kInternal : result.status.status.error().code();
  }

  HttpOrigin origin_{client()};
};

constexpr const char* kV1 = "ETag: \"v1\"\r\n";

TEST_F(HttpOriginTest, ProbeFindsSizeAndVersion) {
  ScriptedServer server([](const std::string& head) {
    EXPECT_NE(head.find("Range: bytes=0-0\r\n"), std::string::npos) << head;
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", std::string(kV1) + "Content-Range: bytes 0-0/1234\r\n", "x")};
  });
  OriginFile file;
  OriginStatus status = probe(server.url("/f"), file);
  ASSERT_TRUE(status.status) << status.status.error().str();
  EXPECT_EQ(file, (OriginFile{server.url("/f"), 1234, "\"v1\""}));
}

TEST_F(HttpOriginTest, ReadsARangeUnderIfMatchAndKeepsTheConnection) {
  ScriptedServer server([](const std::string& head) {
    EXPECT_NE(head.find("Range: bytes=2-5\r\n"), std::string::npos) << head;
    EXPECT_NE(head.find("If-Match: \"v1\"\r\n"), std::string::npos) << head;
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", std::string(kV1) + "Content-Range: bytes 2-5/10\r\n", "2345")};
  });
  OriginFile file{server.url("/f"), 10, "\"v1\""};
  for (int i = 0; i < 3; ++i) {
    ReadResult result = read_from(origin_, file, {2, 4});
    ASSERT_TRUE(result.status.status) << result.status.status.error().str();
    EXPECT_EQ(result.bytes, "2345");
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(HttpOriginTest, FollowsARedirectToAnAllowedHostOnly) {
  ScriptedServer target([](const std::string&) {
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", std::string(kV1) + "Content-Range: bytes 2-5/10\r\n", "2345")};
  });
  ScriptedServer server([&](const std::string& head) {
    std::string to = head.starts_with("GET /good ")
                         ? target.url("/f")
                         : "http://localhost:" + std::to_string(target.port()) + "/f";
    return ScriptedServer::Answer{http_answer("302 Found", "Location: " + to + "\r\n", "")};
  });
  ReadResult good = read_from(origin_, {server.url("/good"), 10, "\"v1\""}, {2, 4});
  ASSERT_TRUE(good.status.status) << good.status.status.error().str();
  EXPECT_EQ(good.bytes, "2345");
  ReadResult bad = read_from(origin_, {server.url("/bad"), 10, "\"v1\""}, {2, 4});
  ASSERT_FALSE(bad.status.status);
  EXPECT_EQ(bad.status.status.error().code(), Errc::kDenied);
  EXPECT_NE(bad.status.status.error().message().find("add 'localhost'"), std::string::npos);
}

TEST_F(HttpOriginTest, GivesUpOnARedirectLoop) {
  ScriptedServer server([](const std::string&) {
    return ScriptedServer::Answer{http_answer("302 Found", "Location: /again\r\n", "")};
  });
  ReadResult result = read_from(origin_, {server.url("/f"), 10, ""}, {2, 4});
  ASSERT_FALSE(result.status.status);
  EXPECT_EQ(result.status.status.error().code(), Errc::kUnavailable);
  EXPECT_LE(server.requests(), 6);
}

TEST_F(HttpOriginTest, TellsTheStatusesApart) {
  EXPECT_EQ(error_with(http_answer("401 Unauthorized", "", "no")), Errc::kDenied);
  EXPECT_EQ(error_with(http_answer("403 Forbidden", "", "no")), Errc::kDenied);
  EXPECT_EQ(error_with(http_answer("404 Not Found", "", "no")), Errc::kNotFound);
  EXPECT_EQ(error_with(http_answer("412 Precondition Failed", "", "")), Errc::kConflict);
  EXPECT_EQ(error_with(http_answer("416 Range Not Satisfiable", "", "")), Errc::kConflict);
  EXPECT_EQ(error_with(http_answer("500 Internal Server Error", "", "")), Errc::kUnavailable);
  EXPECT_EQ(error_with(http_answer("502 Bad Gateway", "", "")), Errc::kUnavailable);
}

TEST_F(HttpOriginTest, HonoursRetryAfter) {
  ReadResult result = read_with(http_answer("429 Too Many Requests", "Retry-After: 7\r\n", ""));
  EXPECT_EQ(result.status.status.error().code(), Errc::kOverloaded);
  EXPECT_EQ(result.status.retry_after, std::chrono::seconds(7));
}

TEST_F(HttpOriginTest, NeverTakesBytesOfAnotherRangeOrVersion) {
  EXPECT_EQ(error_with(http_answer("200 OK", kV1, "0123456789")), Errc::kInvalid);
  EXPECT_EQ(error_with(http_answer("206 Partial Content",
                                   std::string(kV1) + "Content-Range: bytes 0-3/10\r\n", "0123")),
            Errc::kInvalid);
  EXPECT_EQ(error_with(http_answer("206 Partial Content", kV1, "2345")), Errc::kInvalid);
  EXPECT_EQ(error_with(http_answer("206 Partial Content",
                                   "ETag: \"v2\"\r\nContent-Range: bytes 2-5/10\r\n", "2345")),
            Errc::kConflict);
  EXPECT_EQ(
      error_with(http_answer("206 Partial Content", "Content-Range: bytes 2-5/10\r\n", "2345")),
      Errc::kConflict);
}

TEST_F(HttpOriginTest, ShortBodiesAndGarbageAreUnavailable) {
  EXPECT_EQ(error_with(std::string("HTTP/1.1 206 Partial Content\r\n") + kV1 +
                           "Content-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n23",
                       true),
            Errc::kUnavailable);
  EXPECT_EQ(error_with(http_answer("206 Partial Content",
                                   std::string(kV1) + "Content-Range: bytes 2-5/10\r\n", "23")),
            Errc::kUnavailable);
  EXPECT_EQ(error_with("\x01\x02garbage\r\n\r\n", true), Errc::kUnavailable);
  EXPECT_EQ(error_with("", true), Errc::kUnavailable);
}

TEST_F(HttpOriginTest, SilenceTimesOut) {
  ScriptedServer server([](const std::string&) { return ScriptedServer::Answer{"", false, true}; });
  ReadResult result = read_from(origin_, {server.url("/f"), 10, ""}, {2, 4});
  ASSERT_FALSE(result.status.status);
  EXPECT_EQ(result.status.status.error().code(), Errc::kTimedOut);
}

TEST_F(HttpOriginTest, NeverConnectsToAHostThatIsNotListed) {
  ScriptedServer server([](const std::string&) { return ScriptedServer::Answer{"", true}; });
  OriginFile file;
  OriginStatus status = probe("http://localhost:" + std::to_string(server.port()) + "/f", file);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kDenied);
  EXPECT_EQ(server.connections(), 0);
}

}  // namespace
}  // namespace shoal::agent
