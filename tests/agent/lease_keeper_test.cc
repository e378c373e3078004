#include "agent/swarm/lease_keeper.h"

#include <gtest/gtest.h>

#include "core/async/run.h"
#include "core/async/task_group.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;
using swarm::LeaseKind;

const content::Digest kBlob = content::digest_of(std::string_view("a blob"));
const std::vector<PieceRange> kGranted{{PieceIndex(4), 8}};

// Grants kGranted to whatever it is asked, once it is let.
class SlowTracker final : public LeaseKeeper::Tracker {
 public:
  explicit SlowTracker(Executor executor) : may_answer(executor) {}

  Task<Result<api::LeaseResponse>> leases(api::LeaseRequest request, Deadline) override {
    requests.push_back(request);
    (void)co_await may_answer.wait(Deadline::never());
    api::LeaseResponse response;
    for (std::size_t i = 0; i < request.asks.size(); ++i) {
      response.answers.push_back({api::LeaseReason::kGranted, kGranted});
    }
    co_return response;
  }

  Event may_answer;
  std::vector<api::LeaseRequest> requests;
};

class Answers final : public LeaseKeeper::Listener {
 public:
  void lease_answered(const swarm::LeaseAsk& ask, const api::LeaseAnswer&) override {
    kinds.push_back(ask.kind);
  }
  void origin_changed(const content::Digest&) override {}

  std::vector<LeaseKind> kinds;
};

class LeaseKeeperTest : public ::testing::Test {
 protected:
  LeaseKeeperTest() {
    tasks_.spawn("leases", keeper_.run(), [this] { keeper_.close(); });
    turn();
  }
  ~LeaseKeeperTest() override {
    tracker_.may_answer.set();
    run_to_end(io_, tasks_.stop());
  }

  // Everything that can happen now.
  void turn() {
    io_.restart();
    io_.poll();
  }
  void ask(LeaseKind kind) {
    keeper_.ask({kind, swarm::BlobId(0), 1 << 20, {}, false, false}, kBlob);
  }

  asio::io_context io_;
  SlowTracker tracker_{io_.get_executor()};
  Answers answers_;
  LeaseKeeper keeper_{io_.get_executor(), tracker_, answers_};
  TaskGroup tasks_{io_.get_executor(), "test"};
};

TEST_F(LeaseKeeperTest, WhatIsGrantedIsHeldUntilTheBlobIsForgottenAndThenGivenBack) {
  tracker_.may_answer.set();
  ask(LeaseKind::kOrigin);
  ask(LeaseKind::kRack);
  turn();
  EXPECT_EQ(answers_.kinds, (std::vector{LeaseKind::kOrigin, LeaseKind::kRack}));
  EXPECT_EQ(keeper_.held().size(), 2u);
  keeper_.forget(kBlob);
  turn();
  EXPECT_TRUE(keeper_.held().empty());
  ASSERT_EQ(tracker_.requests.size(), 2u);
  EXPECT_EQ(tracker_.requests[1].releases,
            (std::vector<api::LeaseRelease>{{api::LeaseKind::kOrigin, kBlob, kGranted},
                                            {api::LeaseKind::kRack, kBlob, kGranted}}));
}

TEST_F(LeaseKeeperTest, WhatIsGrantedAfterTheBlobWasForgottenIsGivenBackAndToldToNobody) {
  ask(LeaseKind::kRack);
  turn();
  ASSERT_EQ(tracker_.requests.size(), 1u);
  keeper_.forget(kBlob);
  tracker_.may_answer.set();
  turn();
  EXPECT_TRUE(answers_.kinds.empty());
  EXPECT_TRUE(keeper_.held().empty());
  ASSERT_EQ(tracker_.requests.size(), 2u);
  EXPECT_EQ(tracker_.requests[1].releases,
            (std::vector<api::LeaseRelease>{{api::LeaseKind::kRack, kBlob, kGranted}}));
}

TEST_F(LeaseKeeperTest, AnAskForABlobThatIsForgottenBeforeItIsSentIsNotSent) {
  ask(LeaseKind::kOrigin);
  keeper_.forget(kBlob);
  turn();
  EXPECT_TRUE(tracker_.requests.empty());
}

}  // namespace
}  // namespace shoal::agent
