#include "core/store/scrub.h"

#include <gtest/gtest.h>

#include "tests/core/store/memory_store.h"

namespace shoal::store {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

class ScrubTest : public MemoryStore {
 protected:
  ScrubTest() { open(); }
  void rot(const SampleBlob& sample, std::uint32_t piece) {
    memory_.corrupt(blob_directory(sample) + "/data", piece * kPiece + 99, as_bytes("rot"));
  }
  const steady_clock::time_point start_{seconds(1000)};
};

TEST_F(ScrubTest, FindsEveryBadPieceOfEveryBlobInOnePass) {
  const SampleBlob a = sample_blob(5 * kPiece, 1);
  const SampleBlob b = sample_blob(3 * kPiece + 10, 2);
  create_complete(a);
  create_complete(b);
  auto partial = create(sample_blob(4 * kPiece, 3));
  ASSERT_TRUE(partial->commit(content::PieceIndex(2), sample_blob(4 * kPiece, 3).bytes(2)));
  ASSERT_TRUE(store_->maintain().sync_errors.empty());
  rot(a, 1);
  rot(a, 4);
  rot(b, 3 - 1);
  Scrub scrub(*store_, Rate());
  const ScrubStep step = scrub.step(start_);
  EXPECT_TRUE(step.pass_finished);
  EXPECT_EQ(step.bytes_read, a.data.size() + b.data.size() + kPiece);
  std::map<content::Digest, std::uint32_t> bad;
  for (const auto& one : step.bad) bad[one.blob] += one.pieces.count();
  EXPECT_EQ(bad, (std::map<content::Digest, std::uint32_t>{{a.digest(), 2}, {b.digest(), 1}}));
  EXPECT_EQ(store_->info(a.digest())->have_count, 3u);
  EXPECT_FALSE(store_->info(b.digest())->complete);
  // The next pass finds nothing more.
  const ScrubStep again = scrub.step(start_);
  EXPECT_TRUE(again.bad.empty());
  EXPECT_TRUE(again.pass_finished);
}

TEST_F(ScrubTest, KeepsToItsRate) {
  const SampleBlob sample = sample_blob(40 * kPiece, 1);
  create_complete(sample);
  Scrub scrub(*store_, Rate(4 * kPiece));
  std::uint64_t total = 0;
  steady_clock::time_point now = start_;
  const ScrubStep first = scrub.step(now);
  EXPECT_EQ(first.bytes_read, 0u);
  EXPECT_GT(first.next, now);
  bool finished = false;
  for (int i = 0; i < 200 && !finished; ++i) {
    now += std::chrono::milliseconds(100);
    const ScrubStep step = scrub.step(now);
    total += step.bytes_read;
    finished = step.pass_finished;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    ASSERT_LE(static_cast<double>(total), 4 * kPiece * elapsed + kPiece);
    ASSERT_GE(static_cast<double>(total), std::min<double>(40, 4 * elapsed - 1) * kPiece);
  }
  EXPECT_TRUE(finished);
  EXPECT_EQ(total, sample.data.size());
  // A long pause does not allow a burst.
  now += seconds(3600);
  EXPECT_LE(scrub.step(now).bytes_read, 5 * kPiece);
}

TEST_F(ScrubTest, DoesNotCountAsUseAndHoldsNothingBetweenSteps) {
  const SampleBlob sample = sample_blob(10 * kPiece, 1);
  create_complete(sample);
  ASSERT_TRUE(store_->maintain().evicted.empty());
  const std::int64_t used = store_->info(sample.digest())->last_used_ns;
  now_ns_ += 1'000'000;
  Scrub scrub(*store_, Rate(kPiece));
  (void)scrub.step(start_);
  EXPECT_EQ(scrub.step(start_ + seconds(1)).bytes_read, kPiece);
  EXPECT_EQ(store_->info(sample.digest())->last_used_ns, used);
  ASSERT_TRUE(store_->remove(sample.digest()));
  EXPECT_TRUE(scrub.step(start_ + seconds(3)).pass_finished);
}

TEST_F(ScrubTest, OfAnEmptyStoreIsFinishedAtOnce) {
  Scrub scrub(*store_, Rate());
  EXPECT_TRUE(scrub.step(start_).pass_finished);
}

TEST_F(ScrubTest, AnInPlaceSourceThatRotsIsWithdrawn) {
  const SampleBlob sample = sample_blob(2 * kPiece, 1);
  auto fd = memory_.open("/model", OpenMode::kCreate, 0644);
  ASSERT_TRUE(fd && memory_.pwrite(fd->get(), sample.data, 0));
  auto st = memory_.stat("/model");
  auto blob = store_->add_in_place(
      sample.table,
      {.path = "/model", .size = st->size, .mtime_ns = st->mtime_ns, .inode = st->inode});
  ASSERT_TRUE(blob);
  memory_.corrupt("/model", 5, as_bytes("rot"));  // without a new mtime
  Scrub scrub(*store_, Rate());
  EXPECT_EQ(scrub.step(start_).bad.size(), 1u);
  EXPECT_TRUE((*blob)->failed());
}

}  // namespace
}  // namespace shoal::store
