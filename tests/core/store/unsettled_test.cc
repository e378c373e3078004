// Blobs whose piece table is not known yet: what is learnt of them, and how they are settled.
#include <gtest/gtest.h>

#include "core/store/blob_store.h"
#include "tests/core/store/memory_store.h"

namespace shoal::store {
namespace {

using content::Digest;
using content::Hash32;
using content::PieceIndex;

class UnsettledTest : public MemoryStore {
 protected:
  UnsettledTest() { open(); }

  std::shared_ptr<Blob> begin(Reservation reservation = Reservation::kFull) {
    auto blob = store_->create_unsettled(name_, sample_.layout().size(), reservation);
    EXPECT_TRUE(blob) << blob.error().str();
    return blob ? *blob : nullptr;
  }
  Status learn(Blob& blob, std::uint32_t first, std::uint32_t count = 1) {
    return blob.learn(PieceIndex(first), sample_.table.piece_hashes().subspan(first, count));
  }
  void bring(Blob& blob, std::uint32_t first, std::uint32_t count = 1) {
    ASSERT_TRUE(learn(blob, first, count));
    auto stored = blob.commit(PieceIndex(first), sample_.bytes(first, count));
    ASSERT_TRUE(stored) << stored.error().str();
    EXPECT_EQ(*stored, count);
  }
  std::string unsettled_directory() const {
    return std::string(kDirectory) + "/blobs/unsettled/" + name_.hex().substr(0, 2) + "/" +
           name_.hex();
  }
  bool exists(const std::string& path) { return memory_.stat(path).has_value(); }

  const SampleBlob sample_ = sample_blob(5 * kPiece + 100, 7);  // 6 pieces
  const Digest name_ = content::ingest_name("https://host/file", "v1", sample_.data.size());
};

TEST_F(UnsettledTest, TakesPiecesWhoseHashesItHasLearntAndNoOthers) {
  std::shared_ptr<Blob> blob = begin();
  EXPECT_FALSE(blob->settled());
  EXPECT_EQ(blob->digest(), name_);
  auto unknown = blob->commit(PieceIndex(1), sample_.bytes(1));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), Errc::kCorrupt);
  EXPECT_FALSE(blob->knows_hashes(pieces(1)));
  bring(*blob, 1);
  EXPECT_TRUE(blob->has(PieceIndex(1)));
  EXPECT_TRUE(blob->knows_hashes(pieces(1)));
  EXPECT_EQ(blob->piece_hash(PieceIndex(1)), sample_.table.hash(PieceIndex(1)));
  EXPECT_EQ(blob->piece_hash(PieceIndex(2)), std::nullopt);
  ASSERT_TRUE(learn(*blob, 2));
  EXPECT_FALSE(blob->commit(PieceIndex(2), sample_.bytes(3)));
  EXPECT_FALSE(blob->has(PieceIndex(2)));
  std::vector<std::byte> out(kPiece);
  EXPECT_TRUE(blob->read({kPiece, kPiece}, out)) << "it may be passed on";
}

TEST_F(UnsettledTest, AHashIsReplacedUntilBytesRestOnIt) {
  std::shared_ptr<Blob> blob = begin();
  Hash32 lie{};
  lie[0] = std::byte(1);
  ASSERT_TRUE(blob->learn(PieceIndex(0), std::span(&lie, 1)));
  EXPECT_FALSE(blob->commit(PieceIndex(0), sample_.bytes(0)));
  bring(*blob, 0);
  Status refused = blob->learn(PieceIndex(0), std::span(&lie, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::kConflict);
  EXPECT_TRUE(learn(*blob, 0)) << "the same again";
  EXPECT_FALSE(blob->learn(PieceIndex(5), sample_.table.piece_hashes().first(2))) << "outside";
}

TEST_F(UnsettledTest, AWriteThatFailedBindsNothing) {
  std::shared_ptr<Blob> blob = begin();
  ASSERT_TRUE(learn(*blob, 0));
  faulty_.fail_call(1, fakes::Fault::kNoSpace);
  EXPECT_FALSE(blob->commit(PieceIndex(0), sample_.bytes(0)));
  Hash32 other{};
  other[0] = std::byte(1);
  EXPECT_TRUE(blob->learn(PieceIndex(0), std::span(&other, 1)));
}

TEST_F(UnsettledTest, NobodyHereMayReadIt) {
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 6);
  auto lease = blob->open_reader();
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code(), Errc::kUnavailable);
  auto info = store_->info(name_);
  ASSERT_TRUE(info);
  EXPECT_FALSE(info->complete) << "not whole as long as nobody knows what whole is";
  EXPECT_FALSE(info->settled);
  EXPECT_EQ(info->have_count, 6u);
}

TEST_F(UnsettledTest, WhoKeepsItKeepsItFromEviction) {
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 6);
  ASSERT_TRUE(blob->sync());
  std::optional<ReadLease> lease = blob->keep();
  blob.reset();
  EXPECT_TRUE(store_->evict({.blobs = {name_}}).empty());
  lease.reset();
  EXPECT_EQ(store_->evict({.blobs = {name_}}), std::vector{name_});
}

