// Hashes bytes into piece hashes: for a receiver that checks one piece, and for a publisher that
// reads a whole blob once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/leaf_hash.h"
#include "core/content/merkle.h"

namespace shoal::content {

// The piece hash of `data`, all bytes of piece `piece` (size checked). Allocates nothing.
Hash32 piece_hash(const BlobLayout& layout, PieceIndex piece, std::span<const std::byte> data);

// The piece hashes of adjacent pieces that arrive in one contiguous buffer: leaves are hashed in
// groups as soon as a group is complete, while it is still in the cache. A few KiB, no allocation;
// reusable, so keep one per connection.
//
//   hasher.begin(layout, pieces);
//   while (received < total) {
//     receive more into buffer;
//     done = hasher.advance(buffer.first(received), hashes);   // hashes[0, done) are final
//   }
//
// Thread: one at a time. Borrows the buffers only during each call.
class PieceHasher {
 public:
  // `pieces` within the layout (checked). Forgets what came before.
  void begin(const BlobLayout& layout, PieceRange pieces);

  // `so_far` = the bytes of the pieces from the first one's start to the last byte received; it
  // only grows from call to call, what was there stays unchanged, and it never exceeds the pieces
  // (checked). Fills hashes[i] for each piece that was completed since the call before (i counts
  // from the first piece; hashes.size() >= pieces.count, checked) and returns how many are final in
  // all. A complete piece may be held back until its group of leaves is complete; when `so_far` has
  // all bytes, all pieces are final.
  std::uint32_t advance(std::span<const std::byte> so_far, std::span<Hash32> hashes);

 private:
  BlobLayout layout_;
  PieceRange pieces_;
  std::uint64_t total_ = 0;   // bytes of all pieces
  std::uint64_t hashed_ = 0;  // bytes whose leaves are in tree_ or in a final hash
  std::uint32_t done_ = 0;
  SubtreeHasher tree_;
};

// All names and hashes of a blob.
struct BlobHashes {
  Digest digest;
  BlobLayout layout;
  std::optional<Hash32> pieces_root;  // none for an empty blob
  std::vector<Hash32> piece_hashes;
};

// Whole-blob digest, piece hashes and pieces root in one pass over bytes that arrive in order, in
// portions of any size. The size must be known at the start, because it decides the piece length.
//
// Thread: one at a time. Movable.
class BlobHasher {
 public:
  explicit BlobHasher(BlobLayout layout);
  BlobHasher(BlobHasher&&) noexcept;
  BlobHasher& operator=(BlobHasher&&) noexcept;
  ~BlobHasher();

  // Errors: conflict when more bytes come than the layout has (the file grew while it was read);
  // the hasher is then unusable.
  Status update(std::span<const std::byte> bytes);

  // Errors: conflict when fewer bytes came than the layout has. Either way the hasher is used up.
  Result<BlobHashes> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shoal::content
