// The verbs that ask and order: prefetch, ls, nodes, status, pin, rm, gc, verify.
#include "core/api/operate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/api/catalogue.h"
#include "core/api/message.h"
#include "tests/cli/command_run.h"
#include "tests/fakes/fake_agent.h"

namespace shoal::cli {
namespace {

using fakes::FakeAgent;
using fakes::FakeAnswer;
using fakes::FakeRequest;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;

api::NodeProgress node(std::string name, api::NodePhase state, std::uint64_t done) {
  api::NodeProgress out;
  out.node = std::move(name);
  out.state = state;
  out.bytes_total = 100;
  out.bytes_done = done;
  out.by_source.peers = done;
  out.last_heard_ms_ago = 100;
  return out;
}

class OperateTest : public ::testing::Test {
 protected:
  Ran run(std::vector<std::string> args) {
    args.insert(args.begin(), {"--agent", server_.socket().string()});
    return command_.run(args);
  }

  api::PrefetchStatus prefetch_status(api::PrefetchState state) {
    api::PrefetchStatus status;
    status.id = "00ff";
    status.version = 1;
    status.reference = "m:1";
    status.manifest = *content::Digest::parse(kDigest);
    status.state = state;
    status.nodes = nodes_;
    status.totals.nodes = nodes_.size();
    for (const api::NodeProgress& one : nodes_) {
      status.totals.complete += one.state == api::NodePhase::kComplete;
    }
    return status;
  }

  FakeAnswer handle(FakeRequest& request) {
    bodies_.push_back(request.body);
    if (custom_) {
      if (auto answer = custom_(request)) return *answer;
    }
    const std::string& target = request.target;
    if (target == "/v1/tracker/prefetch") {
      return {.body = R"({"id":"00ff","nodes":["n1","n2"],"manifest":")" + kDigest + "\"}"};
    }
    if (target.starts_with("/v1/tracker/prefetch/00ff")) {
      if (request.method == "DELETE") {
        return {.body = api::encode(prefetch_status(api::PrefetchState::kCancelled))};
      }
      ++polls_;
      if (on_poll_) on_poll_();
      return {.body = api::encode(prefetch_status(
                  polls_ <= running_polls_ ? api::PrefetchState::kRunning : final_))};
    }
    return {.status = 404, .body = R"({"error":{"code":"not_found","message":"no such thing"}})"};
  }

