// Models that are served while they are being read, over HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/api/catalogue.h"
#include "core/api/ingest.h"
#include "core/api/operate.h"
#include "core/base/metrics.h"
#include "tests/tracker/service_fixture.h"

namespace shoal::tracker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<TestFile> kFiles = {{"a.safetensors", std::string(300'000, 'a')},
                                      {"b.json", "{}"}};

class IngestServiceTest : public ServiceTest {
 protected:
  void put_manifest(const TestModel& model) {
    auto manifest =
        request("PUT", api::paths::manifest(model.digest()), std::string(model.manifest()));
    manifest.headers.set("Content-Type", "application/vnd.oci.image.manifest.v1+json");
    EXPECT_EQ(send(std::move(manifest)).status, 204);
  }
  api::IngestUpdate update(api::IngestState state, const std::string& node = "pub",
                           const std::string& epoch = "1") {
    api::IngestUpdate out{.reference = "m:v1", .node = node, .epoch = epoch, .state = state};
    if (state == api::IngestState::kSettled) out.settled_as = final_.digest();
    if (state == api::IngestState::kFailed) out.error = Error(Errc::kDenied, "log in");
    return out;
  }
  http::Response say(const api::IngestUpdate& what) { return say(unread_, what); }
  http::Response say(const TestModel& model, const api::IngestUpdate& what) {
    return send(request("PUT", api::paths::ingest(model.digest()), api::encode(what)));
  }
  api::IngestStatus begin() {
    put_manifest(unread_);
    return as<api::IngestStatus>(say(update(api::IngestState::kRunning)));
  }
  api::IngestStatus ingest() { return ingest(unread_); }
  api::IngestStatus ingest(const TestModel& model) {
    return as<api::IngestStatus>(get(api::paths::ingest(model.digest())));
  }
  http::Request poll(std::uint64_t since) {
    return request("GET", api::paths::ingest(unread_.digest()), "",
                   api::paths::poll_query(since, seconds(50)));
  }
  content::Digest meant() {
    return as<api::Resolved>(get("/v1/resolve", {{"reference", "m:v1"}})).manifest;
  }
  api::PrefetchResponse order() {
    return as<api::PrefetchResponse>(
        post("/v1/prefetch", api::PrefetchRequest{.reference = "m:v1"}));
  }
  api::PrefetchStatus prefetch(const std::string& id) {
    return as<api::PrefetchStatus>(get(api::paths::prefetch(id)));
  }
  // Runs the loop until the tracker's own decision is made.
  api::IngestStatus until_ended(std::uint64_t since) {
    Waiting waiting(*this, poll(since));
    return as<api::IngestStatus>(waiting.result());
  }
  static std::string metric(const std::string& line) {
    const std::string all = metrics::render();
    const std::size_t at = all.find("\n" + line + " ");
    if (at == std::string::npos) return "";
    const std::size_t from = at + line.size() + 2;
    return all.substr(from, all.find('\n', from) - from);
  }

