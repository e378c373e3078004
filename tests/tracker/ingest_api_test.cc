// What agents rely on when they speak of ingests: of the tracker and of its fake alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/api/ingest.h"
#include "tests/fakes/fake_tracker.h"
#include "tests/tracker/service_fixture.h"

namespace shoal::tracker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class IngestApiTest : public ServiceTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    for (const TestModel* model : {&unread_, &newer_, &final_}) put_manifest(*model);
    if (!GetParam()) return;
    fake_ = std::make_unique<fakes::FakeTracker>(io_.get_executor());
    ASSERT_TRUE(fake_->start());
    client_ = make_client();
  }
  void TearDown() override {
    client_.reset();
    if (fake_) run_to_end(io_, fake_->stop());
    fake_.reset();
    ServiceTest::TearDown();
  }
  std::unique_ptr<http::Client> make_client() {
    if (!fake_) return ServiceTest::make_client(nullptr);
    http::Client::Options options;
    options.server = fake_->url();
    return std::make_unique<http::Client>(io_.get_executor(), std::move(options));
  }
  void put_manifest(const TestModel& model) {
    auto manifest =
        request("PUT", api::paths::manifest(model.digest()), std::string(model.manifest()));
    manifest.headers.set("Content-Type", "application/vnd.oci.image.manifest.v1+json");
    EXPECT_EQ(send(std::move(manifest)).status, 204);
  }
  http::Response say(const TestModel& model, api::IngestState state,
                     const std::string& node = "pub") {
    api::IngestUpdate said{.reference = "m:v1", .node = node, .epoch = "1", .state = state};
    if (state == api::IngestState::kSettled) said.settled_as = final_.digest();
    if (state == api::IngestState::kFailed) said.error = Error(Errc::kDenied, "log in");
    return send(request("PUT", api::paths::ingest(model.digest()), api::encode(said)));
  }
  api::IngestStatus status(const TestModel& model) {
    return as<api::IngestStatus>(get(api::paths::ingest(model.digest())));
  }
  static Task<void> follow(http::Client* client, http::Request what,
                           std::optional<Result<http::Response>>* out) {
    out->emplace(
        co_await client->exchange(std::move(what), Deadline::after(std::chrono::seconds(60))));
  }

  const TestModel unread_ = make_unread_model("m", {{"a", std::string(1000, 'a')}});
  const TestModel newer_ = make_unread_model("newer", {{"a", std::string(1000, 'a')}});
  const TestModel final_ = make_test_model("m", {{"a", std::string(1000, 'a')}});
  std::unique_ptr<fakes::FakeTracker> fake_;
};

TEST_P(IngestApiTest, AnIngestRunsAndSettlesOnce) {
  EXPECT_EQ(get(api::paths::ingest(unread_.digest())).status, 404);
  EXPECT_EQ(say(unread_, api::IngestState::kSettled).status, 404);
  EXPECT_EQ(send(request("PUT", api::paths::ingest(unread_.digest()), "{}")).status, 400);
  EXPECT_THAT(as<api::IngestList>(get(std::string(api::paths::kIngests))).ingests, IsEmpty());
  auto begun = as<api::IngestStatus>(say(unread_, api::IngestState::kRunning));
  EXPECT_EQ(begun.reference, "m:v1");
  EXPECT_EQ(begun.manifest, unread_.digest());
  EXPECT_EQ(begun.node, "pub");
  EXPECT_EQ(begun.state, api::IngestState::kRunning);
  EXPECT_GT(begun.version, 0u);
  EXPECT_EQ(as<api::IngestStatus>(say(unread_, api::IngestState::kRunning)), begun);
  EXPECT_EQ(status(unread_), begun);
  EXPECT_THAT(as<api::IngestList>(get(std::string(api::paths::kIngests))).ingests,
              ElementsAre(begun));

  auto follower = make_client();
  std::optional<Result<http::Response>> told;
  TaskGroup group(io_.get_executor(), "test");
  group.spawn("follow",
              follow(follower.get(),
                     request("GET", api::paths::ingest(unread_.digest()), "",
                             api::paths::poll_query(begun.version, std::chrono::seconds(50))),
                     &told));
  EXPECT_EQ(status(unread_), begun);
  EXPECT_FALSE(told);
  auto settled = as<api::IngestStatus>(say(unread_, api::IngestState::kSettled));
  EXPECT_EQ(settled.settled_as, final_.digest());
  EXPECT_NE(settled.version, begun.version);
  while (!told) {
    io_.restart();
    io_.run_one();
  }
  ASSERT_TRUE(*told) << told->error().str();
  EXPECT_EQ(as<api::IngestStatus>(**told), settled);
  run_to_end(io_, group.stop());
  EXPECT_EQ(as<api::IngestStatus>(say(unread_, api::IngestState::kSettled)), settled);
  EXPECT_EQ(say(unread_, api::IngestState::kFailed).status, 409);
}

TEST_P(IngestApiTest, AFailedOneCanBeginAgain) {
  as<api::IngestStatus>(say(unread_, api::IngestState::kRunning));
  auto failed = as<api::IngestStatus>(say(unread_, api::IngestState::kFailed));
  EXPECT_EQ(failed.error, Error(Errc::kDenied, "log in"));
  EXPECT_EQ(as<api::IngestStatus>(say(unread_, api::IngestState::kFailed)), failed);
  EXPECT_EQ(say(unread_, api::IngestState::kSettled).status, 409);
  auto again = as<api::IngestStatus>(say(unread_, api::IngestState::kRunning));
  EXPECT_EQ(again.state, api::IngestState::kRunning);
  EXPECT_FALSE(again.error);
  EXPECT_NE(again.version, failed.version);
}

TEST_P(IngestApiTest, OneAtATimeIsForAReference) {
  FakeAgent publisher(io_, "pub", "1");
  if (!fake_) join(publisher);
  as<api::IngestStatus>(say(unread_, api::IngestState::kRunning));
  EXPECT_EQ(say(newer_, api::IngestState::kRunning, "other").status, 409);
  EXPECT_EQ(say(unread_, api::IngestState::kFailed, "other").status, 409);
  as<api::IngestStatus>(say(newer_, api::IngestState::kRunning));
  EXPECT_EQ(status(unread_).state, api::IngestState::kFailed);
  EXPECT_EQ(status(unread_).error->message(), "replaced by a newer publication");
  EXPECT_EQ(status(newer_).state, api::IngestState::kRunning);
}

INSTANTIATE_TEST_SUITE_P(Trackers, IngestApiTest, ::testing::Bool(), [](const auto& which) {
  return std::string(which.param ? "Fake" : "Real");
});

}  // namespace
}  // namespace shoal::tracker
