// The piece hashes of one blob, checked against its pieces root: whoever holds a table and trusts
// its root can verify any piece alone. The bytes are described in docs/formats/piece-table.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_hasher.h"

namespace shoal::content {

inline constexpr std::size_t kPieceTableHeaderSize = 96;
// No table is longer; a reader of foreign bytes may refuse the rest unread.
inline constexpr std::size_t kMaxPieceTableSize =
    kPieceTableHeaderSize + std::size_t{kMaxPieces} * sizeof(Hash32);

// Thread: an immutable value; copies share the hashes, so copying is cheap.
// Lifetime: a table made by parse_in_place() keeps its owner alive, all others own their hashes.
class PieceTable {
 public:
  // From the hashes of a blob read whole. The root is computed from them. Errors: corrupt when
  // their number does not fit the layout.
  static Result<PieceTable> make(const Digest& digest, const BlobLayout& layout,
                                 std::vector<Hash32> piece_hashes);
  static PieceTable make(BlobHashes hashes);

  // From serialised bytes; the hashes are copied. Limits are checked before allocation. Computes
  // the root: about 5 ms for the largest table. Errors: corrupt (wrong magic, unknown version,
  // numbers that contradict one another, missing or surplus bytes, hashes that do not give the
  // root).
  static Result<PieceTable> parse(std::span<const std::byte> bytes);
  // The same without a copy: the table reads `bytes` for as long as any copy of it lives, and
  // `owner` keeps them valid and unchanged until then (a mapping, for example).
  static Result<PieceTable> parse_in_place(std::span<const std::byte> bytes,
                                           std::shared_ptr<const void> owner);

  std::vector<std::byte> serialise() const;

  const Digest& digest() const { return digest_; }
  const BlobLayout& layout() const { return layout_; }
  // None for an empty blob.
  const std::optional<Hash32>& pieces_root() const { return pieces_root_; }
  std::span<const Hash32> piece_hashes() const { return hashes_; }
  // `piece` < layout().piece_count() (checked).
  const Hash32& hash(PieceIndex piece) const;

  // Whether `data` is exactly the piece's bytes. False for a wrong length too. `piece` is checked.
  bool verify_piece(PieceIndex piece, std::span<const std::byte> data) const;

  // Whether this is the table that was asked for: what a table from a peer must pass before use.
  // `pieces_root` none means that nothing vouches for a root yet. Errors: corrupt, naming the
  // difference.
  Status expect(const Digest& digest, std::uint64_t size,
                const std::optional<Hash32>& pieces_root) const;

 private:
  PieceTable() = default;

  Digest digest_;
  BlobLayout layout_;
  std::optional<Hash32> pieces_root_;
  std::shared_ptr<const void> owner_;  // of the memory behind hashes_; shared by all copies
  std::span<const Hash32> hashes_;
};

}  // namespace shoal::content