  const TestModel unread_ = make_unread_model("m", kFiles);
  const TestModel final_ = make_test_model("m", kFiles);
};

TEST_F(IngestServiceTest, AnswersGarbageWithErrors) {
  put_manifest(unread_);
  const std::string path = api::paths::ingest(unread_.digest());
  for (const char* body : {"", "{", "[]", "{}", "{\"state\":\"running\"}",
                           "{\"reference\":\"m:v1\",\"node\":\"n\",\"epoch\":\"1\"}",
                           "{\"reference\":\"UP:v1\",\"node\":\"n\",\"epoch\":\"1\",\"state\":"
                           "\"running\"}"}) {
    EXPECT_EQ(send(request("PUT", path, body)).status, 400) << body;
  }
  auto by_digest = update(api::IngestState::kRunning);
  by_digest.reference = "m@" + unread_.digest().str();
  EXPECT_EQ(say(by_digest).status, 400);
  EXPECT_EQ(send(request("PUT", "/v1/ingests/sha256:AB", "{}")).status, 400);
  EXPECT_EQ(get("/v1/ingests/sha256:AB").status, 400);
  EXPECT_EQ(get(path, {{"since", "x"}}).status, 400);
  EXPECT_EQ(get(path).status, 404);
  EXPECT_EQ(get(path, {{"wait", "50000"}}).status, 404);  // there is nothing to wait for
  EXPECT_EQ(send(request("POST", path, "{}")).status, 405);
  EXPECT_EQ(say(update(api::IngestState::kSettled)).status, 404);
  EXPECT_EQ(say(final_, update(api::IngestState::kRunning)).status, 404);
  publish(final_, "x:1");
  EXPECT_EQ(say(final_, update(api::IngestState::kRunning)).status, 400);
  auto named = send(request("PUT", std::string(api::paths::kReferences),
                            api::encode(api::ReferenceUpdate{unread_.digest()}),
                            api::paths::reference_query("m:v1")));
  EXPECT_EQ(named.status, 400);
  EXPECT_THAT(error_of(named), HasSubstr("is provisional"));
  EXPECT_THAT(as<api::IngestList>(get("/v1/ingests")).ingests, IsEmpty());
}

TEST_F(IngestServiceTest, AReferenceMeansWhatIsBeingReadUntilItHasSettled) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  const api::IngestStatus begun = begin();
  EXPECT_EQ(begun.reference, "m:v1");
  EXPECT_EQ(begun.manifest, unread_.digest());
  EXPECT_EQ(begun.node, "pub");
  EXPECT_EQ(begun.state, api::IngestState::kRunning);
  EXPECT_EQ(ingest(), begun);
  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kRunning))), begun);  // again
  EXPECT_THAT(as<api::IngestList>(get("/v1/ingests")).ingests, ElementsAre(begun));
  auto resolved = as<api::Resolved>(get("/v1/resolve", {{"reference", "m:v1"}}));
  EXPECT_EQ(resolved.manifest, unread_.digest());
  EXPECT_EQ(resolved.files, 2u);

  // Its blobs go by their ingest names: who has some of them, and who may read their origin.
  const content::ModelFile& file = unread_.documents.manifest.files[0];
  const api::Origins origins{{{.kind = "http", .url = "http://models.example/a"}}};
  EXPECT_EQ(send(request("PUT", api::paths::origins(file.digest), api::encode(origins))).status,
            204);
  EXPECT_EQ(as<api::Origins>(get(api::paths::origins(file.digest))), origins);
  FakeAgent reader(io_, "reader", "1");
  join(reader, {{.digest = file.digest, .size = file.size, .pieces_have = 1, .wanted = true}});
  auto status = as<api::StatusReport>(get("/v1/status", {{"reference", "m:v1"}}));
  EXPECT_EQ(status.manifest, unread_.digest());
  ASSERT_EQ(status.nodes.size(), 1u);
  EXPECT_EQ(status.nodes[0].bytes_done, 64u << 10);
  api::LeaseRequest ask{.epoch = "1", .asks = {{.blob = file.digest, .bytes = 1 << 20}}};
  auto lease = as<api::LeaseResponse>(post(api::paths::node_leases("reader"), ask));
  EXPECT_EQ(lease.answers.at(0).reason, api::LeaseReason::kStarting);  // and not kNoOrigin

  Waiting follower(*this, poll(begun.version));
  get("/v1/version");
  EXPECT_FALSE(follower.answered());
  const std::string counted = metric("shoal_tracker_ingests_total{result=\"settled\"}");
  put_manifest(final_);
  auto settled = as<api::IngestStatus>(say(update(api::IngestState::kSettled)));
  EXPECT_EQ(settled.state, api::IngestState::kSettled);
  EXPECT_EQ(settled.settled_as, final_.digest());
  EXPECT_GT(settled.version, begun.version);
  EXPECT_EQ(as<api::IngestStatus>(follower.result()), settled);
  EXPECT_EQ(meant(), final_.digest());
  EXPECT_EQ(as<api::ReferenceRecord>(get("/v1/references", {{"reference", "m:v1"}})).manifest,
            final_.digest());
  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kSettled))), settled);  // again
  EXPECT_EQ(say(update(api::IngestState::kFailed)).status, 409);
  EXPECT_NE(metric("shoal_tracker_ingests_total{result=\"settled\"}"), counted);
  // Told together with those that run, and over a restart.
  EXPECT_THAT(as<api::IngestList>(get("/v1/ingests")).ingests, ElementsAre(settled));
  restart();
  EXPECT_EQ(ingest(), settled);
  EXPECT_EQ(meant(), final_.digest());
}

