#include "core/store/blob.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/content/piece_hasher.h"
#include "core/store/ready_map.h"
#include "tests/core/store/memory_store.h"

namespace shoal::store {
namespace {

using content::PieceIndex;

class BlobTest : public MemoryStore {
 protected:
  BlobTest() { open(); }
  // Five pieces, the last one short.
  const SampleBlob sample_ = sample_blob(4 * kPiece + 1000);
};

TEST_F(BlobTest, OffersAPieceOnceItIsCommitted) {
  auto blob = create(sample_);
  EXPECT_FALSE(blob->has(PieceIndex(1)));
  const std::uint64_t version = blob->version();
  auto fresh = blob->commit(PieceIndex(1), sample_.bytes(1, 2));
  ASSERT_TRUE(fresh) << fresh.error().str();
  EXPECT_EQ(*fresh, 2u);
  EXPECT_TRUE(blob->has(pieces(1, 2)));
  EXPECT_FALSE(blob->has(pieces(0, 2)));
  EXPECT_EQ(blob->have_count(), 2u);
  EXPECT_GT(blob->version(), version);
  expect_offers_only_good(*blob, sample_);
  ASSERT_EQ(listener_.ready.size(), 1u);
  EXPECT_EQ(listener_.ready[0].second, pieces(1, 2));
  EXPECT_EQ(listener_.completions, 0);
}

TEST_F(BlobTest, IsCompleteWithTheLastShortPiece) {
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(4), sample_.bytes(4)));
  EXPECT_FALSE(blob->complete());
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.bytes(0, 4)));
  EXPECT_TRUE(blob->complete());
  EXPECT_FALSE(blob->durable());
  EXPECT_EQ(listener_.completions, 1);
  ASSERT_TRUE(blob->sync());
  EXPECT_TRUE(blob->durable());
  EXPECT_EQ(blob->unsynced_bytes(), 0u);
}

TEST_F(BlobTest, KeepsTheGoodPiecesBeforeABadOneAndNamesIt) {
  auto blob = create(sample_);
  std::vector<std::byte> bytes(sample_.bytes(0, 4).begin(), sample_.bytes(0, 4).end());
  bytes[2 * kPiece + 5] ^= std::byte{1};
  auto fresh = blob->commit(PieceIndex(0), bytes);
  ASSERT_FALSE(fresh);
  EXPECT_EQ(fresh.error().code(), Errc::kCorrupt);
  EXPECT_NE(fresh.error().message().find("piece 2 "), std::string::npos);
  EXPECT_TRUE(blob->has(pieces(0, 2)));
  EXPECT_EQ(blob->have_count(), 2u);
  // Not even the bytes of the bad piece, or of those after it, are in the file.
  auto data = read_file(memory_, blob_directory(sample_) + "/data", 10 * kMiB);
  ASSERT_TRUE(data);
  EXPECT_TRUE(std::all_of(data->begin() + 2 * kPiece, data->end(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(BlobTest, ComparesHashesThatWereComputedWhileReceiving) {
  auto blob = create(sample_);
  std::vector<content::Hash32> hashes = {
      content::piece_hash(sample_.layout(), PieceIndex(3), sample_.bytes(3))};
  EXPECT_TRUE(blob->commit(PieceIndex(3), sample_.bytes(3), hashes));
  EXPECT_EQ(blob->commit(PieceIndex(2), sample_.bytes(2), hashes).error().code(), Errc::kCorrupt);
  EXPECT_EQ(blob->commit(PieceIndex(0), sample_.bytes(0, 2), hashes).error().code(),
            Errc::kInvalid);
  EXPECT_EQ(blob->have_count(), 1u);
}

TEST_F(BlobTest, RefusesWhatIsNotWholePieces) {
  auto blob = create(sample_);
  auto code = [&](std::uint32_t first, std::span<const std::byte> bytes) {
    auto fresh = blob->commit(PieceIndex(first), bytes);
    return fresh ? Errc::kInternal : fresh.error().code();
  };
  const std::span<const std::byte> all(sample_.data);
  EXPECT_EQ(code(0, all.first(kPiece - 1)), Errc::kInvalid);
  EXPECT_EQ(code(0, all.first(kPiece + 1)), Errc::kInvalid);
  EXPECT_EQ(code(0, {}), Errc::kInvalid);
  EXPECT_EQ(code(1, all), Errc::kInvalid);
  EXPECT_EQ(code(4, all.last(999)), Errc::kInvalid);
  EXPECT_EQ(code(5, all.first(kPiece)), Errc::kInvalid);
  EXPECT_EQ(code(~0u, all.first(kPiece)), Errc::kInvalid);
  EXPECT_EQ(blob->have_count(), 0u);
}

TEST_F(BlobTest, SkipsPiecesThatAreThere) {
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(1), sample_.bytes(1)));
  EXPECT_EQ(*blob->commit(PieceIndex(0), sample_.bytes(0, 3)), 2u);
  EXPECT_EQ(*blob->commit(PieceIndex(0), sample_.bytes(0, 3)), 0u);
  expect_offers_only_good(*blob, sample_);
}

TEST_F(BlobTest, ReadsOnlyVerifiedRanges) {
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(1), sample_.bytes(1, 2)));
  std::vector<std::byte> out(100);
  ASSERT_TRUE(blob->read({kPiece + kPiece - 50, 100}, out));
  EXPECT_EQ(std::memcmp(out.data(), sample_.data.data() + 2 * kPiece - 50, 100), 0);
  EXPECT_EQ(blob->read({kPiece - 1, 100}, out).error().code(), Errc::kUnavailable);
  EXPECT_EQ(blob->read({sample_.data.size() - 50, 100}, out).error().code(), Errc::kInvalid);
  EXPECT_EQ(blob->read({~std::uint64_t{0} - 10, 100}, out).error().code(), Errc::kInvalid);
  EXPECT_TRUE(blob->serve({kPiece, 2 * kPiece}));
  EXPECT_EQ(blob->serve({kPiece, 2 * kPiece + 1}).error().code(), Errc::kUnavailable);
}

