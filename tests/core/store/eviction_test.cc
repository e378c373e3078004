#include "core/store/eviction.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>

#include "core/base/random.h"
#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/store/file_system.h"
#include "core/store/writeback.h"
#include "tests/core/store/memory_store.h"
#include "tests/fakes/test_seed.h"

namespace shoal::store {
namespace {

using content::Digest;

EvictionCandidate candidate(std::string_view name, std::uint64_t bytes, std::int64_t last_used,
                            bool kept = false) {
  return {
      .digest = content::digest_of(name), .bytes = bytes, .last_used_ns = last_used, .kept = kept};
}

const SpaceLimits kLimits{.capacity = 1000, .free_space_floor = 0.15};

TEST(BytesToFree, IsNothingBelowTheHighWatermarkAndAboveTheFloor) {
  EXPECT_EQ(bytes_to_free(kLimits, {.used = 950, .fs_total = 10'000, .fs_free = 5000}, 0), 0u);
  EXPECT_EQ(bytes_to_free(kLimits, {.used = 900, .fs_total = 10'000, .fs_free = 5000}, 50), 0u);
}

TEST(BytesToFree, GoesDownToTheLowWatermark) {
  EXPECT_EQ(bytes_to_free(kLimits, {.used = 951, .fs_total = 10'000, .fs_free = 5000}, 0), 51u);
  EXPECT_EQ(bytes_to_free(kLimits, {.used = 900, .fs_total = 10'000, .fs_free = 5000}, 200), 200u);
}

TEST(BytesToFree, KeepsTheFileSystemAboveItsFloor) {
  // Others filled the disk: 1,400 of 10,000 are free, 1,500 must be, and 500 are the margin.
  const SpaceUse use{.used = 500, .fs_total = 10'000, .fs_free = 1400};
  EXPECT_NEAR(static_cast<double>(bytes_to_free(kLimits, use, 0)), 600, 1);
  EXPECT_NEAR(static_cast<double>(bytes_to_free(kLimits, use, 100)), 700, 1);
  const SpaceLimits no_capacity{.capacity = 0, .free_space_floor = 0.15};
  EXPECT_NEAR(static_cast<double>(bytes_to_free(no_capacity, use, 0)), 600, 1);
}

TEST(ChooseEvictions, TakesTheLeastRecentlyUsedFirst) {
  const std::vector<EvictionCandidate> all = {candidate("new", 10, 300), candidate("old", 10, 100),
                                              candidate("middle", 10, 200)};
  EXPECT_EQ(choose_evictions(all, 11), (std::vector<Digest>{all[1].digest, all[2].digest}));
  EXPECT_TRUE(choose_evictions(all, 0).empty());
  EXPECT_EQ(choose_evictions(all, 1000).size(), 3u);
}

TEST(ChooseEvictions, TakesManifestsAndTheirLikeLast) {
  const std::vector<EvictionCandidate> all = {candidate("manifest", 800, 100),
                                              candidate("file", kMiB, 300)};
  EXPECT_EQ(choose_evictions(all, kMiB), std::vector<Digest>{all[1].digest});
  EXPECT_EQ(choose_evictions(all, kMiB + 1).size(), 2u);
}

TEST(ChooseEvictions, NeverTakesWhatIsKeptOrGivesNothing) {
  const std::vector<EvictionCandidate> all = {
      candidate("pinned", 10, 1, true), candidate("in place", 0, 2), candidate("last", 10, 3)};
  EXPECT_EQ(choose_evictions(all, 1000), std::vector<Digest>{all[2].digest});
}

TEST(ChooseEvictions, FreesEnoughWithNoOlderOneLeftAndNoneTooMany) {
  SeededRandom random(fakes::test_seed());
  for (int round = 0; round < 500; ++round) {
    std::vector<EvictionCandidate> all;
    std::uint64_t possible = 0;
    for (std::uint64_t i = 0; i < random.below(20); ++i) {
      all.push_back(candidate(std::to_string(i), random.below(100),
                              static_cast<std::int64_t>(random.below(10)), random.below(3) == 0));
      if (!all.back().kept) possible += all.back().bytes;
    }
    const std::uint64_t need = random.below(500);
    const std::vector<Digest> chosen = choose_evictions(all, need);
    const std::set<Digest> set(chosen.begin(), chosen.end());
    ASSERT_EQ(set.size(), chosen.size());
    std::uint64_t freed = 0;
    std::int64_t youngest = -1;
    std::uint64_t last = 0;
    for (const Digest& digest : chosen) {
      for (const auto& one : all) {
        if (one.digest != digest) continue;
        ASSERT_FALSE(one.kept);
        freed += one.bytes;
        last = one.bytes;
        youngest = std::max(youngest, one.last_used_ns);
      }
    }
    ASSERT_GE(freed, std::min(need, possible));
    ASSERT_TRUE(chosen.empty() || freed - last < need);
    for (const auto& one : all) {
      if (one.kept || one.bytes == 0 || set.count(one.digest) != 0) continue;
      ASSERT_GE(one.last_used_ns, youngest);
    }
  }
}

// --- the same in a store ---

class StoreEviction : public MemoryStore {
 protected:
  StoreEviction() { limits_ = {.capacity = 10 * kPiece, .free_space_floor = 0.05}; }
  SampleBlob make(std::uint64_t seed, std::uint64_t blob_pieces = 3) {
    now_ns_ += 1'000'000'000;
    SampleBlob sample = sample_blob(blob_pieces * kPiece, seed);
    create_complete(sample);
    (void)store_->maintain();
    return sample;
  }
  bool stored(const SampleBlob& sample) { return store_->info(sample.digest()).has_value(); }
};

TEST_F(StoreEviction, CreationMakesRoomByUse) {
  open();
  const SampleBlob a = make(1);
  const SampleBlob b = make(2);
  const SampleBlob c = make(3);
  now_ns_ += 1'000'000'000;
  ASSERT_TRUE(store_->find(a.digest()));  // used again
  const SampleBlob d = make(4);
  EXPECT_TRUE(stored(a) && stored(c) && stored(d));
  EXPECT_FALSE(stored(b));
  EXPECT_EQ(store_->space().use.used, 9 * kPiece);
  EXPECT_EQ(listener_.evicted, std::vector<Digest>{b.digest()});
}

// Else the space of an evicted blob comes back when the next ones have written enough, or never.
TEST(Writeback, DoesNotKeepAForgottenFileOpen) {
  Writeback writeback(real_file_system(), 64 * kMiB);
  auto forgotten = std::make_shared<UniqueFd>();
  auto other = std::make_shared<UniqueFd>();
  writeback.add(forgotten, {0, 100});
  writeback.add(other, {0, 100});
  writeback.add(forgotten, {500, 100});
  EXPECT_EQ(forgotten.use_count(), 3);
  writeback.forget(forgotten);
  EXPECT_EQ(forgotten.use_count(), 1);
  EXPECT_EQ(other.use_count(), 2);
}

TEST_F(StoreEviction, NeverTakesPinnedOpenedNotChosenOrFetchedBlobs) {
  open();
  const SampleBlob pinned = make(1, 2);
  ASSERT_TRUE(store_->pin(pinned.digest(), "model"));
  const SampleBlob opened = make(2, 2);
  auto lease = (*store_->find(opened.digest()))->open_reader();
  const SampleBlob guarded = make(3, 2);
  const SampleBlob fetched = sample_blob(2 * kPiece, 4);
  auto fetching = create(fetched);
  std::vector<Digest> asked;
  store_->set_eviction_chooser([&](std::span<const BlobInfo> in_order, std::uint64_t) {
    EvictionChoice choice;
    for (const BlobInfo& info : in_order) {
      asked.push_back(info.digest);
      if (info.digest != guarded.digest()) choice.blobs.push_back(info.digest);
    }
    return choice;
  });
  auto full = store_->create(sample_blob(3 * kPiece, 5).table, Reservation::kFull);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code(), Errc::kNoSpace);
  EXPECT_NE(full.error().message().find("store full: 512 KiB of 640 KiB used"), std::string::npos)
      << full.error().message();
  EXPECT_EQ(asked, std::vector<Digest>{guarded.digest()});
  EXPECT_TRUE(stored(pinned) && stored(opened) && stored(guarded) && stored(fetched));
  // Once nobody fetches it any more, it may go.
  fetching.reset();
  EXPECT_TRUE(store_->create(sample_blob(3 * kPiece, 5).table, Reservation::kFull));
  EXPECT_FALSE(stored(fetched));
}

TEST_F(StoreEviction, OffersTheChooserWhatCouldGoOldestFirstAndTellsWhatWent) {
  open();
  const SampleBlob a = make(1);
  const SampleBlob b = make(2);
  const SampleBlob c = make(3);
  std::vector<Digest> offered;
  std::uint64_t wanted = 0;
  store_->set_eviction_chooser([&](std::span<const BlobInfo> in_order, std::uint64_t bytes) {
    for (const BlobInfo& info : in_order) offered.push_back(info.digest);
    wanted = bytes;
    return EvictionChoice{.blobs = {b.digest()}};
  });
  const SampleBlob d = make(4);
  EXPECT_EQ(offered, (std::vector<Digest>{a.digest(), b.digest(), c.digest()}));
  EXPECT_EQ(wanted, 3 * kPiece);
  EXPECT_TRUE(stored(a) && stored(c) && stored(d));
  EXPECT_FALSE(stored(b));
  EXPECT_EQ(listener_.evicted, std::vector<Digest>{b.digest()});
}

TEST_F(StoreEviction, AChoiceThatHasLapsedRemovesNothing) {
  open();
  const SampleBlob a = make(1);
  EXPECT_TRUE(
      store_->evict({.blobs = {a.digest()}, .until = std::chrono::steady_clock::now()}).empty());
  EXPECT_TRUE(stored(a));
  EXPECT_EQ(store_->evict({.blobs = {a.digest()}}), std::vector<Digest>{a.digest()});
  EXPECT_FALSE(stored(a));
}

TEST_F(StoreEviction, ReadersOfAnEvictedBlobKeepCompleteBytes) {
  open();
  const SampleBlob a = make(1, 8);
  auto blob = *store_->find(a.digest());
  auto fd = real_file_system().reopen_read_only(*blob->serve({0, 1}));
  make(2, 8);
  ASSERT_FALSE(stored(a));
  std::vector<std::byte> out(a.data.size());
  EXPECT_EQ(*real_file_system().pread(fd->get(), out, 0), out.size());
  EXPECT_EQ(out, a.data);
  expect_offers_only_good(*blob, a);
}

TEST_F(StoreEviction, MaintainReachesTheLowWatermark) {
  limits_.high_watermark = 0.7;
  limits_.low_watermark = 0.5;
  open();
  const SampleBlob a = make(1, 2);
  const SampleBlob b = make(2, 2);
  const SampleBlob c = make(3, 2);
  EXPECT_TRUE(stored(a));
  // A sparse blob grows beyond the high watermark, within the capacity.
  auto sparse = create(sample_blob(4 * kPiece, 4), Reservation::kSparse);
  ASSERT_TRUE(sparse->commit(content::PieceIndex(0), sample_blob(4 * kPiece, 4).bytes(0, 2)));
  MaintainReport report = store_->maintain();
  EXPECT_EQ(report.evicted, (std::vector<Digest>{a.digest(), b.digest()}));
  EXPECT_TRUE(stored(c));
  EXPECT_TRUE(store_->maintain().evicted.empty());
}

TEST_F(StoreEviction, SparseBlobsTakeSpaceAsTheyGrowAndStopAtTheLimit) {
  open();
  const SampleBlob sample = sample_blob(20 * kPiece, 1);
  auto blob = create(sample, Reservation::kSparse);
  EXPECT_EQ(store_->space().use.used, 0u);
  ASSERT_TRUE(blob->commit(content::PieceIndex(0), sample.bytes(0, 10)));
  EXPECT_EQ(store_->space().use.used, 10 * kPiece);
  auto more = blob->commit(content::PieceIndex(10), sample.bytes(10));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Errc::kNoSpace);
  EXPECT_NE(more.error().message().find("store full"), std::string::npos);
  EXPECT_NE(more.error().message().find("pieces 10 to 10"), std::string::npos);
  EXPECT_EQ(blob->have_count(), 10u);
  expect_offers_only_good(*blob, sample);
  // What it has still counts after a restart.
  blob.reset();
  reopen();
  EXPECT_EQ(store_->space().use.used, 10 * kPiece);
}

TEST_F(StoreEviction, ConcurrentCreationsDoNotOvershoot) {
  open();
  std::vector<SampleBlob> samples;
  for (std::uint64_t i = 0; i < 8; ++i) samples.push_back(sample_blob(3 * kPiece, 10 + i));
  std::vector<Result<std::shared_ptr<Blob>>> made(8, fail(Errc::kInternal, ""));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 8; ++i) {
    threads.emplace_back(
        [&, i] { made[i] = store_->create(samples[i].table, Reservation::kFull); });
  }
  for (std::thread& thread : threads) thread.join();
  const auto good = std::count_if(made.begin(), made.end(), [](const auto& m) { return !!m; });
  EXPECT_LE(store_->space().use.used, 10 * kPiece);
  EXPECT_EQ(store_->space().use.used, store_->list().size() * 3 * kPiece);
  EXPECT_GE(good, 1);
}

TEST_F(StoreEviction, LeavesTheFileSystemItsFloor) {
  // 1 GiB in all; 5 % must stay.
  limits_ = {.capacity = 0, .free_space_floor = 0.999};
  open();
  auto blob = store_->create(sample_blob(40 * kPiece, 1).table, Reservation::kFull);
  ASSERT_FALSE(blob);
  EXPECT_EQ(blob.error().code(), Errc::kNoSpace);
  EXPECT_NE(blob.error().message().find("disk full"), std::string::npos);
  EXPECT_NE(blob.error().message().find("100 % are left free"), std::string::npos)
      << blob.error().message();
}

TEST_F(StoreEviction, UseIsRememberedOverARestart) {
  open();
  const SampleBlob a = make(1);
  const SampleBlob b = make(2);
  now_ns_ += 7'200'000'000'000;
  ASSERT_TRUE(store_->find(a.digest()));
  const std::int64_t used = now_ns_;
  reopen();
  EXPECT_EQ(store_->info(a.digest())->last_used_ns, used);
  make(3, 3);
  make(4, 3);
  EXPECT_TRUE(stored(a));
  EXPECT_FALSE(stored(b));
}

}  // namespace
}  // namespace shoal::store
