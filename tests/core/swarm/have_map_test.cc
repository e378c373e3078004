#include "core/swarm/have_map.h"

#include <gtest/gtest.h>

#include "core/base/random.h"
#include "core/base/units.h"

namespace shoal::swarm {
namespace {

using content::BlobLayout;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

std::vector<HaveEntry> one_of_each() {
  HaveEntry delta{1, 5, HaveKind::kDelta, 1000, {{PieceIndex(0), 1}, {PieceIndex(500), 500}}, {}};
  PieceSet pieces(13);
  pieces.set_range({PieceIndex(3), 7});
  HaveEntry bitmap{2, 6, HaveKind::kBitmap, 13, {}, pieces};
  return {delta,
          bitmap,
          {3, 7, HaveKind::kComplete, 65'536, {}, {}},
          {0xffff'ffff'ffff'ffff, 8, HaveKind::kGone, 0, {}, {}}};
}

TEST(HaveMessage, DecodesToWhatWasEncoded) {
  auto entries = one_of_each();
  auto decoded = decode_have(encode_have(entries));
  ASSERT_TRUE(decoded) << decoded.error().str();
  EXPECT_EQ(*decoded, entries);
  EXPECT_TRUE(decode_have(encode_have({})));
}

TEST(HaveMessage, CutAnywhereOrContinuedItIsRefused) {
  std::vector<std::byte> message = encode_have(one_of_each());
  for (std::size_t length = 0; length < message.size(); ++length) {
    auto decoded = decode_have(std::span(message).first(length));
    ASSERT_FALSE(decoded) << length;
    EXPECT_EQ(decoded.error().code(), Errc::kInvalid);
  }
  message.push_back(std::byte{0});
  EXPECT_FALSE(decode_have(message));
}

TEST(HaveMessage, RefusesWhatNoEncoderWrites) {
  auto refused = [](HaveEntry entry) { return !decode_have(encode_have({&entry, 1})); };
  EXPECT_TRUE(refused({1, 1, HaveKind::kDelta, 8, {{PieceIndex(4), 5}}, {}})) << "beyond the end";
  EXPECT_TRUE(refused({1, 1, HaveKind::kDelta, 8, {{PieceIndex(4), 0}}, {}})) << "empty run";
  EXPECT_TRUE(refused({1, 1, HaveKind::kDelta, 8, {{PieceIndex(0), 2}, {PieceIndex(2), 1}}, {}}))
      << "adjacent runs";
  EXPECT_TRUE(refused({1, 1, HaveKind::kComplete, 65'537, {}, {}})) << "too many pieces";
  EXPECT_TRUE(refused({1, 1, HaveKind::kGone, 1, {}, {}})) << "gone with pieces";
  std::vector<std::byte> huge = encode_have({});
  for (std::size_t i = 5; i < 9; ++i) huge[i] = std::byte{0xff};  // four thousand million entries
  EXPECT_FALSE(decode_have(huge));
}

TEST(HaveLog, FollowersEndUpWithTheSamePieces) {
  SeededRandom random(11);
  BlobLayout layout(700 * kMiB);
  HaveLog log(layout, PieceSet(layout.piece_count()), random.next());
  struct Follower {
    std::uint64_t version = 0;
    PieceSet pieces;
  };
  std::vector<Follower> followers(3, {0, PieceSet(layout.piece_count())});
  auto follow = [&](Follower& follower) {
    if (follower.version == log.version()) return;
    HaveEntry sent = log.since(follower.version, 42);
    auto received = decode_have(encode_have({&sent, 1}));
    ASSERT_TRUE(received) << received.error().str();
    const HaveEntry& entry = received->front();
    if (entry.kind == HaveKind::kComplete) follower.pieces = PieceSet::full(entry.piece_count);
    if (entry.kind == HaveKind::kBitmap) follower.pieces = entry.pieces;
    if (entry.kind == HaveKind::kDelta) {
      for (PieceRange run : entry.added) follower.pieces.set_range(run);
    }
    follower.version = entry.version;
  };
  for (int i = 0; i < 6000; ++i) {
    PieceIndex first(static_cast<std::uint32_t>(random.below(layout.piece_count() - 4)));
    if (i % 1500 == 1499) {
      log.remove({first, 1});
    } else {
      log.add({first, static_cast<std::uint32_t>(1 + random.below(4))});
    }
    if (i % 3 == 0) follow(followers[0]);
    if (i % 100 == 0) follow(followers[1]);
    if (i % 2500 == 0) follow(followers[2]);
  }
  log.add(layout.all_pieces());
  for (Follower& follower : followers) {
    follow(follower);
    EXPECT_EQ(follower.pieces, log.pieces());
  }
}

TEST(HaveLog, TellsTheRecentOnesOnlyWhatIsNew) {
  BlobLayout layout(64 * kMiB);
  HaveLog log(layout, PieceSet(layout.piece_count()), 0);
  std::uint64_t before = log.version();
  log.add({PieceIndex(9), 1});
  log.add({PieceIndex(8), 1});
  log.add({PieceIndex(8), 1});  // nothing new
  HaveEntry entry = log.since(before, 1);
  EXPECT_EQ(entry.kind, HaveKind::kDelta);
  EXPECT_EQ(entry.added, (std::vector<PieceRange>{{PieceIndex(8), 2}}));
  EXPECT_EQ(entry.version, before + 2);
  EXPECT_EQ(log.since(0, 1).kind, HaveKind::kBitmap);
}

TEST(HaveLog, AnotherLifeSendsEverythingAnew) {
  BlobLayout layout(64 * kMiB);
  PieceSet none(layout.piece_count());
  HaveLog first(layout, none, 1111);
  HaveLog second(layout, none, 99'999);
  for (std::uint32_t i = 0; i < 5; ++i) second.add({PieceIndex(i * 2), 1});
  EXPECT_EQ(second.since(first.version(), 1).kind, HaveKind::kBitmap);
}

}  // namespace
}  // namespace shoal::swarm