TEST_F(IngestServiceTest, APrefetchFollowsASettlement) {
  FakeAgent publisher(io_, "pub", "1");
  FakeAgent reader(io_, "reader", "1");
  join(publisher);
  join(reader);
  begin();
  const api::PrefetchResponse started = order();
  EXPECT_EQ(started.manifest, unread_.digest());
  auto now = events(reader, 0);
  ASSERT_EQ(now.orders->orders.size(), 1u);
  EXPECT_EQ(now.orders->orders[0].manifest, unread_.digest());
  auto beat = reader.beat();
  api::PullReport pull{.id = started.id,
                       .manifest = unread_.digest(),
                       .state = api::PullState::kRunning,
                       .bytes_total = 300'004,
                       .bytes_done = 1000};
  beat.pulls = {pull};
  heartbeat(reader, beat);

  Waiting waiting(*this, events_request(reader, now.version, seconds(50)));
  --reader.seq;
  put_manifest(final_);
  as<api::IngestStatus>(say(update(api::IngestState::kSettled)));
  auto told = as<api::EventsResponse>(waiting.result());
  ASSERT_TRUE(told.orders);
  ASSERT_EQ(told.orders->orders.size(), 1u);
  EXPECT_EQ(told.orders->orders[0].id, started.id);
  EXPECT_EQ(told.orders->orders[0].manifest, final_.digest());
  EXPECT_THAT(told.orders->cancelled, IsEmpty());
  EXPECT_THAT(told.orders->removed, ElementsAre(unread_.digest()));
  api::PrefetchStatus status = prefetch(started.id);
  EXPECT_EQ(status.manifest, final_.digest());
  EXPECT_EQ(status.state, api::PrefetchState::kRunning);
  EXPECT_EQ(status.totals.bytes_done, 1000u);

  // A report that was on its way names what it was pulling.
  beat = reader.beat();
  pull.bytes_done = 2000;
  beat.pulls = {pull};
  heartbeat(reader, beat);
  EXPECT_EQ(prefetch(started.id).totals.bytes_done, 2000u);

  control_options_.prefetch.restart_grace = milliseconds(0);
  restart();
  EXPECT_EQ(prefetch(started.id).manifest, final_.digest());
  join(publisher);
  join(reader);
  EXPECT_EQ(events(reader, 0).orders->orders.at(0).manifest, final_.digest());
  for (FakeAgent* agent : {&publisher, &reader}) {
    beat = agent->beat();
    pull.manifest = final_.digest();
    pull.state = api::PullState::kComplete;
    beat.pulls = {pull};
    heartbeat(*agent, beat);
  }
  EXPECT_EQ(prefetch(started.id).state, api::PrefetchState::kComplete);
}

TEST_F(IngestServiceTest, APrefetchFailsWithItsIngest) {
  publish(final_, "m:v1");
  FakeAgent publisher(io_, "pub", "1");
  FakeAgent reader(io_, "reader", "1");
  join(publisher);
  join(reader);
  begin();
  const api::PrefetchResponse started = order();
  auto now = events(reader, 0);
  Waiting waiting(*this, events_request(reader, now.version, seconds(50)));
  --reader.seq;
  auto failed = as<api::IngestStatus>(say(update(api::IngestState::kFailed)));
  EXPECT_EQ(failed.state, api::IngestState::kFailed);
  EXPECT_EQ(failed.error, Error(Errc::kDenied, "log in"));
  EXPECT_EQ(meant(), final_.digest());  // as before
  auto told = as<api::EventsResponse>(waiting.result());
  ASSERT_TRUE(told.orders);
  EXPECT_THAT(told.orders->orders, IsEmpty());
  EXPECT_THAT(told.orders->cancelled, ElementsAre(started.id));
  EXPECT_THAT(told.orders->removed, ElementsAre(unread_.digest()));
  api::PrefetchStatus status = prefetch(started.id);
  EXPECT_EQ(status.state, api::PrefetchState::kFailed);
  ASSERT_EQ(status.nodes.size(), 2u);
  EXPECT_EQ(status.nodes[0].error, failed.error);
  EXPECT_EQ(status.nodes[1].error, failed.error);
  EXPECT_EQ(say(update(api::IngestState::kSettled)).status, 409);
  restart();
  EXPECT_EQ(ingest(), failed);
  EXPECT_EQ(prefetch(started.id).state, api::PrefetchState::kFailed);
}