  std::vector<api::NodeProgress> nodes_;
  api::PrefetchState final_ = api::PrefetchState::kComplete;
  int polls_ = 0;
  int running_polls_ = 0;
  std::function<void()> on_poll_;
  std::function<std::optional<FakeAnswer>(FakeRequest&)> custom_;
  std::vector<std::string> bodies_;
  CommandRun command_;  // outlives the server, whose thread presses its Ctrl-C
  FakeAgent server_{[this](FakeRequest& request) { return handle(request); }};
};

TEST_F(OperateTest, PrefetchOrdersAndReturns) {
  Ran ran = run({"prefetch", "m:1", "--nodes", "zone=z1,gpu=h100", "--pin", "--timeout", "30m"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(Json::parse(bodies_[0]), (Json{{"reference", "m:1"},
                                           {"nodes", {{"zone", "z1"}, {"gpu", "h100"}}},
                                           {"pin", true},
                                           {"timeout_ms", 1'800'000}}));
  EXPECT_THAT(ran.out, AllOf(HasSubstr("00ff\n"), HasSubstr("2 nodes")));
}

TEST_F(OperateTest, PrefetchWaitsUntilEveryNodeHasIt) {
  nodes_ = {node("n1", api::NodePhase::kComplete, 100), node("n2", api::NodePhase::kComplete, 100)};
  running_polls_ = 2;
  Ran ran = run({"prefetch", "m:1", "--wait", "--json"});
  EXPECT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(ran.json()["state"], "complete");
  EXPECT_EQ(ran.json()["laggards"], Json::array());
  EXPECT_EQ(polls_, 3);
}

TEST_F(OperateTest, PrefetchListsLaggardsWithTheirReasons) {
  nodes_ = {node("n1", api::NodePhase::kComplete, 100), node("n2", api::NodePhase::kRunning, 50),
            node("n3", api::NodePhase::kFailed, 0), node("n4", api::NodePhase::kAbsent, 0)};
  nodes_[1].waiting_for = "a source of piece 3";
  nodes_[2].error = Error(Errc::kNoSpace, "disk full");
  nodes_[3].last_heard_ms_ago = -1;
  for (api::PrefetchState state : {api::PrefetchState::kTimedOut, api::PrefetchState::kFailed}) {
    final_ = state;
    Ran ran = run({"prefetch", "m:1", "--wait"});
    EXPECT_EQ(ran.code, kExitPartly);
    EXPECT_THAT(ran.out, AllOf(HasSubstr("waiting for a source of piece 3"), HasSubstr("disk full"),
                               HasSubstr("never heard of this node"), Not(HasSubstr("n1"))));
    EXPECT_THAT(ran.err, HasSubstr("m:1 is on 1 of 4 nodes"));
    Json json = run({"prefetch", "m:1", "--wait", "--json"}).json();
    EXPECT_EQ(json["ok"], false);
    EXPECT_EQ(json["laggards"].size(), 3u);
    EXPECT_EQ(json["laggards"][1], (Json{{"node", "n3"}, {"reason", "disk full"}}));
  }
}

TEST_F(OperateTest, CtrlCCancelsTheOrder) {
  nodes_ = {node("n1", api::NodePhase::kRunning, 1)};
  running_polls_ = 1'000'000;
  on_poll_ = [this] { command_.press_ctrl_c(); };
  Ran ran = run({"prefetch", "m:1", "--wait"});
  EXPECT_EQ(ran.code, kExitInterrupted);
  EXPECT_THAT(server_.seen(), Contains("DELETE /v1/tracker/prefetch/00ff"));
  EXPECT_THAT(ran.err, HasSubstr("cancelled the order"));
}

TEST_F(OperateTest, PrefetchOutlivesATrackerThatRestarts) {
  nodes_ = {node("n1", api::NodePhase::kComplete, 100)};
  int failures = 1;
  custom_ = [&](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (request.method != "GET" || failures-- <= 0) return std::nullopt;
    return FakeAnswer{.status = 502,
                      .body = R"({"error":{"code":"unavailable","message":"tracker away"}})"};
  };
  Ran ran = run({"prefetch", "m:1", "--wait", "--progress", "plain"});
  EXPECT_EQ(ran.code, kExitOk);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("prefetching m:1: "),
                             HasSubstr("no answer from the tracker: tracker away")));
}

TEST_F(OperateTest, AnUnknownReferenceIsSaid) {
  custom_ = [](FakeRequest&) {
    return FakeAnswer{.status = 404,
                      .body = R"({"error":{"code":"not_found","message":"m:9 is unknown"}})"};
  };
  Ran ran = run({"prefetch", "m:9"});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("m:9 is unknown"));
}

TEST_F(OperateTest, ListsNamesOverAllPages) {
  custom_ = [](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (request.target.starts_with("/v1/tracker/references?")) {
      bool first = request.target.find("after=a%3A1") == std::string::npos;
      api::ReferenceList list;
      api::ReferenceRecord& record = list.references.emplace_back();
      record.reference = first ? "a:1" : "b:1";
      record.manifest = *content::Digest::parse(kDigest);
      if (first) list.next = "a:1";
      return FakeAnswer{.body = api::encode(list)};
    }
    if (request.target == "/v1/tracker/ingests") {
      api::IngestList list;
      for (auto state : {api::IngestState::kRunning, api::IngestState::kFailed}) {
        api::IngestStatus& ingest = list.ingests.emplace_back();
        ingest.reference = state == api::IngestState::kRunning ? "new:1" : "failed:1";
        ingest.node = "n7";
        ingest.state = state;
        if (state == api::IngestState::kFailed) ingest.error = Error(Errc::kDenied, "no");
      }
      return FakeAnswer{.body = api::encode(list)};
    }
    if (request.target.starts_with("/v1/tracker/resolve?")) {
      EXPECT_THAT(request.target, HasSubstr("sha256")) << "what the name is of, not what comes";
      api::Resolved resolved;
      resolved.reference = "x";
      resolved.manifest = *content::Digest::parse(kDigest);
      resolved.bytes_total = 2048;
      resolved.files = 3;
      return FakeAnswer{.body = api::encode(resolved)};
    }
    return std::nullopt;
  };
  Ran ran = run({"ls"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("a:1"), HasSubstr("b:1"), HasSubstr("2.0 KiB")));
  EXPECT_THAT(ran.out + ran.err,
              AllOf(HasSubstr("new:1 is being published by node n7"), Not(HasSubstr("failed:1"))));
  const auto json = run({"ls", "--json"}).json();
  EXPECT_EQ(json["references"].size(), 2u);
  EXPECT_EQ(json["publishing"].size(), 1u);
}

