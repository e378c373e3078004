#include "agent/lane/upload_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using swarm::Class;

struct Admitted {
  std::optional<UploadGate::Ticket> ticket;
  milliseconds retry_after{0};
};

bool ask(UploadGate& gate, const std::string& peer, Class cls, Admitted& out) {
  return gate.admit(peer, cls, out.ticket, out.retry_after);
}

TEST(UploadGate, RefusesWhenTheSlotsAreTakenAndSaysWhenToComeBack) {
  UploadGate gate(Rate(), {.bulk = 2, .urgent = 1, .per_peer = 2});
  Admitted first;
  Admitted second;
  Admitted third;
  EXPECT_TRUE(ask(gate, "a", Class::kPrefetch, first));
  EXPECT_TRUE(ask(gate, "b", Class::kPrefetch, second));
  EXPECT_EQ(gate.in_use(), 2u);
  EXPECT_FALSE(ask(gate, "c", Class::kPrefetch, third));
  EXPECT_FALSE(third.ticket);
  EXPECT_GT(third.retry_after, milliseconds(0));
  first.ticket.reset();
  EXPECT_TRUE(ask(gate, "c", Class::kPrefetch, third));
}

TEST(UploadGate, UrgentRequestsHaveSlotsOfTheirOwn) {
  UploadGate gate(Rate(), {.bulk = 1, .urgent = 1, .per_peer = 1});
  Admitted bulk;
  Admitted urgent;
  EXPECT_TRUE(ask(gate, "a", Class::kPrefetch, bulk));
  EXPECT_TRUE(ask(gate, "a", Class::kFault, urgent));
}

TEST(UploadGate, OnePeerHoldsNoMoreThanItsPart) {
  UploadGate gate(Rate(), {.bulk = 8, .urgent = 1, .per_peer = 2});
  Admitted held[3];
  EXPECT_TRUE(ask(gate, "a", Class::kPlan, held[0]));
  EXPECT_TRUE(ask(gate, "a", Class::kPlan, held[1]));
  EXPECT_FALSE(ask(gate, "a", Class::kPlan, held[2]));
  // Its slots are its own again when it comes back under the same name.
  held[0].ticket.reset();
  held[1].ticket.reset();
  EXPECT_EQ(gate.in_use(), 0u);
  EXPECT_TRUE(ask(gate, "a", Class::kPlan, held[2]));
}

TEST(UploadGate, AMovedTicketIsReleasedOnce) {
  UploadGate gate(Rate(), {.bulk = 2, .urgent = 1, .per_peer = 2});
  Admitted held;
  ASSERT_TRUE(ask(gate, "a", Class::kPlan, held));
  {
    UploadGate::Ticket moved(std::move(*held.ticket));
    held.ticket.reset();
    EXPECT_EQ(gate.in_use(), 1u);
  }
  EXPECT_EQ(gate.in_use(), 0u);
}

TEST(UploadGate, PacesToTheLimitOverVirtualTime) {
  constexpr std::uint64_t kRate = 10'000'000;
  constexpr std::uint64_t kChunk = 64 * kKiB;
  UploadGate gate{Rate(kRate), {}};
  EXPECT_TRUE(gate.limited());
  EXPECT_FALSE(UploadGate(Rate(), {}).limited());
  swarm::Time start = swarm::Time() + std::chrono::hours(1);
  swarm::Time now = start;
  std::uint64_t sent = 0;
  while (now < start + std::chrono::seconds(10)) {
    auto when = gate.take(Class::kPrefetch, kChunk, now);
    if (!when) {
      sent += kChunk;
      continue;
    }
    ASSERT_GT(*when, now) << "it must say a time at which things are different";
    now = *when;
  }
  EXPECT_NEAR(static_cast<double>(sent), 10.0 * kRate, 0.05 * 10 * kRate);
}

TEST(UploadGate, AnUrgentClassIsNotKeptWaitingByBulk) {
  constexpr std::uint64_t kChunk = 64 * kKiB;
  UploadGate gate{Rate(1'000'000), {}};
  swarm::Time now = swarm::Time() + std::chrono::hours(1);
  while (!gate.take(Class::kPrefetch, kChunk, now)) {
  }
  // Bulk has used all there was; both wait from now on. The fault class gets more of what arrives.
  std::uint64_t fault = 0;
  std::uint64_t prefetch = 0;
  for (int i = 0; i < 10'000; ++i) {
    now += milliseconds(1);
    if (!gate.take(Class::kFault, kChunk, now)) fault += kChunk;
    if (!gate.take(Class::kPrefetch, kChunk, now)) prefetch += kChunk;
  }
  EXPECT_GT(fault, prefetch);
  EXPECT_GT(prefetch, 0u);
}

TEST(UploadGate, CountsRightWithManyThreads) {
  UploadGate gate(Rate(), {.bulk = 4, .urgent = 4, .per_peer = 4});
  std::atomic<int> inside{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        Admitted held;
        if (!ask(gate, "peer-" + std::to_string(t % 2), Class::kPlan, held)) continue;
        if (++inside > 4) exceeded = true;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(gate.in_use(), 0u);
}

}  // namespace
}  // namespace shoal::agent