TEST_F(UnsettledTest, SettledItGoesByItsDigestAndCanBeRead) {
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 6);
  auto settled = store_->settle(name_, sample_.table);
  ASSERT_TRUE(settled) << settled.error().str();
  EXPECT_TRUE((*settled)->settled());
  EXPECT_TRUE((*settled)->complete());
  EXPECT_TRUE((*settled)->durable()) << "nothing is written or read again";
  expect_offers_only_good(**settled, sample_);
  EXPECT_TRUE((*settled)->open_reader());
  EXPECT_FALSE(store_->find(name_));
  EXPECT_FALSE(exists(unsettled_directory()));
  EXPECT_TRUE(exists(blob_directory(sample_)));
  EXPECT_FALSE(exists(blob_directory(sample_) + "/hashes"));
  EXPECT_TRUE(store_->info(sample_.digest())->complete);
  // Who still has the old one can take nothing in.
  EXPECT_FALSE(blob->commit(PieceIndex(0), sample_.bytes(0)));
  // Again.
  EXPECT_EQ(store_->settle(name_, sample_.table).value(), *settled);
  const std::uint64_t used = store_->space().use.used;
  settled->reset();
  blob.reset();
  reopen();
  EXPECT_EQ(store_->space().use.used, used);
  expect_offers_only_good(**store_->find(sample_.digest()), sample_);
}

TEST_F(UnsettledTest, ABlobWhoseDigestWasDeclaredKeepsItsName) {
  auto blob = store_->create_unsettled(sample_.digest(), sample_.data.size(), Reservation::kFull);
  ASSERT_TRUE(blob);
  bring(**blob, 2, 2);
  EXPECT_EQ(store_->create_unsettled(sample_.digest(), sample_.data.size(), Reservation::kFull),
            *blob);
  auto settled = store_->create(sample_.table, Reservation::kFull);
  ASSERT_TRUE(settled) << settled.error().str();
  EXPECT_EQ((*settled)->have_count(), 2u);
  EXPECT_TRUE((*settled)->commit(PieceIndex(0), sample_.data));
  EXPECT_TRUE((*settled)->complete());
  expect_offers_only_good(**settled, sample_);
  EXPECT_EQ(store_->create_unsettled(sample_.digest(), sample_.data.size(), Reservation::kFull),
            *settled)
      << "what is settled stays so";
}

TEST_F(UnsettledTest, PiecesThatAreNotWhatTheTableSaysAreDropped) {
  for (Reservation reservation : {Reservation::kFull, Reservation::kSparse}) {
    std::shared_ptr<Blob> blob = begin(reservation);
    bring(*blob, 0, 2);
    const SampleBlob wrong = sample_blob(sample_.data.size(), 8);
    ASSERT_TRUE(blob->learn(PieceIndex(3), std::span(&wrong.table.hash(PieceIndex(3)), 1)));
    ASSERT_TRUE(blob->commit(PieceIndex(3), wrong.bytes(3)));
    auto settled = store_->settle(name_, sample_.table);
    ASSERT_TRUE(settled) << settled.error().str();
    EXPECT_EQ((*settled)->have_count(), 2u);
    expect_offers_only_good(**settled, sample_);
    EXPECT_TRUE((*settled)->commit(PieceIndex(2), sample_.bytes(2, 4)));
    EXPECT_TRUE((*settled)->complete());
    settled->reset();
    blob.reset();
    ASSERT_TRUE(store_->remove(sample_.digest()));
    EXPECT_EQ(store_->space().use.used, 0u);
  }
}

TEST_F(UnsettledTest, WhatIsHereAlreadyTakesItsPlace) {
  create_complete(sample_);
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 2);
  blob.reset();
  auto settled = store_->settle(name_, sample_.table);
  ASSERT_TRUE(settled);
  EXPECT_TRUE((*settled)->complete());
  EXPECT_FALSE(store_->find(name_));
  EXPECT_EQ(store_->space().use.used, sample_.data.size());
}

TEST_F(UnsettledTest, RefusesATableOfAnotherSize) {
  begin();
  auto settled = store_->settle(name_, sample_blob(kPiece, 9).table);
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code(), Errc::kInvalid);
  EXPECT_TRUE(store_->find(name_));
  EXPECT_EQ(store_->settle(content::ingest_name("u", "v", 1), sample_.table).error().code(),
            Errc::kNotFound);
  auto smaller = store_->create_unsettled(name_, 7, Reservation::kFull);
  ASSERT_FALSE(smaller);
  EXPECT_EQ(smaller.error().code(), Errc::kConflict);
}

TEST_F(UnsettledTest, AfterARestartItHasWhatWasSyncedAndFindsTheRest) {
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 2);
  ASSERT_TRUE(blob->sync());
  bring(*blob, 4);
  blob.reset();
  // Killed: nothing more is synced, the pages stay.
  faulty_.fail_call(1, fakes::Fault::kStop);
  store_.reset();
  faulty_.fail_call(0, fakes::Fault::kIoError);
  open();
  auto again = store_->find(name_);
  ASSERT_TRUE(again) << again.error().str();
  EXPECT_TRUE((*again)->has(pieces(0, 2)));
  EXPECT_FALSE((*again)->has(PieceIndex(4)));
  ASSERT_TRUE((*again)->recheck(64 * kMiB));
  EXPECT_TRUE((*again)->has(PieceIndex(4)));
  bring(**again, 5);
  EXPECT_EQ((*store_->settle(name_, sample_.table))->have_count(), 4u);
}

TEST_F(UnsettledTest, AScrubTakesBackABadPieceAndFreesItsHash) {
  std::shared_ptr<Blob> blob = begin();
  bring(*blob, 0, 2);
  ASSERT_TRUE(blob->sync());
  auto file = memory_.open(unsettled_directory() + "/data", OpenMode::kReadWrite, 0);
  ASSERT_TRUE(file);
  ASSERT_TRUE(memory_.pwrite(file->get(), as_bytes("rot"), kPiece));
  EXPECT_EQ(blob->scrub(pieces(0, 6))->count(), 1u);
  EXPECT_FALSE(blob->has(PieceIndex(1)));
  Hash32 other{};
  other[0] = std::byte(1);
  EXPECT_TRUE(blob->learn(PieceIndex(1), std::span(&other, 1)));
}

}  // namespace
}  // namespace shoal::store
