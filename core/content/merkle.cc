#include "core/content/merkle.h"

#include <algorithm>
#include <bit>

#include "core/base/check.h"
#include "core/content/leaf_hash.h"

namespace shoal::content {
namespace {

constexpr unsigned kMaxHeight = 63;

Hash32 hash_pair(const Hash32& left, const Hash32& right) {
  std::array<Hash32, 2> children{left, right};
  Hash32 parent;
  hash_pairs(children, std::span(&parent, 1));
  return parent;
}

unsigned ceil_log2(std::uint64_t value) { return static_cast<unsigned>(std::bit_width(value - 1)); }

// Replaces `layer`, whose nodes have `height`, by its parents; an odd last node is paired with the
// root of missing leaves.
void lift(std::vector<Hash32>& layer, unsigned height) {
  if (layer.size() % 2 != 0) layer.push_back(zero_subtree_root(height));
  hash_pairs(layer, std::span(layer).first(layer.size() / 2));
  layer.resize(layer.size() / 2);
}

}  // namespace

Hash32 zero_subtree_root(unsigned height) {
  static const std::array<Hash32, kMaxHeight + 1> roots_by_height = [] {
    std::array<Hash32, kMaxHeight + 1> roots{};
    for (unsigned h = 1; h <= kMaxHeight; ++h) roots[h] = hash_pair(roots[h - 1], roots[h - 1]);
    return roots;
  }();
  SHOAL_CHECK(height <= kMaxHeight, "tree too high");
  return roots_by_height[height];
}

unsigned piece_tree_height(const BlobLayout& layout) {
  SHOAL_CHECK(!layout.empty(), "an empty blob has no tree");
  return ceil_log2(layout.piece_count() == 1 ? layout.leaf_count() : layout.leaves_per_piece());
}

std::span<Hash32> SubtreeHasher::space() { return std::span(batch_).subspan(batch_size_); }

void SubtreeHasher::commit(std::size_t count) {
  SHOAL_CHECK(count <= kBatch - batch_size_, "more than the space");
  batch_size_ += count;
  leaf_count_ += count;
  if (batch_size_ < kBatch) return;
  for (std::size_t size = kBatch; size > 1; size /= 2) {
    hash_pairs(std::span(batch_).first(size), std::span(batch_).first(size / 2));
  }
  batch_size_ = 0;
  push(batch_[0], kBatchHeight);
}

// Like adding one to a binary number: equal heights merge upwards.
void SubtreeHasher::push(Hash32 node, unsigned height) {
  while (stack_size_ > 0 && stack_[stack_size_ - 1].height == height) {
    node = hash_pair(stack_[--stack_size_].hash, node);
    ++height;
  }
  stack_[stack_size_++] = {node, height};
}

Hash32 SubtreeHasher::finish(unsigned height) {
  SHOAL_CHECK(leaf_count_ > 0 && height <= kMaxHeight && leaf_count_ <= std::uint64_t{1} << height,
              "leaf count does not fit the tree");
  // What is left of the batch becomes one node of the smallest height that holds it.
  if (batch_size_ > 0) {
    unsigned level = 0;
    for (; batch_size_ > 1; ++level) {
      if (batch_size_ % 2 != 0) batch_[batch_size_++] = zero_subtree_root(level);
      batch_size_ /= 2;
      hash_pairs(std::span(batch_).first(2 * batch_size_), std::span(batch_).first(batch_size_));
    }
    push(batch_[0], level);
  }
  // Then the last node is lifted beside the one before it until a single one is left.
  while (stack_size_ > 1 || stack_[0].height < height) {
    Node last = stack_[--stack_size_];
    push(hash_pair(last.hash, zero_subtree_root(last.height)), last.height + 1);
  }
  Hash32 root = stack_[0].hash;
  reset();
  return root;
}

void SubtreeHasher::reset() {
  batch_size_ = 0;
  stack_size_ = 0;
  leaf_count_ = 0;
}

Hash32 pieces_root(const BlobLayout& layout, std::span<const Hash32> piece_hashes) {
  SHOAL_CHECK(!piece_hashes.empty() && piece_hashes.size() == layout.piece_count(),
              "one hash per piece");
  std::vector<Hash32> layer(piece_hashes.begin(), piece_hashes.end());
  unsigned height = piece_tree_height(layout);
  while (layer.size() > 1) lift(layer, height++);
  return layer[0];
}

std::vector<Hash32> merged_piece_layer(const BlobLayout& layout,
                                       std::span<const Hash32> piece_hashes,
                                       std::uint64_t piece_length) {
  SHOAL_CHECK(std::has_single_bit(piece_length) && piece_length >= layout.piece_length(),
              "pieces can only be merged upwards");
  SHOAL_CHECK(piece_hashes.size() == layout.piece_count(), "one hash per piece");
  if (layout.size() <= piece_length) return {};
  std::vector<Hash32> layer(piece_hashes.begin(), piece_hashes.end());
  unsigned height = piece_tree_height(layout);
  for (std::uint64_t length = layout.piece_length(); length < piece_length; length *= 2) {
    lift(layer, height++);
  }
  return layer;
}

}  // namespace shoal::content
