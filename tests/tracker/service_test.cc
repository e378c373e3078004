#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/api/catalogue.h"
#include "core/api/lease.h"
#include "core/api/operate.h"
#include "tests/tracker/service_fixture.h"

namespace shoal::tracker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const TestModel& model() {
  static const TestModel kModel =
      make_test_model("m", {{"a.safetensors", std::string(300'000, 'a')}, {"b.json", "{}"}});
  return kModel;
}

api::PullReport pull(const std::string& id, api::PullState state) {
  return {.id = id,
          .manifest = model().digest(),
          .state = state,
          .bytes_total = 100,
          .bytes_done = state == api::PullState::kComplete ? 100u : 40u};
}

TEST_F(ServiceTest, AnswersGarbageWithErrors) {
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  const std::string digest = model().digest().str();
  EXPECT_EQ(get("/v1/nothing").status, 404);
  EXPECT_EQ(send(request("DELETE", "/v1/nodes")).status, 405);
  for (std::string body : {"", "{", "[]", "null", "\xff", "{\"epoch\":7}", "{\"seq\":1}"}) {
    for (const char* path : {"/v1/nodes/n1/register", "/v1/nodes/n1/heartbeat",
                             "/v1/nodes/n1/leases", "/v1/prefetch"}) {
      EXPECT_EQ(send(request("POST", path, body)).status, 400) << path << " " << body;
    }
    EXPECT_EQ(send(request("PUT", "/v1/references", body, {{"reference", "a:b"}})).status, 400);
  }
  for (const char* body : {"", "{", "[]", "{\"origins\":{}}", "{\"origins\":[{}]}"}) {
    EXPECT_EQ(send(request("PUT", "/v1/origins/" + digest, body)).status, 400) << body;
  }
  EXPECT_EQ(get("/v1/manifests/sha256:AB").status, 400);
  EXPECT_EQ(get("/v1/manifests/" + digest).status, 404);
  EXPECT_EQ(get("/v1/resolve").status, 400);
  EXPECT_EQ(get("/v1/resolve", {{"reference", "UPPER:v1"}}).status, 400);
  EXPECT_EQ(get("/v1/resolve", {{"reference", "m:none"}}).status, 404);
  EXPECT_EQ(get("/v1/references", {{"limit", "0"}}).status, 400);
  EXPECT_EQ(get("/v1/nodes/n1/events", {{"epoch", "1"}, {"since", "-1"}}).status, 400);
  EXPECT_EQ(get("/v1/nodes/n1/events", {{"epoch", "2"}}).status, 409);
  EXPECT_EQ(get("/v1/nodes/n2/events", {{"epoch", "1"}}).status, 404);
  EXPECT_EQ(get("/v1/prefetch/0123").status, 404);
  EXPECT_EQ(send(request("DELETE", "/v1/prefetch/0123")).status, 404);
  EXPECT_EQ(send(request("POST", "/v1/nodes/.bad/register", "{}")).status, 400);
  EXPECT_EQ(as<api::VersionInfo>(get("/v1/version")).tracker_epoch, service_->epoch());
}

TEST_F(ServiceTest, RefusesBodiesBeyondTheirLimits) {
  const std::string digest = model().digest().str();
  EXPECT_EQ(
      send(request("POST", "/v1/nodes/n1/heartbeat", std::string((4u << 20) + 1, ' '))).status,
      413);
  EXPECT_EQ(send(request("PUT", "/v1/tables/" + digest, std::string(3u << 20, 'x'))).status, 413);
  EXPECT_EQ(send(request("PUT", "/v1/statements/" + digest + "/n1", std::string(8193, 'x'))).status,
            413);
  EXPECT_EQ(get("/v1/version").status, 200);
}

TEST_F(ServiceTest, RegistersWhoAnswersAtTheAdvertisedAddress) {
  FakeAgent agent(io_, "n1", "1");
  auto registered = as<api::RegisterResponse>(try_register(agent));
  EXPECT_EQ(registered.tracker_epoch, service_->epoch());
  EXPECT_EQ(registered.heartbeat, seconds(2));
  EXPECT_EQ(registered.address, agent.address());

  // Without a host: where the connection comes from.
  api::RegisterRequest wanted = agent.registration();
  wanted.advertise = wanted.advertise.substr(wanted.advertise.find(':'));
  wanted.admin = ":6971";
  registered = as<api::RegisterResponse>(post("/v1/nodes/n1/register", wanted));
  EXPECT_EQ(registered.address, agent.address());
  EXPECT_EQ(as<api::NodeList>(get("/v1/nodes")).nodes.at(0).admin, "127.0.0.1:6971");
}

TEST_F(ServiceTest, SaysWhyItCannotConnectBack) {
  FakeAgent agent(io_, "n1", "1");
  FakeAgent other(io_, "n2", "1");
  api::RegisterRequest wanted = agent.registration();
  wanted.advertise = other.address();
  auto response = post("/v1/nodes/n1/register", wanted);
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response), HasSubstr(other.address()));
  EXPECT_THAT(error_of(response), HasSubstr("node n2 answers there, not n1"));

  wanted = agent.registration();
  wanted.epoch = "2";
  response = post("/v1/nodes/n1/register", wanted);
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response), HasSubstr("epoch 1, not 2"));

