#include "core/content/merkle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/content/leaf_hash.h"
#include "core/content/piece_hasher.h"
#include "tests/core/content/naive_tree.h"
#include "tests/core/content/test_seed.h"

namespace shoal::content {
namespace {

// Sizes where the shape of the tree changes, and some in between.
std::vector<std::size_t> interesting_sizes(SeededRandom& random) {
  constexpr std::size_t kLeaf = kLeafSize, kPiece = kMinPieceLength;
  std::vector<std::size_t> sizes{0,
                                 1,
                                 55,
                                 56,
                                 63,
                                 64,
                                 65,
                                 kLeaf - 1,
                                 kLeaf,
                                 kLeaf + 1,
                                 2 * kLeaf,
                                 3 * kLeaf,
                                 kPiece - 1,
                                 kPiece,
                                 kPiece + 1,
                                 2 * kPiece - 1,
                                 2 * kPiece,
                                 2 * kPiece + 1,
                                 3 * kPiece,
                                 5 * kPiece + kLeaf + 1,
                                 17 * kPiece - 3};
  for (int i = 0; i < 12; ++i) sizes.push_back(random.below(9 * kPiece));
  return sizes;
}

class HashBackends : public ::testing::TestWithParam<LeafHashBackend> {
 protected:
  void SetUp() override { force_leaf_hash_backend(GetParam()); }
  void TearDown() override { force_leaf_hash_backend(std::nullopt); }