TEST_F(BlobTest, ServesADescriptorThatCannotWrite) {
  auto blob = create_complete(sample_);
  auto fd = blob->serve({0, 100});
  ASSERT_TRUE(fd);
  EXPECT_LT(::write(*fd, "x", 1), 0);
  auto lease = blob->open_reader();
  ASSERT_TRUE(lease);
  EXPECT_LT(::write(lease->data_fd(), "x", 1), 0);
  EXPECT_LT(::write(lease->ready_fd(), "x", 1), 0);
  std::vector<std::byte> out(sample_.data.size());
  EXPECT_EQ(::pread(lease->data_fd(), out.data(), out.size(), 0), static_cast<ssize_t>(out.size()));
  EXPECT_EQ(out, sample_.data);
}

TEST_F(BlobTest, ReadersSeePiecesArriveInTheReadyMap) {
  auto blob = create(sample_);
  auto lease = blob->open_reader();
  ASSERT_TRUE(lease);
  auto reader = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
  ASSERT_TRUE(reader) << reader.error().str();
  EXPECT_FALSE(*reader->ready(pieces(0)));
  const std::uint32_t seen = reader->change_count();
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.bytes(0, 3)));
  EXPECT_EQ(reader->change_count(), seen + 1);  // one wake-up for the batch
  EXPECT_TRUE(*reader->ready(pieces(0, 3)));
  ASSERT_TRUE(blob->commit(PieceIndex(3), sample_.bytes(3, 2)));
  EXPECT_EQ(reader->state(), ReadyState::kComplete);
}

TEST_F(BlobTest, CountsOpenReaders) {
  auto blob = create(sample_);
  {
    auto first = blob->open_reader();
    auto second = blob->open_reader();
    EXPECT_EQ(blob->open_readers(), 2);
    *first = *std::move(second);
    EXPECT_EQ(blob->open_readers(), 1);
  }
  EXPECT_EQ(blob->open_readers(), 0);
}