  const std::string address = other.address();
  other.stop();
  wanted.advertise = address;
  response = post("/v1/nodes/n1/register", wanted);
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response), HasSubstr(address));
  EXPECT_THAT(as<api::NodeList>(get("/v1/nodes")).nodes, IsEmpty());
}

TEST_F(ServiceTest, RefusesASecondLiveAgentWithTheSameId) {
  FakeAgent first(io_, "n1", "aa");
  FakeAgent second(io_, "n1", "bb");
  join(first);
  auto response = try_register(second);
  EXPECT_EQ(response.status, 409);
  EXPECT_THAT(error_of(response), HasSubstr(first.address()));
  EXPECT_THAT(error_of(response), HasSubstr("epoch aa"));
  EXPECT_THAT(error_of(response), HasSubstr("another --node-id"));
  heartbeat(first, first.beat());  // the first one goes on

  first.stop();  // as after kill -9: no goodbye
  EXPECT_EQ(try_register(second).status, 200);
  EXPECT_EQ(post("/v1/nodes/n1/heartbeat", first.beat()).status, 409);
}

TEST_F(ServiceTest, TakesARestartedAgentAtOnce) {
  auto agent = std::make_unique<FakeAgent>(io_, "n1", "aa");
  join(*agent);
  http::Endpoint at = agent->endpoint();
  agent.reset();
  FakeAgent again(io_, "n1", "bb", nullptr, at);
  EXPECT_EQ(try_register(again).status, 200);
  EXPECT_EQ(as<api::NodeList>(get("/v1/nodes")).nodes.at(0).epoch, "bb");
}

