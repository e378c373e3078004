#include "core/content/piece_hasher.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/base/check.h"

namespace shoal::content {
namespace {

constexpr std::size_t kLeavesAtOnce = 2 * kMaxLeafLanes;

// Puts the next leaf hashes of adjacent pieces into `tree`, which has the first ones of `piece`,
// and calls on_piece(hash) for each piece that they complete.
template <typename OnPiece>
void collect(const BlobLayout& layout, PieceIndex piece, SubtreeHasher& tree,
             std::span<const Hash32> leaves, OnPiece on_piece) {
  while (!leaves.empty()) {
    std::uint64_t piece_leaves = (layout.piece_size(piece) + kLeafSize - 1) / kLeafSize;
    std::uint64_t missing = piece_leaves - tree.leaf_count();
    std::span<Hash32> space = tree.space();
    std::size_t count = std::min<std::uint64_t>({missing, leaves.size(), space.size()});
    std::copy_n(leaves.begin(), count, space.begin());
    tree.commit(count);
    leaves = leaves.subspan(count);
    if (count < missing) continue;
    on_piece(tree.finish(piece_tree_height(layout)));
    ++piece;
  }
}

}  // namespace

Hash32 piece_hash(const BlobLayout& layout, PieceIndex piece, std::span<const std::byte> data) {
  PieceHasher hasher;
  hasher.begin(layout, {piece, 1});
  SHOAL_CHECK(data.size() == layout.piece_size(piece), "all bytes of the piece");
  Hash32 hash;
  hasher.advance(data, std::span(&hash, 1));
  return hash;
}

void PieceHasher::begin(const BlobLayout& layout, PieceRange pieces) {
  SHOAL_CHECK(pieces.first.value() <= layout.piece_count() &&
                  pieces.count <= layout.piece_count() - pieces.first.value(),
              "pieces outside of the blob");
  layout_ = layout;
  pieces_ = pieces;
  total_ = layout.range_of(pieces).length;
  hashed_ = 0;
  done_ = 0;
  tree_.reset();
}

std::uint32_t PieceHasher::advance(std::span<const std::byte> so_far, std::span<Hash32> hashes) {
  SHOAL_CHECK(so_far.size() <= total_ && so_far.size() >= hashed_, "bytes outside of the pieces");
  SHOAL_CHECK(hashes.size() >= pieces_.count, "one hash per piece");
  std::uint64_t group = leaf_hash_lanes() * kLeafSize;
  std::uint64_t end = so_far.size() == total_ ? total_ : so_far.size() / group * group;
  std::array<Hash32, kLeavesAtOnce> leaves;
  while (hashed_ < end) {
    std::uint64_t length = std::min<std::uint64_t>(end - hashed_, kLeavesAtOnce * kLeafSize);
    std::span<Hash32> hashed = std::span(leaves).first((length + kLeafSize - 1) / kLeafSize);
    hash_leaves(so_far.subspan(hashed_, length), hashed);
    hashed_ += length;
    collect(layout_, pieces_.first + done_, tree_, hashed,
            [&](const Hash32& hash) { hashes[done_++] = hash; });
  }
  return done_;
}

struct BlobHasher::State {
  explicit State(BlobLayout blob_layout) : layout(blob_layout) {
    piece_hashes.reserve(layout.piece_count());
    partial_leaf.reserve(kLeafSize);
  }

  // `bytes` starts on a leaf boundary and is whole leaves, but for the blob's last one.
  void add_leaves(std::span<const std::byte> bytes) {
    std::array<Hash32, kLeavesAtOnce> leaves;
    while (!bytes.empty()) {
      std::size_t length = std::min<std::size_t>(bytes.size(), kLeavesAtOnce * kLeafSize);
      std::span<Hash32> hashed = std::span(leaves).first((length + kLeafSize - 1) / kLeafSize);
      hash_leaves(bytes.first(length), hashed);
      bytes = bytes.subspan(length);
      collect(layout, PieceIndex(static_cast<std::uint32_t>(piece_hashes.size())), tree, hashed,
              [&](const Hash32& hash) { piece_hashes.push_back(hash); });
    }
  }

  void add(std::span<const std::byte> bytes) {
    whole.update(bytes);
    size += bytes.size();
    if (!partial_leaf.empty()) {
      std::size_t count = std::min<std::size_t>(bytes.size(), kLeafSize - partial_leaf.size());
      partial_leaf.insert(partial_leaf.end(), bytes.begin(), bytes.begin() + count);
      bytes = bytes.subspan(count);
      if (partial_leaf.size() < kLeafSize && size < layout.size()) return;
      add_leaves(partial_leaf);
      partial_leaf.clear();
    }
    std::size_t complete =
        size == layout.size() ? bytes.size() : bytes.size() / kLeafSize * kLeafSize;
    add_leaves(bytes.first(complete));
    bytes = bytes.subspan(complete);
    partial_leaf.insert(partial_leaf.end(), bytes.begin(), bytes.end());
  }

  BlobLayout layout;
  std::uint64_t size = 0;
  Sha256 whole;
  SubtreeHasher tree;
  std::vector<Hash32> piece_hashes;
  std::vector<std::byte> partial_leaf;
};

BlobHasher::BlobHasher(BlobLayout layout) : state_(std::make_unique<State>(layout)) {}
BlobHasher::BlobHasher(BlobHasher&&) noexcept = default;
BlobHasher& BlobHasher::operator=(BlobHasher&&) noexcept = default;
BlobHasher::~BlobHasher() = default;

Status BlobHasher::update(std::span<const std::byte> bytes) {
  if (bytes.size() > state_->layout.size() - state_->size) {
    return fail(Errc::kConflict, "more than the expected " + std::to_string(state_->layout.size()) +
                                     " bytes arrived");
  }
  // Both hashes read each slice while it is in the second-level cache.
  constexpr std::size_t kSlice = 256 * kKiB;
  while (!bytes.empty()) {
    std::size_t count = std::min(bytes.size(), kSlice);
    state_->add(bytes.first(count));
    bytes = bytes.subspan(count);
  }
  return {};
}

Result<BlobHashes> BlobHasher::finish() {
  State& state = *state_;
  if (state.size != state.layout.size()) {
    return fail(Errc::kConflict, "only " + std::to_string(state.size) + " of the expected " +
                                     std::to_string(state.layout.size()) + " bytes arrived");
  }
  BlobHashes hashes;
  hashes.digest = Digest(state.whole.finish());
  hashes.layout = state.layout;
  if (!state.layout.empty()) {
    hashes.pieces_root = content::pieces_root(state.layout, state.piece_hashes);
  }
  hashes.piece_hashes = std::move(state.piece_hashes);
  return hashes;
}

}  // namespace shoal::content
