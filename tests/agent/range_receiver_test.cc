#include "agent/lane/range_receiver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/agent/temp_store.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;

struct Fed {
  std::vector<PieceRange> reported;
  Status status;
};

// Feeds `bytes` in portions of random size, at most `most` bytes, and commits when it must and at
// times when it may.
Fed feed(RangeReceiver& receiver, std::span<const std::byte> bytes, SeededRandom& random,
         std::size_t most) {
  Fed fed;
  while (!receiver.done()) {
    std::span<std::byte> space = receiver.space();
    EXPECT_FALSE(space.empty());
    EXPECT_LE(space.size(), bytes.size());
    std::size_t count = std::min<std::size_t>(space.size(), 1 + random.below(most));
    std::copy_n(bytes.begin(), count, space.begin());
    bytes = bytes.subspan(count);
    if (!receiver.filled(count) && random.below(4) != 0) continue;
    auto verified = receiver.commit();
    if (!verified) {
      fed.status = fail(verified.error());
      return fed;
    }
    if (!verified->empty()) fed.reported.push_back(*verified);
  }
  EXPECT_TRUE(bytes.empty());
  return fed;
}

struct Case {
  std::uint64_t size;
  std::size_t most;  // bytes of one portion
};

class RangeReceiverSizes : public ::testing::TestWithParam<Case> {};

TEST_P(RangeReceiverSizes, StoresEveryByteWhateverThePortions) {
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(test_seed()));
  SeededRandom random(test_seed());
  TempStore store;
  TestBlob blob = make_blob(GetParam().size, random.next());
  std::shared_ptr<store::Blob> stored = store.empty(blob);
  ReceiveBuffer memory;
  RangeReceiver receiver(stored, blob.layout().all_pieces(), memory);
  Fed fed = feed(receiver, blob.bytes, random, GetParam().most);
  ASSERT_TRUE(fed.status) << fed.status.error().str();
  EXPECT_TRUE(holds(*stored, blob));
  // Reported once each, in order.
  PieceIndex next(0);
  for (PieceRange range : fed.reported) {
    EXPECT_EQ(range.first, next);
    next = range.end();
  }
  EXPECT_EQ(next, blob.layout().all_pieces().end());
  EXPECT_EQ(receiver.verified(), blob.layout().all_pieces());
}