  SeededRandom random{test_seed()};
};

std::vector<LeafHashBackend> available_backends() {
  std::vector<LeafHashBackend> available;
  for (LeafHashBackend backend : kAllLeafHashBackends) {
    if (leaf_hash_backend_available(backend)) available.push_back(backend);
  }
  return available;
}

std::string backend_test_name(const ::testing::TestParamInfo<LeafHashBackend>& parameter) {
  std::string name(leaf_hash_backend_name(parameter.param));
  std::erase(name, '-');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, HashBackends, ::testing::ValuesIn(available_backends()),
                         backend_test_name);

TEST_P(HashBackends, HashLeavesOfEveryCountAndLastLength) {
  for (std::size_t leaves = 0; leaves <= 2 * kMaxLeafLanes + 1; ++leaves) {
    std::size_t extra = leaves % 2 == 0 ? 0 : random.below(kLeafSize);
    std::vector<std::byte> data = naive::random_bytes(random, leaves * kLeafSize + extra);
    std::vector<Hash32> expected = naive::leaves(data);
    std::vector<Hash32> got(expected.size());
    hash_leaves(data, got);
    ASSERT_EQ(got, expected) << data.size();
  }
}

TEST_P(HashBackends, HashAShortLeafOfEveryLength) {
  std::vector<std::byte> data = naive::random_bytes(random, 300);
  for (std::size_t size = 1; size <= data.size(); ++size) {
    Hash32 got;
    hash_leaves(std::span(data).first(size), std::span(&got, 1));
    ASSERT_EQ(got, naive::sha256(std::span(data).first(size))) << size;
  }
}

TEST_P(HashBackends, HashLeavesAtAnyAddress) {
  std::vector<std::byte> data = naive::random_bytes(random, 5 * kLeafSize + 64);
  for (std::size_t shift : {1u, 3u, 8u, 17u, 63u}) {
    std::span<const std::byte> view = std::span(data).subspan(shift, 5 * kLeafSize);
    std::vector<Hash32> got(5);
    hash_leaves(view, got);
    ASSERT_EQ(got, naive::leaves(view)) << shift;
  }
}

TEST_P(HashBackends, HashPairsInPlace) {
  for (std::size_t pairs = 1; pairs <= 2 * kMaxLeafLanes + 1; ++pairs) {
    std::vector<Hash32> children(2 * pairs);
    for (Hash32& child : children) {
      for (std::byte& byte : child) byte = static_cast<std::byte>(random.next());
    }
    std::vector<Hash32> expected;
    for (std::size_t i = 0; i < pairs; ++i) {
      expected.push_back(naive::root({children[2 * i], children[2 * i + 1]}, 2));
    }
    hash_pairs(children, std::span(children).first(pairs));
    children.resize(pairs);
    ASSERT_EQ(children, expected) << pairs;
  }
}

TEST_P(HashBackends, GiveBlobsTheRootAndPieceHashesOfTheSpecification) {
  for (std::size_t size : interesting_sizes(random)) {
    std::vector<std::byte> data = naive::random_bytes(random, size);
    BlobLayout layout(size);
    BlobHasher hasher(layout);
    for (std::size_t at = 0; at < size;) {
      std::size_t portion = std::min<std::size_t>(size - at, 1 + random.below(100'000));
      ASSERT_TRUE(hasher.update(std::span(data).subspan(at, portion)));
      at += portion;
    }
    Result<BlobHashes> hashes = hasher.finish();
    ASSERT_TRUE(hashes);
    EXPECT_EQ(hashes->digest, digest_of(data)) << size;
    EXPECT_EQ(hashes->pieces_root, naive::pieces_root(data)) << size;
    EXPECT_EQ(hashes->piece_hashes, naive::piece_hashes(data, layout.piece_length())) << size;
    for (PieceIndex piece : layout.all_pieces()) {
      ByteRange range = layout.range_of(piece);
      EXPECT_EQ(piece_hash(layout, piece, std::span(data).subspan(range.offset, range.length)),
                hashes->piece_hashes[piece.value()])
          << size << " " << piece.value();
    }
  }
}

TEST_P(HashBackends, HashPiecesWhileTheyArriveInAnyPortions) {
  PieceHasher hasher;  // one for all: begin() must forget
  for (std::size_t size : interesting_sizes(random)) {
    if (size == 0) continue;
    std::vector<std::byte> data = naive::random_bytes(random, size);
    BlobLayout layout(size);
    std::vector<Hash32> expected = naive::piece_hashes(data, layout.piece_length());
    PieceIndex first(static_cast<std::uint32_t>(random.below(layout.piece_count())));
    PieceRange pieces{first, layout.piece_count() - first.value()};
    ByteRange range = layout.range_of(pieces);
    std::vector<Hash32> got(pieces.count);
    hasher.begin(layout, pieces);
    std::uint32_t done = 0;
    for (std::size_t received = 0; received < range.length;) {
      received += std::min<std::size_t>(range.length - received, random.below(150'000));
      std::uint32_t now = hasher.advance(std::span(data).subspan(range.offset, received), got);
      ASSERT_GE(now, done);
      done = now;
      for (std::uint32_t i = 0; i < done; ++i) ASSERT_EQ(got[i], expected[first.value() + i]);
    }
    ASSERT_EQ(done, pieces.count) << size;
  }
}

// A torrent of several files has one piece length, so smaller layers are merged upwards.
TEST_P(HashBackends, MergePieceLayersToTheLayersOfALongerPiece) {
  for (std::size_t size : interesting_sizes(random)) {
    std::vector<std::byte> data = naive::random_bytes(random, size);
    BlobLayout layout(size);
    std::vector<Hash32> hashes = naive::piece_hashes(data, layout.piece_length());
    for (std::uint64_t length = layout.piece_length(); length <= 32 * kMinPieceLength;
         length *= 2) {
      std::vector<Hash32> expected;
      if (size > length) expected = naive::piece_hashes(data, length);
      EXPECT_EQ(merged_piece_layer(layout, hashes, length), expected) << size << " " << length;
    }
  }
}

TEST_P(HashBackends, FillUpSubtreesOfAnyHeight) {
  for (std::size_t count : {1u, 2u, 3u, 5u, 63u, 64u, 65u, 127u, 128u, 129u, 200u, 517u}) {
    std::vector<Hash32> leaves(count);
    for (Hash32& leaf : leaves) leaf[0] = static_cast<std::byte>(random.next());
    SubtreeHasher tree;
    unsigned least = static_cast<unsigned>(std::bit_width(count - 1));
    for (unsigned height = least; height < least + 4; ++height) {
      for (std::size_t at = 0; at < count;) {
        std::span<Hash32> space = tree.space();
        std::size_t portion = std::min({count - at, space.size(), 1 + random.below(70)});
        std::copy_n(leaves.begin() + at, portion, space.begin());
        tree.commit(portion);
        at += portion;
      }
      EXPECT_EQ(tree.leaf_count(), count);
      EXPECT_EQ(tree.finish(height), naive::root(leaves, std::uint64_t{1} << height))
          << count << " " << height;
    }
  }
}

TEST(Merkle, RootsOfMissingLeavesFollowFromOneAnother) {
  EXPECT_EQ(zero_subtree_root(0), Hash32{});
  EXPECT_EQ(zero_subtree_root(3), naive::root({}, 8));
  EXPECT_EQ(zero_subtree_root(8), naive::root({}, 256));
}

TEST(BlobHasher, ReportsAFileThatGrewOrShrankWhileItWasRead) {
  std::vector<std::byte> data(100'001);
  BlobHasher grown(BlobLayout(100'000));
  Status status = grown.update(data);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kConflict);

  BlobHasher shrunk(BlobLayout(100'002));
  ASSERT_TRUE(shrunk.update(data));
  Result<BlobHashes> hashes = shrunk.finish();
  ASSERT_FALSE(hashes);
  EXPECT_EQ(hashes.error().code(), Errc::kConflict);
}

}  // namespace
}  // namespace shoal::content