TEST_F(OperateTest, ListsTheStore) {
  custom_ = [](FakeRequest&) {
    return FakeAnswer{.body = R"([{"digest":")" + kDigest +
                              R"(","size":10,"bytes_have":5,"state":"live","pinned":true,
                                 "references":["m:1"]}])"};
  };
  Ran ran = run({"ls", "--local"});
  EXPECT_THAT(ran.out, AllOf(HasSubstr(kDigest), HasSubstr("pinned"), HasSubstr("m:1")));
}

TEST_F(OperateTest, ListsNodes) {
  custom_ = [](FakeRequest&) {
    api::NodeList list;
    api::NodeInfo& info = list.nodes.emplace_back();
    info.node = "gpu-1";
    info.state = "live";
    info.topology.rack = "r1";
    return FakeAnswer{.body = api::encode(list)};
  };
  EXPECT_THAT(run({"nodes"}).out, AllOf(HasSubstr("gpu-1"), HasSubstr("-/-/r1")));
  EXPECT_EQ(run({"nodes", "--json"}).json()["nodes"][0]["node"], "gpu-1");
}

TEST_F(OperateTest, StatusOfAModelShowsItsNodes) {
  custom_ = [](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (request.target == "/v1/status") return FakeAnswer{.body = R"({"node":"here"})"};
    if (request.target.starts_with("/v1/explain")) {
      return FakeAnswer{.body = R"({"reference":"m:1","state":"running","manifest":")" + kDigest +
                                R"(","files":[{"path":"f","digest":")" + kDigest +
                                R"(","pieces_have":1,"pieces_total":9,
                                 "waits":[{"kind":"peer","text":"slow\nnode","since_ms":2000}],
                                 "last_errors":["reset by n2"]}]})"};
    }
    api::StatusReport report;
    report.reference = "m:1";
    report.manifest = *content::Digest::parse(kDigest);
    report.nodes = {node("n1", api::NodePhase::kRunning, 30)};
    report.nodes[0].last_errors = {"n9 closed the connection"};
    report.totals.nodes = 1;
    return FakeAnswer{.body = api::encode(report)};
  };
  EXPECT_THAT(run({"status", "m:1"}).out, AllOf(HasSubstr("n1"), HasSubstr("30%")));
  EXPECT_THAT(run({"status", "m:1", "--node", "n1", "--explain"}).out,
              HasSubstr("last error: n9 closed the connection"));
  Ran other = run({"status", "m:1", "--node", "n7"});
  EXPECT_EQ(other.code, kExitFailed);
  EXPECT_THAT(other.err, HasSubstr("n7 has nothing of m:1"));
  // This node's own agent knows it file by file.
  for (const auto& args : {std::vector<std::string>{"status", "m:1", "--explain"},
                           {"status", "m:1", "--node", "here", "--explain"}}) {
    EXPECT_THAT(run(args).out, AllOf(HasSubstr("pieces 1 of 9"),
                                     HasSubstr("waits for peer since 2.0s: slow\\x0anode"),
                                     HasSubstr("reset by n2")));
  }
  EXPECT_EQ(run({"status", "--explain"}).code, kExitUsage);
}