INSTANTIATE_TEST_SUITE_P(, RangeReceiverSizes,
                         ::testing::Values(Case{1, 1}, Case{content::kLeafSize - 1, 5000},
                                           Case{64 * kKiB, 64 * kKiB}, Case{64 * kKiB + 1, 30'000},
                                           Case{3 * kMiB + 12'345, 100'000},
                                           Case{3 * kMiB, 1 << 20}, Case{700'000, 999}),
                         [](const auto& test) { return std::to_string(test.index); });

TEST(RangeReceiver, StoresWhatIsCompleteWhenToldTo) {
  TempStore store;
  TestBlob blob = make_blob(8 * 64 * kKiB, 1);
  std::shared_ptr<store::Blob> stored = store.empty(blob);
  ReceiveBuffer memory;
  RangeReceiver receiver(stored, blob.layout().all_pieces(), memory);
  const std::size_t some = 4 * 64 * kKiB + 5;  // whole groups of the hasher
  std::copy_n(blob.bytes.begin(), some, receiver.space().begin());
  EXPECT_FALSE(receiver.filled(some));
  EXPECT_EQ(stored->have_count(), 0u);
  EXPECT_EQ(receiver.commit().value(), (PieceRange{PieceIndex(0), 4}));
  EXPECT_EQ(stored->have_count(), 4u);
  EXPECT_TRUE(receiver.commit().value().empty());
  std::span<std::byte> rest = receiver.space();
  ASSERT_EQ(rest.size(), blob.bytes.size() - some);
  std::copy_n(blob.bytes.begin() + some, rest.size(), rest.begin());
  EXPECT_TRUE(receiver.filled(rest.size()));
  EXPECT_EQ(receiver.commit().value(), (PieceRange{PieceIndex(4), 4}));
  EXPECT_TRUE(receiver.done());
}

TEST(RangeReceiver, TakesPiecesFromTheMiddleOnly) {
  SeededRandom random(test_seed());
  TempStore store;
  TestBlob blob = make_blob(40 * 64 * kKiB + 77, 1);
  std::shared_ptr<store::Blob> stored = store.empty(blob);
  PieceRange pieces{PieceIndex(3), 20};
  ReceiveBuffer memory;
  RangeReceiver receiver(stored, pieces, memory);
  ASSERT_TRUE(feed(receiver, blob.range(blob.layout().range_of(pieces)), random, 90'000).status);
  EXPECT_TRUE(stored->has(pieces));
  EXPECT_EQ(stored->have_count(), 20u);
}

// A blob of `pieces` x 2 MiB pieces whose other pieces have any hashes: longer than the buffer.
TEST(RangeReceiver, TakesPiecesThatAreLongerThanItsBuffer) {
  SeededRandom random(test_seed());
  TempStore store;
  const content::BlobLayout layout(std::uint64_t{content::kMaxPieces} * 2 * kMiB);
  ASSERT_EQ(layout.piece_length(), 2 * kMiB);
  std::vector<std::byte> bytes = random_bytes(6 * kMiB, random.next());
  std::vector<content::Hash32> hashes(layout.piece_count());
  for (std::uint32_t i = 0; i < 3; ++i) {
    hashes[i] = content::piece_hash(layout, PieceIndex(i),
                                    std::span(bytes).subspan(i * 2 * kMiB, 2 * kMiB));
  }
  auto table = content::PieceTable::make(content::digest_of(bytes), layout, std::move(hashes));
  auto stored = store->create(*table, store::Reservation::kSparse).value();
  ReceiveBuffer memory;
  RangeReceiver receiver(stored, {PieceIndex(0), 3}, memory);
  Fed fed = feed(receiver, bytes, random, 600'000);
  ASSERT_TRUE(fed.status) << fed.status.error().str();
  EXPECT_TRUE(stored->has(PieceRange{PieceIndex(0), 3}));
  std::vector<std::byte> read(bytes.size());
  ASSERT_TRUE(stored->read({0, bytes.size()}, read));
  EXPECT_EQ(read, bytes);
}

TEST(RangeReceiver, ABadPieceEndsItAndLosesNoneBefore) {
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(test_seed()));
  SeededRandom random(test_seed());
  for (std::uint32_t bad = 0; bad < 12; ++bad) {
    TempStore store;
    TestBlob blob = make_blob(12 * 64 * kKiB, random.next());
    std::shared_ptr<store::Blob> stored = store.empty(blob);
    std::vector<std::byte> sent = blob.bytes;
    sent[bad * 64 * kKiB + random.below(64 * kKiB)] ^= std::byte{1};
    ReceiveBuffer memory;
    RangeReceiver receiver(stored, blob.layout().all_pieces(), memory);
    Fed fed = feed(receiver, sent, random, 200'000);
    ASSERT_FALSE(fed.status);
    EXPECT_EQ(fed.status.error().code(), Errc::kCorrupt);
    // What was good is kept, and told, also when it came with the bad piece in one portion.
    EXPECT_EQ(receiver.verified(), (PieceRange{PieceIndex(0), bad}));
    EXPECT_EQ(stored->have_count(), bad);
    std::vector<std::byte> read(64 * kKiB);
    EXPECT_FALSE(stored->read(blob.layout().range_of(PieceIndex(bad)), read));
  }
}

TEST(ReceiveBuffer, GrowsAndIsPageAligned) {
  ReceiveBuffer memory;
  for (std::size_t size : {std::size_t{1}, std::size_t{5000}, std::size_t{3} << 20}) {
    std::span<std::byte> bytes = memory.get(size);
    EXPECT_GE(bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 4096, 0u);
    std::fill(bytes.begin(), bytes.end(), std::byte{7});
  }
  memory.shrink();
  EXPECT_LE(memory.get(1).size(), std::size_t{4096});
}

TEST(RangeReceiver, OfAnUnsettledBlobTheOriginsBytesAreWhatItsPiecesAreAndAPeersHaveToBe) {
  TempStore store;
  const TestBlob blob = make_blob(300'000, 8), other = make_blob(300'000, 9);
  auto stored = store->create_unsettled(content::ingest_name("u", "v", 300'000), 300'000,
                                        store::Reservation::kFull);
  ASSERT_TRUE(stored);
  SeededRandom random(test_seed());
  ReceiveBuffer memory;
  const PieceRange first{PieceIndex(0), 2};
  const auto bytes = std::span(blob.bytes).first(blob.layout().range_of(first).length);
  {
    RangeReceiver peer(*stored, first, memory);
    Fed fed = feed(peer, bytes, random, 50'000);
    ASSERT_FALSE(fed.status) << "nobody has said what its hash is";
    EXPECT_EQ(fed.status.error().code(), Errc::kCorrupt);
  }
  RangeReceiver origin(*stored, first, memory, RangeReceiver::Source::kOrigin);
  Fed fed = feed(origin, bytes, random, 50'000);
  ASSERT_TRUE(fed.status) << fed.status.error().str();
  EXPECT_TRUE((*stored)->has(first));
  EXPECT_EQ((*stored)->piece_hash(PieceIndex(1)), blob.table.hash(PieceIndex(1)));
  const PieceRange next{PieceIndex(2), 1};
  const ByteRange range = blob.layout().range_of(next);
  ASSERT_TRUE((*stored)->learn(next.first, blob.table.piece_hashes().subspan(2, 1)));
  RangeReceiver liar(*stored, next, memory);
  EXPECT_FALSE(
      feed(liar, std::span(other.bytes).subspan(range.offset, range.length), random, 50'000)
          .status);
  RangeReceiver honest(*stored, next, memory);
  EXPECT_TRUE(feed(honest, blob.range(range), random, 50'000).status);
}

}  // namespace
}  // namespace shoal::agent
