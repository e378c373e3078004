// The hash tree of BEP 52 ("pieces root", "piece layers"): its rules, in one place.
//
// Leaves are the SHA-256 of 16 KiB of the blob, the last one of the bytes that exist. The tree is
// balanced: missing leaves are 32 zero bytes. In a blob longer than a piece the last piece is
// filled up with zero leaf hashes to a full piece, and the piece layer with roots of all-zero
// subtrees to the next power of two. A blob no longer than a piece has one piece hash, its pieces
// root, over the next power of two of its own leaves. An empty blob has no root. The root does not
// depend on the piece length.
//
// Thread: pure functions and values.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::content {

// The root of a tree of 2^height missing leaves; `height` <= 63. Height 0 is the missing leaf
// itself.
Hash32 zero_subtree_root(unsigned height);

// Height of the tree below a piece hash: log2 of the number of leaves it stands for, missing ones
// included. The same for all pieces of a blob; `layout` not empty.
unsigned piece_tree_height(const BlobLayout& layout);

// The root of a stream of leaf hashes, in constant memory and without allocation: a batch of leaves
// is reduced as soon as it is complete, while its hashes are in the nearest cache.
class SubtreeHasher {
 public:
  // Where the next leaf hashes may be written: at least one, at most a batch, never empty. Follow
  // with commit() of how many were written.
  std::span<Hash32> space();
  void commit(std::size_t count);

  std::uint64_t leaf_count() const { return leaf_count_; }

  // Forgets all leaves.
  void reset();

  // The root of the tree of 2^height leaves whose first ones were committed and whose rest are
  // missing. At least one leaf must have been committed and at most 2^height (checked). Starts
  // again from nothing.
  Hash32 finish(unsigned height);

 private:
  static constexpr unsigned kBatchHeight = 6;
  static constexpr std::size_t kBatch = std::size_t{1} << kBatchHeight;

  void push(Hash32 node, unsigned height);

  struct Node {
    Hash32 hash;
    unsigned height;
  };
  std::array<Hash32, kBatch> batch_;
  std::size_t batch_size_ = 0;
  std::array<Node, 64> stack_;  // heights strictly falling
  std::size_t stack_size_ = 0;
  std::uint64_t leaf_count_ = 0;
};

// The pieces root from all piece hashes of a blob. piece_hashes.size() must be layout.piece_count()
// and not 0 (checked).
Hash32 pieces_root(const BlobLayout& layout, std::span<const Hash32> piece_hashes);

// The piece layer the same blob has in a torrent with a longer piece length: what BEP 52 lists
// under "piece layers". `piece_length` is a power of two, at least layout.piece_length() (checked).
// Empty for a blob no longer than `piece_length`: its root alone stands in the file tree.
std::vector<Hash32> merged_piece_layer(const BlobLayout& layout,
                                       std::span<const Hash32> piece_hashes,
                                       std::uint64_t piece_length);

}  // namespace shoal::content