TEST_F(OperateTest, PinsAndUnpins) {
  custom_ = [](FakeRequest& request) -> std::optional<FakeAnswer> {
    return FakeAnswer{.body =
                          request.target == "/v1/pin"
                              ? R"({"pinned":[{"reference":"m:1","manifest":")" + kDigest + "\"}]}"
                              : R"({"pinned":[]})"};
  };
  EXPECT_THAT(run({"pin", "m:1"}).out, HasSubstr("m:1"));
  EXPECT_EQ(run({"unpin", kDigest, "--json"}).json()["pinned"], Json::array());
  EXPECT_THAT(bodies_, ElementsAre(R"({"reference":"m:1"})", R"({"manifest":")" + kDigest + "\"}"));
  EXPECT_EQ(run({"pin", "Bad Name"}).code, kExitUsage);
}

TEST_F(OperateTest, RemovesAName) {
  custom_ = [](FakeRequest&) {
    api::ReferenceRecord record;
    record.reference = "m:1";
    record.manifest = *content::Digest::parse(kDigest);
    return FakeAnswer{.body = api::encode(record)};
  };
  EXPECT_EQ(run({"rm", "m:1"}).code, kExitOk);
  EXPECT_THAT(server_.seen(), ElementsAre("DELETE /v1/tracker/references?reference=m%3A1"));
  EXPECT_EQ(run({"rm", "m@" + kDigest}).code, kExitUsage);
}

TEST_F(OperateTest, GcSaysWhatItKeptAndWhenItWasNotEnough) {
  custom_ = [](FakeRequest&) {
    return FakeAnswer{.body = R"({"freed_bytes":100,"evicted":[")" + kDigest +
                              R"("],"kept":[{"digest":")" + kDigest + R"(","reason":"pinned"}]})"};
  };
  Ran ran = run({"gc", "--free", "1KiB"});
  EXPECT_EQ(ran.code, kExitPartly);
  EXPECT_EQ(Json::parse(bodies_[0]), (Json{{"dry_run", false}, {"target_bytes", 1024}}));
  EXPECT_THAT(ran.out, AllOf(HasSubstr("evicted"), HasSubstr("kept: pinned")));
  ran = run({"gc", "--dry-run"});
  EXPECT_EQ(ran.code, kExitOk);
  EXPECT_THAT(ran.out, HasSubstr("would free 100 B"));
}

TEST_F(OperateTest, VerifyFailsWhenAPieceIsWrong) {
  std::string bad = "[]";
  custom_ = [&](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (request.method == "POST") return FakeAnswer{.status = 202, .body = R"({"job":"v"})"};
    return FakeAnswer{.body =
                          R"({"state":"done","bytes_done":5,"bytes_total":5,"bad":)" + bad + "}"};
  };
  EXPECT_EQ(run({"verify", "m:1"}).code, kExitOk);
  bad = R"([{"digest":")" + kDigest + R"(","path":"w","pieces":2}])";
  Ran ran = run({"verify", "m:1", "--json"});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_EQ(ran.json()["bad"][0]["pieces"], 2);
  EXPECT_EQ(ran.json()["error"]["code"], "corrupt");
}

TEST_F(OperateTest, VerifySaysWhatIsNotHere) {
  custom_ = [&](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (request.method == "POST") return FakeAnswer{.status = 202, .body = R"({"job":"v"})"};
    return FakeAnswer{.body = R"({"state":"done","bytes_done":5,"bytes_total":5,"bad":[],)"
                              R"("missing":[{"path":"w"},{"path":"x"}]})"};
  };
  Ran ran = run({"verify", "m:1"});
  EXPECT_EQ(ran.code, kExitPartly);
  EXPECT_THAT(ran.err, HasSubstr("not whole on this node: w and 1 other file"));
  ran = run({"verify", "m:1", "--json"});
  EXPECT_EQ(ran.json()["missing"], (Json{"w", "x"}));
}

}  // namespace
}  // namespace shoal::cli