TEST_F(BlobTest, TakesBackUnsyncedPiecesWhenASyncFails) {
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.bytes(0)));
  ASSERT_TRUE(blob->sync());
  ASSERT_TRUE(blob->commit(PieceIndex(1), sample_.bytes(1)));
  auto lease = blob->open_reader();
  auto old = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
  faulty_.fail_call(1, fakes::Fault::kIoError);
  auto synced = blob->sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code(), Errc::kInternal);
  EXPECT_TRUE(blob->has(PieceIndex(0)));
  EXPECT_FALSE(blob->has(PieceIndex(1)));
  EXPECT_EQ(old->ready(pieces(0)).error().code(), Errc::kConflict);
  auto fresh_lease = blob->open_reader();
  auto fresh = ReadyReader::open(fresh_lease->ready_fd(), sample_.digest(), sample_.layout());
  EXPECT_TRUE(*fresh->ready(pieces(0)));
  EXPECT_FALSE(*fresh->ready(pieces(1)));
  EXPECT_GT(fresh->epoch(), old->epoch());
  ASSERT_EQ(listener_.lost.size(), 1u);
  EXPECT_EQ(listener_.lost[0].second.count(), 1u);
  // They come again, and this time it works.
  EXPECT_EQ(*blob->commit(PieceIndex(0), sample_.data), 4u);
  EXPECT_TRUE(blob->sync());
  EXPECT_TRUE(blob->durable());
}

TEST_F(BlobTest, KeepsPiecesReadyWhenOnlyTheRecordCannotBeWritten) {
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.bytes(0)));
  faulty_.fail_call(2, fakes::Fault::kNoSpace);  // after the fdatasync
  EXPECT_EQ(blob->sync().error().code(), Errc::kNoSpace);
  EXPECT_TRUE(blob->has(PieceIndex(0)));
  EXPECT_FALSE(blob->durable());
  EXPECT_TRUE(blob->sync());
}

TEST_F(BlobTest, ScrubTakesBackABadPieceBeforeAnybodyCanTrustItAgain) {
  auto blob = create_complete(sample_);
  auto lease = blob->open_reader();
  auto old = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
  memory_.corrupt(blob_directory(sample_) + "/data", kPiece + 7, as_bytes("rot"));
  auto bad = blob->scrub(sample_.layout().all_pieces());
  ASSERT_TRUE(bad) << bad.error().str();
  EXPECT_EQ(bad->count(), 1u);
  EXPECT_TRUE(bad->test(PieceIndex(1)));
  EXPECT_EQ(old->state(), ReadyState::kRevoked);
  expect_offers_only_good(*blob, sample_);
  EXPECT_FALSE(blob->has(PieceIndex(1)));
  EXPECT_FALSE(blob->durable());
  // Also after a power cut in which nothing more was synced.
  blob.reset();
  lease = Result<ReadLease>(fail(Errc::kCancelled, ""));
  faulty_.fail_call(1, fakes::Fault::kStop);
  store_.reset();
  memory_.power_cut();
  faulty_.fail_call(0, fakes::Fault::kStop);
  open();
  blob = *store_->find(sample_.digest());
  EXPECT_EQ(blob->have_count(), 4u);
  expect_offers_only_good(*blob, sample_);
  EXPECT_EQ(*blob->commit(PieceIndex(1), sample_.bytes(1)), 1u);
  ASSERT_TRUE(blob->sync());
  EXPECT_TRUE(blob->durable());
}

TEST_F(BlobTest, AWithdrawnBlobServesNothing) {
  auto blob = create_complete(sample_);
  auto lease = blob->open_reader();
  auto reader = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
  blob->withdraw("the statement was withdrawn");
  EXPECT_FALSE(blob->has(PieceIndex(0)));
  EXPECT_EQ(blob->have_count(), 0u);
  EXPECT_EQ(blob->serve({0, 1}).error().code(), Errc::kConflict);
  EXPECT_EQ(blob->commit(PieceIndex(0), sample_.bytes(0)).error().code(), Errc::kConflict);
  EXPECT_EQ(blob->open_reader().error().code(), Errc::kConflict);
  EXPECT_EQ(reader->ready(pieces(0)).error().code(), Errc::kCorrupt);
  EXPECT_EQ(listener_.lost.size(), 1u);
  // Letting go of it does not bring it back.
  blob.reset();
  lease = Result<ReadLease>(fail(Errc::kCancelled, ""));
  ASSERT_TRUE(store_->maintain().sync_errors.empty());
  EXPECT_EQ(store_->find(sample_.digest()).error().code(), Errc::kUnavailable);
  EXPECT_TRUE(store_->info(sample_.digest())->failed);
  EXPECT_TRUE(store_->remove(sample_.digest()));
}

