// Back-off, rate limits, upload slots, scores.
#include <gtest/gtest.h>

#include "core/base/units.h"
#include "core/swarm/backoff.h"
#include "core/swarm/peer_score.h"
#include "core/swarm/token_bucket.h"
#include "core/swarm/upload_slots.h"

namespace shoal::swarm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Time kStart = Time(seconds(100));

TEST(Backoff, DoublesUpToItsMostWithJitter) {
  SeededRandom random(1);
  Backoff backoff(milliseconds(100), seconds(1));
  EXPECT_TRUE(backoff.ready(kStart));
  Duration whole = milliseconds(100);
  Time now = kStart;
  for (int i = 0; i < 8; ++i) {
    backoff.failed(now, random);
    Duration wait = backoff.until() - now;
    EXPECT_GE(wait, whole / 2);
    EXPECT_LE(wait, whole);
    now = backoff.until();
    whole = std::min<Duration>(whole * 2, seconds(1));
  }
  backoff.succeeded();
  EXPECT_TRUE(backoff.ready(kStart));
  EXPECT_EQ(backoff.failures(), 0u);
}

TEST(Backoff, HonoursRetryAfter) {
  SeededRandom random(1);
  Backoff backoff(milliseconds(100), seconds(1));
  backoff.failed(kStart, random, seconds(7));
  EXPECT_EQ(backoff.until(), kStart + seconds(7));
}

// Takes 64 KiB for each class in turn whenever it can, for ten seconds.
std::array<double, kClassCount> contend(TokenBucket& bucket, std::vector<Class> classes) {
  std::array<double, kClassCount> got{};
  for (Time now = kStart; now < kStart + seconds(10); now += milliseconds(5)) {
    for (Class cls : classes) {
      if (bucket.take(cls, 64 * kKiB, now)) got[static_cast<std::size_t>(cls)] += 64 * kKiB;
    }
  }
  return got;
}

TEST(TokenBucket, KeepsToTheRateWhoeverAsks) {
  for (std::vector<Class> classes :
       {std::vector{Class::kPrefetch}, std::vector{Class::kBackground},
        std::vector{Class::kFault, Class::kPlan, Class::kPrefetch, Class::kBackground}}) {
    TokenBucket bucket(Rate(4'000'000));
    auto got = contend(bucket, classes);
    double sum = 0;
    for (double bytes : got) sum += bytes;
    EXPECT_NEAR(sum, 40e6, 3e6);
  }
}

TEST(TokenBucket, EveryClassGetsItsGuaranteedPart) {
  TokenBucket bucket(Rate(4'000'000));
  auto got = contend(
      bucket, {Class::kFault, Class::kWindow, Class::kPlan, Class::kPrefetch, Class::kBackground});
  for (std::size_t c = 0; c < kClassCount; ++c) {
    EXPECT_GE(got[c], 40e6 * kGuaranteedShare[c] / 100 * 0.85) << c;
  }
}

TEST(TokenBucket, SaysWhenToComeBack) {
  TokenBucket bucket(Rate(1'000'000));
  Time now = kStart;
  int asked = 0;
  for (int i = 0; i < 20; ++i) {
    while (!bucket.take(Class::kPlan, 512 * kKiB, now)) {
      Time next = bucket.ready_at(Class::kPlan, now);
      ASSERT_GT(next, now);
      now = next;
      ASSERT_LT(++asked, 1000);
    }
  }
  EXPECT_GE(now - kStart, seconds(8));
  EXPECT_LE(now - kStart, seconds(12));
  EXPECT_TRUE(TokenBucket(Rate()).take(Class::kPlan, kTiB, kStart)) << "no limit";
}

TEST(UploadSlots, UrgentRequestsGetInWhenBulkIsFull) {
  UploadSlots slots({.bulk = 2, .urgent = 2, .per_peer = 4});
  EXPECT_TRUE(slots.ask(PeerId(1), Class::kPlan).admitted);
  EXPECT_TRUE(slots.ask(PeerId(2), Class::kPlan).admitted);
  auto refused = slots.ask(PeerId(3), Class::kPrefetch);
  EXPECT_FALSE(refused.admitted);
  EXPECT_GT(refused.retry_after, Duration::zero());
  EXPECT_TRUE(slots.ask(PeerId(3), Class::kFault).admitted);
  slots.release(PeerId(1), Class::kPlan);
  EXPECT_TRUE(slots.ask(PeerId(3), Class::kPrefetch).admitted);
}

TEST(UploadSlots, OnePeerCannotTakeThemAll) {
  UploadSlots slots({.bulk = 8, .urgent = 1, .per_peer = 8});
  EXPECT_TRUE(slots.ask(PeerId(2), Class::kPlan).admitted);
  std::size_t greedy = 0;
  while (slots.ask(PeerId(1), Class::kPlan).admitted) ++greedy;
  EXPECT_LT(greedy, 7u);
  EXPECT_TRUE(slots.ask(PeerId(3), Class::kPlan).admitted);
  slots.peer_down(PeerId(1));
  EXPECT_EQ(slots.in_use(), 2u);
  slots.release(PeerId(1), Class::kPlan);  // late: already released
  EXPECT_EQ(slots.in_use(), 2u);
}

TEST(PeerScore, AFastSourceIsTrustedWithMoreASlowOneWithLittle) {
  auto settle = [](double rate) {
    PeerScore score(milliseconds(200), 64 * kMiB);
    Time now = kStart;
    for (int i = 0; i < 60; ++i) {
      std::uint64_t bytes = std::max<std::uint64_t>(score.request_bytes(), 64 * kKiB);
      Time started = now;
      score.started(bytes, now);
      now += Duration(static_cast<std::int64_t>(static_cast<double>(bytes) / rate * 1e9));
      score.received(bytes, now);
      score.finished(bytes, started, now);
    }
    EXPECT_NEAR(score.rate(), rate, 0.1 * rate);
    return score.request_bytes();
  };
  EXPECT_GE(settle(1e9), 8 * kMiB);
  EXPECT_LE(settle(100e3), 64 * kKiB);
}

TEST(PeerScore, WhatWillNotComeIsNoLongerInFlight) {
  PeerScore score(milliseconds(200), 64 * kMiB);
  score.started(1000, kStart);
  score.received(400, kStart + milliseconds(10));
  score.abandoned(600, true, kStart + seconds(3));
  EXPECT_EQ(score.in_flight(), 0u);
  EXPECT_EQ(score.bytes(), 400u);
  EXPECT_TRUE(score.has_room());
}

}  // namespace
}  // namespace shoal::swarm