TEST_F(IngestServiceTest, ANewReferenceIsGoneWithItsFailedIngest) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  begin();
  as<api::IngestStatus>(say(update(api::IngestState::kFailed)));
  EXPECT_EQ(get("/v1/resolve", {{"reference", "m:v1"}}).status, 404);
  // It begins again.
  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kRunning))).state,
            api::IngestState::kRunning);
  EXPECT_EQ(meant(), unread_.digest());
  EXPECT_FALSE(ingest().error);
}

TEST_F(IngestServiceTest, RemovingTheReferenceEndsTheIngest) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  begin();
  const api::PrefetchResponse started = order();
  auto removed = as<api::ReferenceRecord>(
      send(request("DELETE", "/v1/references", "", {{"reference", "m:v1"}})));
  EXPECT_EQ(removed.manifest, unread_.digest());
  ASSERT_TRUE(ingest().error);
  EXPECT_EQ(ingest().error->message(), "removed by an operator");
  ASSERT_TRUE(prefetch(started.id).nodes.at(0).error);
  EXPECT_EQ(prefetch(started.id).nodes.at(0).error->message(), "removed by an operator");
  EXPECT_EQ(get("/v1/resolve", {{"reference", "m:v1"}}).status, 404);
  EXPECT_EQ(send(request("DELETE", "/v1/references", "", {{"reference", "m:v1"}})).status, 404);
  put_manifest(final_);
  auto late = say(update(api::IngestState::kSettled));
  EXPECT_EQ(late.status, 409);
  EXPECT_THAT(error_of(late), HasSubstr("removed by an operator"));
}

TEST_F(IngestServiceTest, ALivePublisherIsNotReplacedByAnother) {
  const TestModel newer = make_unread_model("newer", kFiles);
  FakeAgent publisher(io_, "pub", "1");
  FakeAgent other(io_, "other", "1");
  join(publisher);
  join(other);
  begin();
  put_manifest(newer);
  for (const TestModel* model : {&unread_, &newer}) {
    auto refused = say(*model, update(api::IngestState::kRunning, "other"));
    EXPECT_EQ(refused.status, 409);
    EXPECT_THAT(error_of(refused), HasSubstr("node pub is publishing m:v1"));
  }
  EXPECT_EQ(say(update(api::IngestState::kFailed, "other")).status, 409);
  EXPECT_EQ(say(update(api::IngestState::kFailed, "pub", "2")).status, 409);
  EXPECT_EQ(say(newer, update(api::IngestState::kRunning, "pub", "2")).status, 409);
  EXPECT_EQ(meant(), unread_.digest());

  auto began = as<api::IngestStatus>(say(newer, update(api::IngestState::kRunning)));
  EXPECT_EQ(meant(), newer.digest());
  EXPECT_EQ(ingest().error->message(), "replaced by a newer publication");
  // Nobody has heard of who publishes it after a restart: another node may.
  restart();
  join(other);
  EXPECT_EQ(as<api::IngestStatus>(say(newer, update(api::IngestState::kRunning, "other"))).node,
            "other");
  EXPECT_EQ(ingest(newer).created_unix_ms, began.created_unix_ms);
}

TEST_F(IngestServiceTest, ADeadPublisherIsReplacedByAnotherWithinItsGrace) {
  control_options_.fleet.heartbeat = milliseconds(50);
  restart();
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  begin();
  while (as<api::NodeList>(get("/v1/nodes")).nodes.at(0).state != "dead") {
  }
  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kRunning, "other"))).node, "other");
  EXPECT_EQ(meant(), unread_.digest());
}