TEST_F(BlobTest, ARemovedBlobKeepsItsBytesForThoseWhoHaveThem) {
  auto blob = create_complete(sample_);
  auto half = create(sample_blob(3 * kPiece, 2));
  auto half_lease = half->open_reader();
  auto half_reader = ReadyReader::open(half_lease->ready_fd(), half->digest(), half->layout());
  ASSERT_TRUE(store_->remove(sample_.digest()));
  ASSERT_TRUE(store_->remove(half->digest()));
  expect_offers_only_good(*blob, sample_);
  EXPECT_TRUE(blob->complete());
  EXPECT_EQ(half_reader->state(), ReadyState::kRevoked);
  EXPECT_EQ(half->commit(PieceIndex(0), random_bytes(kPiece, 2)).error().code(), Errc::kConflict);
  EXPECT_TRUE(blob->sync());
  EXPECT_EQ(store_->list().size(), 0u);
}

TEST_F(BlobTest, ManyThreadsCommitAndReadAtOnce) {
  const SampleBlob sample = sample_blob(64 * kPiece + 17, 3);
  auto blob = create(sample, Reservation::kSparse);
  auto lease = blob->open_reader();
  auto reader = ReadyReader::open(lease->ready_fd(), sample.digest(), sample.layout());
  ASSERT_TRUE(reader);
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      SeededRandom random(t);
      for (int i = 0; i < 100; ++i) {
        const auto piece = static_cast<std::uint32_t>(random.below(65));
        EXPECT_TRUE(blob->commit(PieceIndex(piece), sample.bytes(piece)));
        const PieceIndex other(static_cast<std::uint32_t>(random.below(65)));
        const ByteRange range = sample.layout().range_of(other);
        std::vector<std::byte> out(range.length);
        if (blob->has(other) && blob->read(range, out)) {
          EXPECT_EQ(std::memcmp(out.data(), sample.bytes(other.value()).data(), out.size()), 0);
        }
      }
      for (std::uint32_t piece = t; piece < 65; piece += 4) {
        EXPECT_TRUE(blob->commit(PieceIndex(piece), sample.bytes(piece)));
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(blob->sync());
  });
  threads.emplace_back([&] {
    auto waited = reader->wait(sample.layout().all_pieces(),
                               std::chrono::steady_clock::now() + std::chrono::seconds(60));
    EXPECT_TRUE(waited) << waited.error().str();
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(blob->complete());
  EXPECT_EQ(listener_.completions, 1);
  expect_offers_only_good(*blob, sample);
  EXPECT_EQ(store_->space().use.used, sample.data.size());
}

TEST_F(BlobTest, ScrubAndCommitsAtOnceLoseNothing) {
  const SampleBlob sample = sample_blob(32 * kPiece, 4);
  auto blob = create(sample);
  std::atomic<bool> stop{false};
  std::thread scrubber([&] {
    while (!stop) {
      EXPECT_TRUE(blob->scrub(sample.layout().all_pieces()));
      EXPECT_TRUE(blob->sync());
    }
  });
  SeededRandom random(5);
  for (int i = 0; i < 50; ++i) {
    const auto piece = static_cast<std::uint32_t>(random.below(32));
    ASSERT_TRUE(blob->commit(PieceIndex(piece), sample.bytes(piece)));
    memory_.corrupt(blob_directory(sample) + "/data", piece * kPiece, as_bytes("rot"));
    auto bad = blob->scrub(pieces(piece));
    ASSERT_TRUE(bad);
    EXPECT_FALSE(blob->has(PieceIndex(piece)));
  }
  stop = true;
  scrubber.join();
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample.data));
  EXPECT_TRUE(blob->complete());
  expect_offers_only_good(*blob, sample);
}

}  // namespace
}  // namespace shoal::store
