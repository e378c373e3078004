#include "core/agent_client/client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/random.h"
#include "tests/fakes/fake_agent.h"

namespace shoal::agent_client {
namespace {

using fakes::FakeAgent;
using fakes::FakeAnswer;
using fakes::FakeRequest;
using Json = nlohmann::json;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

Client client_of(const FakeAgent& agent, milliseconds timeout = milliseconds(10'000)) {
  Options options;
  options.socket = agent.socket();
  options.timeout = timeout;
  options.pull_id = "p1";
  return Client(options);
}

UniqueFd memory_file(std::string_view text) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return fd;
}

std::string read_all(int fd) {
  std::string out(100, '\0');
  ssize_t got = ::pread(fd, out.data(), out.size(), 0);
  out.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return out;
}

TEST(AgentClient, HandsADescriptorToTheAgent) {
  std::string content;
  Json body;
  std::string pull_id;
  FakeAgent agent([&](FakeRequest& request) {
    if (request.fds.size() == 1) content = read_all(request.fds[0].get());
    body = Json::parse(request.body);
    pull_id = request.headers["shoal-pull-id"];
    return FakeAnswer{.status = 202, .body = R"({"job":"j 1"})"};
  });
  Client client = client_of(agent);
  UniqueFd file = memory_file("weights");
  EXPECT_EQ(client.start_ingest(file.get(), IngestMode::kInPlace, "/abs/file"), "j 1");
  EXPECT_EQ(content, "weights");
  EXPECT_EQ(body, (Json{{"mode", "in-place"}, {"path", "/abs/file"}}));
  EXPECT_EQ(pull_id, "p1");
}

TEST(AgentClient, TakesTheDescriptorsOfAnOpenedBlob) {
  UniqueFd data = memory_file("data");
  UniqueFd ready = memory_file("ready");
  FakeAgent agent([&](FakeRequest&) {
    return FakeAnswer{.body = R"({"size":4,"piece_length":65536,"state":"complete"})",
                      .fds = {data.get(), ready.get()}};
  });
  Client client = client_of(agent);
  Result<OpenedBlob> opened = client.open(*content::Digest::parse(kDigest));
  ASSERT_TRUE(opened) << opened.error().str();
  EXPECT_EQ(read_all(opened->data.get()), "data");
  EXPECT_EQ(read_all(opened->ready.get()), "ready");
  EXPECT_NE(::fcntl(opened->data.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(opened->size, 4u);
  EXPECT_EQ(opened->state, "complete");
}

TEST(AgentClient, AnOpenWithoutItsDescriptorsIsCorrupt) {
  UniqueFd only = memory_file("x");
  FakeAgent agent([&](FakeRequest&) {
    return FakeAnswer{.body = R"({"size":4,"piece_length":65536,"state":"live"})",
                      .fds = {only.get()}};
  });
  Client client = client_of(agent);
  EXPECT_EQ(client.open(content::Digest()).error().code(), Errc::kCorrupt);
}

TEST(AgentClient, AsksForJobsAndPullsAsTheDocumentSays) {
  FakeAgent agent([&](FakeRequest& request) {
    if (request.method == "DELETE") return FakeAnswer{.status = 204};
    if (request.target.starts_with("/v1/ingests/")) {
      return FakeAnswer{.body = R"({"state":"running"})"};
    }
    if (request.target == "/v1/pulls") {
      return FakeAnswer{.status = 202, .body = R"({"pull":"7","manifest":")" + kDigest + "\"}"};
    }
    return FakeAnswer{.body = R"({"state":"complete","manifest":")" + kDigest + "\"}"};
  });
  Client client = client_of(agent);
  EXPECT_TRUE(client.ingest("a/b", milliseconds(500)));
  EXPECT_TRUE(client.cancel_ingest("j"));
  EXPECT_EQ(client.start_pull("m:1", true, PullClass::kPrefetch)->pull, "7");
  EXPECT_TRUE(client.pull("7", 3, milliseconds(20)));
  EXPECT_TRUE(client.cancel_pull("7"));
  EXPECT_THAT(agent.seen(), ElementsAre("GET /v1/ingests/a%2Fb?wait=500", "DELETE /v1/ingests/j",
                                        "POST /v1/pulls", "GET /v1/pulls/7?since=3&wait=20",
                                        "DELETE /v1/pulls/7"));
  EXPECT_EQ(client.generation(), 1u) << "one connection for all of them";
}

TEST(AgentClient, PinsByReferenceOrByDigest) {
  std::vector<Json> bodies;
  FakeAgent agent([&](FakeRequest& request) {
    bodies.push_back(Json::parse(request.body));
    return FakeAnswer{.body = R"({"pinned":[{"reference":"m:1","manifest":")" + kDigest + "\"}]}"};
  });
  Client client = client_of(agent);
  EXPECT_EQ(client.pin("m:1")->at(0).reference, "m:1");
  EXPECT_TRUE(client.unpin(kDigest));
  EXPECT_THAT(bodies, ElementsAre(Json{{"reference", "m:1"}}, Json{{"manifest", kDigest}}));
}

TEST(AgentClient, SendsPublishWantAndGcBodies) {
  std::map<std::string, Json> bodies;
  FakeAgent agent([&](FakeRequest& request) {
    bodies[request.target] = Json::parse(request.body);
    if (request.target == "/v1/gc") return FakeAnswer{.body = R"({"freed_bytes":9})"};
    if (request.target == "/v1/want") return FakeAnswer{.status = 204};
    return FakeAnswer{.body = R"({"manifest":")" + kDigest + "\"}"};
  });
  Client client = client_of(agent);
  content::Digest digest = *content::Digest::parse(kDigest);
  PublishRequest publish{"m:1", "{\"schemaVersion\":2}", "{}", {{digest, "http://o/a%20b"}}};
  EXPECT_EQ(client.publish(publish), digest);
  EXPECT_EQ(bodies["/v1/publish"],
            (Json{{"reference", "m:1"},
                  {"manifest", "{\"schemaVersion\":2}"},
                  {"config", "{}"},
                  {"origins", Json::array({{{"blob", kDigest}, {"url", "http://o/a%20b"}}})},
                  {"origin_nodes", "all"}}));
  publish.readers = {OriginReaders::Kind::kLabels, {}, {{"pool", "a"}}};
  publish.origins[0].version = "\"v1\"";
  EXPECT_EQ(client.publish(publish), digest);
  EXPECT_EQ(bodies["/v1/publish"]["origins"][0]["version"], "\"v1\"");
  EXPECT_EQ(bodies["/v1/publish"]["origin_nodes"], (Json{{"pool", "a"}}));
  EXPECT_TRUE(client.want({digest, {{0, 10}, {20, 5}}, milliseconds(100), WantClass::kFault}));
  EXPECT_EQ(bodies["/v1/want"],
            (Json{{"digest", kDigest},
                  {"ranges", Json::array({Json::array({0, 10}), Json::array({20, 5})})},
                  {"by_ms", 100},
                  {"class", "fault"}}));
  EXPECT_EQ(client.gc(true, 5)->freed_bytes, 9u);
  EXPECT_EQ(bodies["/v1/gc"], (Json{{"dry_run", true}, {"target_bytes", 5}}));
  EXPECT_TRUE(client.gc(false, std::nullopt));
  EXPECT_EQ(bodies["/v1/gc"], (Json{{"dry_run", false}, {"target_bytes", nullptr}}));
}