TEST_F(ServiceTest, KeepsTheCatalogueOverHttp) {
  publish(model(), "m:v1");
  auto manifest = get(api::paths::manifest(model().digest()));
  EXPECT_EQ(manifest.body, model().manifest());
  EXPECT_EQ(manifest.headers.value("Content-Type"), "application/vnd.oci.image.manifest.v1+json");
  const content::PieceTable& table = model().tables[0];
  EXPECT_EQ(get(api::paths::table(table.digest())).body, bytes_of(table));
  EXPECT_EQ(send(request("PUT", api::paths::table(table.digest()), "garbage")).status, 422);
  auto wrong =
      request("PUT", api::paths::manifest(table.digest()), std::string(model().manifest()));
  wrong.headers.set("Content-Type", "application/json");
  EXPECT_EQ(send(std::move(wrong)).status, 422);

  auto resolved = as<api::Resolved>(get("/v1/resolve", {{"reference", "m:v1"}}));
  EXPECT_EQ(resolved.manifest, model().digest());
  EXPECT_EQ(resolved.files, 2u);
  EXPECT_EQ(resolved.bytes_total, 300'002u + model().documents.config_json.size());
  EXPECT_EQ(as<api::ReferenceList>(get("/v1/references")).references.size(), 1u);
  EXPECT_EQ(as<api::ReferenceRecord>(get("/v1/references", {{"reference", "m:v1"}})).manifest,
            model().digest());

  const std::string origins = api::paths::origins(table.digest());
  api::Origins good{{{.kind = "http", .url = "http://models.example/a"}}};
  EXPECT_EQ(send(request("PUT", origins, api::encode(good))).status, 204);
  EXPECT_EQ(as<api::Origins>(get(origins)), good);
  for (const char* url : {"http://user:s3cr3t@models.example/a", "http://m.example/a?token=s3cr3t",
                          "/etc/passwd", "http://", "http://a b/", "file:///a", "http://a/#x"}) {
    api::Origins bad{{{.kind = "http", .url = url}}};
    auto refused = send(request("PUT", origins, api::encode(bad)));
    EXPECT_EQ(refused.status, 400) << url;
    EXPECT_THAT(refused.body, ::testing::Not(HasSubstr("s3cr3t")));
  }
  for (const char* url : {"file:///a/../b", "file://host/a", "file:///..", "http://a/b"}) {
    api::Origins bad{{{.kind = "dir", .url = url}}};
    EXPECT_EQ(send(request("PUT", origins, api::encode(bad))).status, 400) << url;
  }
  EXPECT_EQ(as<api::Origins>(get(origins)), good);

  const std::string statement = api::paths::statement(table.digest(), "n1");
  EXPECT_EQ(send(request("PUT", statement, "signed")).status, 204);
  EXPECT_EQ(send(request("PUT", statement, "\xff")).status, 400);
  EXPECT_EQ(send(request("PUT", statement, "")).status, 400);
  EXPECT_EQ(as<api::Statements>(get(api::paths::statements(table.digest()))),
            (api::Statements{{{"n1", "signed"}}}));

  EXPECT_EQ(send(request("DELETE", "/v1/references", "", {{"reference", "m:v1"}})).status, 200);
  EXPECT_EQ(get("/v1/resolve", {{"reference", "m:v1"}}).status, 404);
}

TEST_F(ServiceTest, SendsAnOrderToAnIdleAgentThatWaits) {
  publish(model(), "m:v1");
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  auto now = events(agent, 0);
  ASSERT_TRUE(now.orders && now.neighbours);
  EXPECT_THAT(now.orders->orders, IsEmpty());

  Waiting poll(*this, events_request(agent, now.version, seconds(50)));
  --agent.seq;
  auto started = as<api::PrefetchResponse>(
      post("/v1/prefetch", api::PrefetchRequest{.reference = "m:v1", .pin = true}));
  EXPECT_THAT(started.nodes, ElementsAre("n1"));
  auto told = as<api::EventsResponse>(poll.result());
  EXPECT_GT(told.version, now.version);
  EXPECT_FALSE(told.neighbours);  // did not change
  ASSERT_TRUE(told.orders);
  ASSERT_EQ(told.orders->orders.size(), 1u);
  EXPECT_EQ(told.orders->orders[0].id, started.id);
  EXPECT_EQ(told.orders->orders[0].manifest, model().digest());

  // The operator watches, the agent reports.
  auto status = as<api::PrefetchStatus>(get(api::paths::prefetch(started.id)));
  EXPECT_EQ(status.state, api::PrefetchState::kRunning);
  Waiting watch(*this, request("GET", api::paths::prefetch(started.id), "",
                               api::paths::poll_query(status.version, seconds(50))));
  auto beat = agent.beat();
  beat.pulls = {pull(started.id, api::PullState::kComplete)};
  heartbeat(agent, beat);
  status = as<api::PrefetchStatus>(watch.result());
  EXPECT_EQ(status.state, api::PrefetchState::kComplete);
  EXPECT_EQ(status.nodes.at(0).bytes_done, 100u);
  EXPECT_EQ(send(request("DELETE", api::paths::prefetch(started.id))).status, 409);
}

TEST_F(ServiceTest, RefusesAPrefetchThatReachesNobody) {
  publish(model(), "m:v1");
  auto response = post("/v1/prefetch", api::PrefetchRequest{.reference = "m:v1"});
  EXPECT_EQ(response.status, 404);
  EXPECT_THAT(error_of(response), HasSubstr("no live node"));
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  EXPECT_EQ(post("/v1/prefetch", api::PrefetchRequest{.reference = "m:v2"}).status, 404);
  EXPECT_EQ(post("/v1/prefetch",
                 api::PrefetchRequest{.reference = "m:v1", .nodes = {.labels = {{"rack", "r9"}}}})
                .status,
            404);
  EXPECT_EQ(post("/v1/prefetch",
                 api::PrefetchRequest{.reference = "m:v1", .nodes = {.labels = {{"rack", "r1"}}}})
                .status,
            200);
}

TEST_F(ServiceTest, APrefetchGoesOnAfterARestart) {
  publish(model(), "m:v1");
  control_options_.prefetch.restart_grace = milliseconds(0);
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  auto started = as<api::PrefetchResponse>(post(
      "/v1/prefetch", api::PrefetchRequest{.reference = "m:v1", .timeout = std::chrono::hours(1)}));
  const std::string epoch = service_->epoch();
  restart();
  EXPECT_NE(service_->epoch(), epoch);
  EXPECT_EQ(post("/v1/nodes/n1/heartbeat", agent.beat()).status, 404);
  EXPECT_EQ(as<api::PrefetchStatus>(get(api::paths::prefetch(started.id))).state,
            api::PrefetchState::kRunning);
  join(agent);
  // An old version from before does not make the poll wait.
  auto told = events(agent, 1'000'000, seconds(50));
  ASSERT_TRUE(told.orders);
  ASSERT_EQ(told.orders->orders.size(), 1u);
  EXPECT_EQ(told.orders->orders[0].id, started.id);
  EXPECT_GT(told.orders->orders[0].remaining, milliseconds(0));
  auto beat = agent.beat();
  beat.pulls = {pull(started.id, api::PullState::kComplete)};
  heartbeat(agent, beat);
  EXPECT_EQ(as<api::PrefetchStatus>(get(api::paths::prefetch(started.id))).state,
            api::PrefetchState::kComplete);
  restart();
  EXPECT_EQ(as<api::PrefetchStatus>(get(api::paths::prefetch(started.id))).state,
            api::PrefetchState::kComplete);
}

TEST_F(ServiceTest, CallsOffACancelledPrefetch) {
  publish(model(), "m:v1");
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  auto started =
      as<api::PrefetchResponse>(post("/v1/prefetch", api::PrefetchRequest{.reference = "m:v1"}));
  auto now = events(agent, 0);
  Waiting poll(*this, events_request(agent, now.version, seconds(50)));
  EXPECT_EQ(
      as<api::PrefetchStatus>(send(request("DELETE", api::paths::prefetch(started.id)))).state,
      api::PrefetchState::kCancelled);
  auto told = as<api::EventsResponse>(poll.result());
  ASSERT_TRUE(told.orders);
  EXPECT_THAT(told.orders->orders, IsEmpty());
  EXPECT_THAT(told.orders->cancelled, ElementsAre(started.id));
}

TEST_F(ServiceTest, IntroducesNeighboursWhileTheyWait) {
  const content::PieceTable& table = model().tables[0];
  FakeAgent reader(io_, "reader", "1");
  join(reader, {{.digest = table.digest(), .size = 300'000, .wanted = true}});
  auto now = events(reader, 0);
  Waiting poll(*this, events_request(reader, now.version, seconds(50)));
  FakeAgent seed(io_, "seed", "1");
  join(seed, {{.digest = table.digest(),
               .size = 300'000,
               .pieces_have = 5,
               .state = api::BlobState::kComplete}});
  auto told = as<api::EventsResponse>(poll.result());
  ASSERT_TRUE(told.neighbours);
  ASSERT_EQ(told.neighbours->size(), 1u);
  EXPECT_EQ(told.neighbours->at(0).address, seed.address());
  EXPECT_EQ(told.neighbours->at(0).holds, std::vector{table.digest()});

  // A peer that nobody reaches is gone long before it misses three heartbeats.
  Waiting again(*this, events_request(reader, told.version, seconds(50)));
  reader.seq -= 2;
  seed.stop();
  auto beat = reader.beat();
  beat.peers = {{"seed", "1", api::PeerFault::kUnreachable, "refused"}};
  heartbeat(reader, beat);
  told = as<api::EventsResponse>(again.result());
  ASSERT_TRUE(told.neighbours);
  EXPECT_THAT(*told.neighbours, IsEmpty());
  EXPECT_EQ(as<api::NodeList>(get("/v1/nodes")).nodes.at(1).state, "dead");
}

TEST_F(ServiceTest, BelievesAPeersComplaintOnlyWhenItCannotConnectItself) {
  const content::PieceTable& table = model().tables[0];
  FakeAgent seed(io_, "seed", "1");
  FakeAgent reader(io_, "reader", "1");
  join(seed, {{.digest = table.digest(),
               .size = 300'000,
               .pieces_have = 5,
               .state = api::BlobState::kComplete}});
  join(reader, {{.digest = table.digest(), .size = 300'000, .wanted = true}});
  auto beat = reader.beat();
  beat.peers = {{"seed", "1", api::PeerFault::kUnreachable, "refused"}};
  heartbeat(reader, beat);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(as<api::NodeList>(get("/v1/nodes")).nodes.at(1).state, "live");
  }
}

TEST_F(ServiceTest, ANewerPollEndsTheOlder) {
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  auto now = events(agent, 0);
  Waiting older(*this, events_request(agent, now.version, seconds(50)));
  // Requests go one after the other, so that the older one is there first.
  get("/v1/version");
  Waiting newer(*this, events_request(agent, now.version, seconds(50)));
  auto told = as<api::EventsResponse>(older.result());
  EXPECT_EQ(told.version, now.version);
  EXPECT_FALSE(newer.answered());
}

TEST_F(ServiceTest, StopsAlthoughPollsWait) {
  FakeAgent agent(io_, "n1", "1");
  join(agent);
  auto now = events(agent, 0);
  Waiting poll(*this, events_request(agent, now.version, seconds(50)));
  get("/v1/version");
  auto before = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(20));
}

TEST_F(ServiceTest, GivesLeasesOverHttp) {
  const content::PieceTable& table = model().tables[0];
  api::Origins origins{{{.kind = "http", .url = "http://models.example/a"}}};
  send(request("PUT", api::paths::origins(table.digest()), api::encode(origins)));
  FakeAgent agent(io_, "n1", "1");
  join(agent, {{.digest = table.digest(), .size = 300'000, .wanted = true}});
  api::LeaseRequest ask{.epoch = "1", .asks = {{.blob = table.digest(), .bytes = 1 << 20}}};
  auto response = as<api::LeaseResponse>(post(api::paths::node_leases("n1"), ask));
  EXPECT_EQ(response.answers.at(0).reason, api::LeaseReason::kStarting);
  EXPECT_GT(response.answers[0].retry, milliseconds(0));
  EXPECT_EQ(service_->not_ready().has_value(), true);
}

TEST_F(ServiceTest, ShowsTheStatusOfAReference) {
  publish(model(), "m:v1");
  FakeAgent agent(io_, "n1", "1");
  join(agent, {{.digest = model().tables[0].digest(),
                .size = 300'000,
                .pieces_have = 5,
                .state = api::BlobState::kComplete}});
  auto report = as<api::StatusReport>(get("/v1/status", {{"reference", "m:v1"}}));
  EXPECT_EQ(report.manifest, model().digest());
  ASSERT_EQ(report.nodes.size(), 1u);
  EXPECT_EQ(report.nodes[0].bytes_done, 300'000u);
  EXPECT_EQ(report.totals.nodes, 1u);
}

}  // namespace
}  // namespace shoal::tracker
