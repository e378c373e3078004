#include "agent/model/last_copies.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <thread>

#include "core/async/io_thread.h"
#include "core/async/run.h"

namespace shoal::agent {
namespace {

store::BlobInfo blob(std::string_view name, std::uint64_t bytes = 10) {
  store::BlobInfo info;
  info.digest = content::digest_of(name);
  info.used = bytes;
  return info;
}

class LastCopiesTest : public ::testing::Test {
 protected:
  LastCopiesTest() : work_(io_.get_executor()), thread_([this] { io_.run(); }) {}
  ~LastCopiesTest() override {
    work_.reset();
    thread_.join();
  }

  // The control thread answers with `answer_`; plan() is called on this one.
  LastCopies::Plan plan(std::vector<store::BlobInfo> blobs, std::uint64_t bytes,
                        std::uint64_t replicas = 2, bool dry_run = false) {
    LastCopies copies(
        io_.get_executor(), replicas,
        [this](api::EvictionRequest request, Deadline deadline) {
          return answer(std::move(request), deadline);
        },
        [this](const content::Digest& digest) -> std::string {
          return digest == needed_ ? "needed" : "";
        });
    LastCopies::Plan plan = copies.plan(blobs, bytes, dry_run);
    stop(copies);
    return plan;
  }
  void stop(LastCopies& copies) {
    std::atomic<bool> stopped{false};
    asio::post(io_, [&] {
      asio::co_spawn(io_, copies.stop(), [&](std::exception_ptr) { stopped = true; });
    });
    while (!stopped) std::this_thread::yield();
  }
  Task<Result<api::EvictionResponse>> answer(api::EvictionRequest request, Deadline) {
    asked_.push_back(request);
    if (error_) co_return fail(*error_);
    api::EvictionResponse response;
    response.valid = std::chrono::seconds(5);
    for (const api::EvictionAsk& ask : request.blobs) {
      auto it = reasons_.find(ask.blob);
      response.answers.push_back(
          {it == reasons_.end() ? api::EvictionReason::kGranted : it->second, 1});
    }
    co_return response;
  }

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
  std::vector<api::EvictionRequest> asked_;
  std::map<content::Digest, api::EvictionReason> reasons_;
  std::optional<Error> error_;
  content::Digest needed_;
};

TEST_F(LastCopiesTest, TakesWhatTheTrackerGrantsAndSaysWhyTheRestStays) {
  reasons_[blob("a").digest] = api::EvictionReason::kLastCopies;
  reasons_[blob("c").digest] = api::EvictionReason::kNotNeeded;
  LastCopies::Plan made = plan({blob("a"), blob("b"), blob("c")}, 10);
  EXPECT_EQ(made.choice.blobs, std::vector<content::Digest>{blob("b").digest});
  EXPECT_GT(made.choice.until, std::chrono::steady_clock::now());
  EXPECT_LE(made.choice.until, std::chrono::steady_clock::now() + std::chrono::seconds(5));
  ASSERT_EQ(made.kept.size(), 1u);
  EXPECT_EQ(made.kept[0].blob, blob("a").digest);
  EXPECT_NE(made.kept[0].reason.find("last copies"), std::string::npos);
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0].replicas, 2u);
  EXPECT_EQ(asked_[0].bytes, 10u);
  EXPECT_FALSE(asked_[0].dry_run);
}

TEST_F(LastCopiesTest, NothingGoesWhileTheTrackerCannotBeAsked) {
  error_ = Error(Errc::kUnavailable, "not registered with the tracker");
  LastCopies::Plan made = plan({blob("a"), blob("b")}, 10);
  EXPECT_TRUE(made.choice.blobs.empty());
  ASSERT_EQ(made.kept.size(), 2u);
  EXPECT_NE(made.kept[1].reason.find("not registered"), std::string::npos);
}

TEST_F(LastCopiesTest, AsksOnUntilThereIsEnough) {
  std::vector<store::BlobInfo> blobs;
  for (std::size_t i = 0; i < api::kMaxEvictionAsks + 2; ++i) {
    blobs.push_back(blob(std::to_string(i)));
    if (i < api::kMaxEvictionAsks) {
      reasons_[blobs.back().digest] = api::EvictionReason::kLastCopies;
    }
  }
  LastCopies::Plan made = plan(blobs, 20, 2, true);
  EXPECT_EQ(made.choice.blobs.size(), 2u);
  EXPECT_EQ(made.kept.size(), api::kMaxEvictionAsks);
  EXPECT_EQ(asked_.size(), 2u);
  EXPECT_TRUE(asked_[1].dry_run);
}

TEST_F(LastCopiesTest, WhatIsNeededHereIsNotAskedFor) {
  needed_ = blob("a").digest;
  for (std::uint64_t replicas : {0, 2}) {
    LastCopies::Plan made = plan({blob("a"), blob("b")}, 10, replicas);
    EXPECT_EQ(made.choice.blobs, std::vector<content::Digest>{blob("b").digest});
    ASSERT_EQ(made.kept.size(), 1u);
    EXPECT_EQ(made.kept[0].reason, "needed");
  }
}

TEST_F(LastCopiesTest, WithoutReplicasNobodyIsAsked) {
  LastCopies::Plan made = plan({blob("a"), blob("b"), blob("c")}, 15, 0);
  EXPECT_EQ(made.choice.blobs.size(), 2u);
  EXPECT_TRUE(asked_.empty());
}

TEST_F(LastCopiesTest, ClosingEndsWhoWaits) {
  std::atomic<bool> asked{false};
  // An answer that never comes by itself.
  struct Silent {
    static Task<Result<api::EvictionResponse>> run(Event* closed, std::atomic<bool>* asked) {
      *asked = true;
      co_await closed->wait(Deadline::never());
      co_return fail(Errc::kCancelled, "closed");
    }
  };
  Event closed(io_.get_executor());
  LastCopies copies(
      io_.get_executor(), 2,
      [&](api::EvictionRequest, Deadline) { return Silent::run(&closed, &asked); },
      [](const content::Digest&) { return std::string(); });
  const auto begin = std::chrono::steady_clock::now();
  std::thread closer([&] {
    while (!asked) std::this_thread::yield();
    copies.close();
  });
  LastCopies::Plan made = copies.plan(std::vector{blob("a")}, 10, false);
  closer.join();
  EXPECT_TRUE(made.choice.blobs.empty());
  EXPECT_EQ(made.kept.size(), 1u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, LastCopies::kPatience);
  asio::post(io_, [&] { closed.set(); });
  stop(copies);
  // And nothing is asked from then on.
  EXPECT_TRUE(copies.plan(std::vector{blob("a")}, 10, false).choice.blobs.empty());
}

}  // namespace
}  // namespace shoal::agent