TEST(AgentClient, TheAgentsErrorsKeepTheirCode) {
  FakeAgent agent([&](FakeRequest&) {
    return FakeAnswer{.status = 404,
                      .body = R"({"error":{"code":"not_found","message":"no such reference"}})"};
  });
  Client client = client_of(agent);
  Result<Explanation> answer = client.explain("m:1");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error(), Error(Errc::kNotFound, "no such reference"));
}

TEST(AgentClient, ForwardsToTheTrackerWhateverItAnswers) {
  FakeAgent agent([&](FakeRequest& request) {
    return FakeAnswer{.status = 409, .body = request.body, .content_type = "text/x"};
  });
  Client client = client_of(agent);
  Result<RawAnswer> answer = client.forward("POST", "/v1/prefetch?x=1", "{}", milliseconds(0));
  ASSERT_TRUE(answer) << answer.error().str();
  EXPECT_EQ(answer->status, 409);
  EXPECT_EQ(answer->body, "{}");
  EXPECT_EQ(answer->content_type, "text/x");
  EXPECT_THAT(agent.seen(), ElementsAre("POST /v1/tracker/prefetch?x=1"));
  EXPECT_EQ(client.forward("GET", "/metrics", "", milliseconds(0)).error().code(), Errc::kInvalid);
}

