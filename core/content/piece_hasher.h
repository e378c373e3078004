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

// The same while the bytes arrive in a contiguous buffer: leaves are hashed in groups as soon as
// they are complete, while they are still in the cache. About 4 KiB, no allocation; reusable, so
// keep one per connection.
//
//   hasher.begin(layout, piece);
//   while (more) { receive into buffer; hasher.advance(buffer.first(received)); }
//   bool good = hasher.finish(buffer.first(piece_size)) == table.hash(piece);
//
// Thread: one at a time. Borrows the buffer only during each call.
class PieceHasher {
 public:
  // Forgets what came before.
  void begin(const BlobLayout& layout, PieceIndex piece);

  // `so_far` = the piece's bytes from its first one to the last received; it only grows from call
  // to call and what was there stays unchanged. Not more than the piece (checked).
  void advance(std::span<const std::byte> so_far);

  // `whole` = all bytes of the piece (size checked). begin() must be called before the next use.
  Hash32 finish(std::span<const std::byte> whole);

 private:
  void hash_to(std::span<const std::byte> bytes, std::uint64_t end);

  std::uint64_t piece_size_ = 0;
  unsigned height_ = 0;
  std::uint64_t hashed_ = 0;
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