TEST_F(IngestServiceTest, APublisherThatIsRestartedHasToBeginAgain) {
  auto publisher = std::make_unique<FakeAgent>(io_, "pub", "1");
  join(*publisher);
  const api::IngestStatus begun = begin();
  const api::PrefetchResponse started = order();
  http::Endpoint at = publisher->endpoint();
  publisher.reset();
  FakeAgent again(io_, "pub", "2", nullptr, at);
  join(again);
  api::IngestStatus ended = until_ended(begun.version);
  EXPECT_EQ(ended.state, api::IngestState::kFailed);
  EXPECT_EQ(ended.error->message(),
            "node pub, which was publishing it, was restarted: publish it again");
  EXPECT_EQ(prefetch(started.id).state, api::PrefetchState::kFailed);
  put_manifest(final_);
  EXPECT_EQ(say(update(api::IngestState::kSettled)).status, 409);  // of its former life

  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kRunning, "pub", "2"))).state,
            api::IngestState::kRunning);
  EXPECT_EQ(meant(), unread_.digest());
}

TEST_F(IngestServiceTest, APublisherThatIsGoneIsNotWaitedForForever) {
  control_options_.ingests.publisher_grace = milliseconds(100);
  control_options_.fleet.heartbeat = milliseconds(50);
  restart();
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  const api::IngestStatus begun = begin();  // and says nothing any more
  api::IngestStatus ended = until_ended(begun.version);
  EXPECT_EQ(ended.error->message(),
            "node pub, which was publishing it, is gone: publish it again there or on another "
            "node");
  EXPECT_EQ(get("/v1/resolve", {{"reference", "m:v1"}}).status, 404);
}

// One that was registered before it began is there; one that never registers is not.
TEST_F(IngestServiceTest, APublisherThatIsThereIsSeenFromTheStart) {
  control_options_.ingests.publisher_grace = milliseconds(0);
  restart();
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  begin();
  const TestModel other = make_unread_model("other", kFiles);
  put_manifest(other);
  api::IngestUpdate said = update(api::IngestState::kRunning, "ghost");
  said.reference = "other:v1";
  auto begun = as<api::IngestStatus>(say(other, said));
  Waiting waiting(*this, request("GET", api::paths::ingest(other.digest()), "",
                                 api::paths::poll_query(begun.version, seconds(50))));
  EXPECT_EQ(as<api::IngestStatus>(waiting.result()).state, api::IngestState::kFailed);
  EXPECT_EQ(meant(), unread_.digest());  // behind whatever the catalogue had to do
  EXPECT_EQ(ingest().state, api::IngestState::kRunning);
}

TEST_F(IngestServiceTest, ARestartedTrackerWaitsForThePublisher) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  const api::IngestStatus begun = begin();
  const api::PrefetchResponse started = order();
  restart();
  EXPECT_EQ(ingest(), begun);
  EXPECT_EQ(meant(), unread_.digest());
  EXPECT_EQ(prefetch(started.id).manifest, unread_.digest());
  join(publisher);
  put_manifest(final_);
  EXPECT_EQ(as<api::IngestStatus>(say(update(api::IngestState::kSettled))).settled_as,
            final_.digest());
  EXPECT_EQ(events(publisher, 0).orders->orders.at(0).manifest, final_.digest());
}

TEST_F(IngestServiceTest, ARestartedTrackerDoesNotWaitForeverEither) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  const api::IngestStatus begun = begin();
  control_options_.ingests.publisher_grace = milliseconds(100);
  control_options_.fleet.heartbeat = milliseconds(50);
  restart();
  EXPECT_THAT(until_ended(begun.version).error->message(), HasSubstr("is gone"));
}

TEST_F(IngestServiceTest, WhatFailedAsTheTrackerEndedTakesItsOrdersAlong) {
  FakeAgent publisher(io_, "pub", "1");
  join(publisher);
  begin();
  const api::PrefetchResponse started = order();
  stop();
  {
    auto catalogue = Catalogue::open(folder_.path());
    ASSERT_TRUE(catalogue);
    ASSERT_TRUE((*catalogue)
                    ->fail_ingest(unread_.digest(), {"pub", "1"}, Error(Errc::kDenied, "log in"),
                                  unix_ms_now()));
  }
  start();
  EXPECT_EQ(prefetch(started.id).state, api::PrefetchState::kFailed);
  EXPECT_EQ(ingest().error->message(), "log in");
}

}  // namespace
}  // namespace shoal::tracker