TEST(AgentClient, ConnectsAgainAfterTheAgentClosed) {
  FakeAgent agent([&](FakeRequest&) { return FakeAnswer{.body = "[]", .close_after = true}; });
  Client client = client_of(agent);
  EXPECT_TRUE(client.blobs());
  EXPECT_TRUE(client.blobs());
  EXPECT_EQ(client.generation(), 2u);
}

TEST(AgentClient, RepeatsAReadThatADyingConnectionSwallowedButNotAWrite) {
  FakeAgent agent([&](FakeRequest& request) {
    // The first connection dies with its second request.
    bool second = request.target != "/v1/blobs";
    return FakeAnswer{.body = second ? R"({"pinned":[]})" : "[]",
                      .no_answer = second && request.connection == 1};
  });
  Client client = client_of(agent);
  EXPECT_TRUE(client.blobs());
  Result<std::vector<Pinned>> pinned = client.pin("m:1");
  ASSERT_FALSE(pinned);
  EXPECT_EQ(pinned.error().code(), Errc::kUnavailable);
  EXPECT_TRUE(client.pin("m:1")) << "and the client is usable afterwards";

  FakeAgent other([&](FakeRequest& request) {
    return FakeAnswer{.body = R"({"node":"n"})",
                      .no_answer = request.connection == 1 && request.target == "/v1/status"};
  });
  Client reader = client_of(other);
  EXPECT_FALSE(reader.blobs()) << "an object is no list";
  EXPECT_EQ(reader.status()->node, "n");
}

TEST(AgentClient, SaysThatNobodyListens) {
  Options options;
  options.socket = "/nonexistent/agent.sock";
  Client client(options);
  Result<AgentStatus> status = client.status();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kUnavailable);
  EXPECT_THAT(status.error().message(), HasSubstr("/nonexistent/agent.sock"));
}

TEST(AgentClient, ASocketPathThatIsTooLongIsInvalid) {
  Options options;
  options.socket = "/" + std::string(200, 'x');
  EXPECT_EQ(Client(options).status().error().code(), Errc::kInvalid);
}

TEST(AgentClient, GivesUpAtItsDeadline) {
  // Half a head and then nothing: the client must not trust that the rest comes.
  FakeAgent agent([&](FakeRequest&) { return FakeAnswer{.raw = "HTTP/1.1 200 OK\r\n"}; });
  Client client = client_of(agent, milliseconds(50));
  EXPECT_EQ(client.status().error().code(), Errc::kTimedOut);
}

TEST(AgentClient, EndsWhenItIsCancelled) {
  FakeAgent agent([&](FakeRequest&) { return FakeAnswer{.raw = "HTTP/1.1 200 OK\r\n"}; });
  UniqueFd cancel(::eventfd(0, EFD_CLOEXEC));
  Options options;
  options.socket = agent.socket();
  options.cancel_fd = cancel.get();
  Client client(options);
  std::uint64_t one = 1;
  ASSERT_EQ(::write(cancel.get(), &one, sizeof one), 8);
  EXPECT_EQ(client.status().error().code(), Errc::kCancelled);
  EXPECT_EQ(client.status().error().code(), Errc::kCancelled) << "and stays cancelled";
}

TEST(AgentClient, RefusesGarbageAndShortAnswers) {
  for (const char* raw :
       {"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]surplus",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}) {
    FakeAgent agent([&](FakeRequest&) { return FakeAnswer{.raw = raw}; });
    Client client = client_of(agent);
    EXPECT_EQ(client.blobs().error().code(), Errc::kCorrupt) << raw;
  }
  FakeAgent agent([&](FakeRequest&) {
    return FakeAnswer{.raw = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]",
                      .close_after = true};
  });
  Client client = client_of(agent);
  EXPECT_EQ(client.blobs().error().code(), Errc::kUnavailable);
}

TEST(AgentClient, ReadsABodyOfManyPackets) {
  std::string big = "[";
  for (int i = 0; i < 20'000; ++i) {
    big += std::string(i == 0 ? "" : ",") + R"({"digest":")" + kDigest + R"(","size":1})";
  }
  big += "]";
  FakeAgent agent([&](FakeRequest&) { return FakeAnswer{.body = big}; });
  Client client = client_of(agent);
  EXPECT_EQ(client.blobs()->size(), 20'000u);
}

}  // namespace
}  // namespace shoal::agent_client
