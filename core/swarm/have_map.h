// How agents tell one another, and the tracker, which pieces they can serve: the sender's log of
// recent changes, and the message that carries them (docs/formats/have.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::swarm {

// The first eight bytes of a digest, as a big-endian number: how a have message names a blob.
std::uint64_t blob_key(const content::Digest& digest);

enum class HaveKind : std::uint8_t {
  kDelta = 0,     // `runs` were added since the version the asker named
  kBitmap = 1,    // `pieces` is everything
  kComplete = 2,  // all pieces
  kGone = 3,      // none, and none are coming: forget this sender for this blob
};

// What one blob's entry in a have message says.
struct HaveEntry {
  std::uint64_t blob = 0;  // blob_key()
  std::uint64_t version = 0;
  HaveKind kind = HaveKind::kGone;
  std::uint32_t piece_count = 0;           // of the blob; 0 for kGone
  std::vector<content::PieceRange> added;  // kDelta: ascending, disjoint, within piece_count
  content::PieceSet pieces;                // kBitmap: of size piece_count

  friend bool operator==(const HaveEntry&, const HaveEntry&) = default;
};

// Limits of a message, checked before anything is allocated.
inline constexpr std::size_t kMaxHaveEntries = 4096;
inline constexpr std::size_t kMaxHaveRuns =
    32'768;  // in one entry: alternate pieces of a full blob
inline constexpr std::size_t kMaxHaveMessage = 16 * 1024 * 1024;

// `entries` within the limits above (checked).
std::vector<std::byte> encode_have(std::span<const HaveEntry> entries);
// Errors: invalid, for anything that encode_have() would not have written. encode ∘ decode is the
// identity.
Result<std::vector<HaveEntry>> decode_have(std::span<const std::byte> message);

// The sender's side, one per blob that it serves: answers "what is new since version V" from a
// bounded memory, and with everything to those who were away for longer.
//
//   HaveLog log(layout, store.ready_pieces(), random_u64());
//   log.add(verified);                                  // for every verified piece or range
//   if (log.version() != asked.version)
//     if (auto entry = log.since(asked.version, key)) answer.push_back(*entry);
//
// Thread: one at a time.
class HaveLog {
 public:
  // `salt` makes versions of different lives of a process differ, so that an asker who knew an
  // earlier life gets everything anew: random in production, any constant in tests.
  HaveLog(const content::BlobLayout& layout, content::PieceSet have, std::uint64_t salt);

  // Never 0; grows by one with each call of add() that brought something new.
  std::uint64_t version() const { return version_; }
  const content::PieceSet& pieces() const { return have_; }

  void add(content::PieceRange pieces);
  // Pieces that turned out to be bad: everybody gets everything anew.
  void remove(content::PieceRange pieces);

  // Call only when version() != since. A delta when the memory reaches back to `since` and is
  // shorter than the bitmap, else kComplete or kBitmap.
  HaveEntry since(std::uint64_t since, std::uint64_t blob) const;

 private:
  static constexpr std::size_t kMemory = 1024;

  content::PieceSet have_;
  std::deque<content::PieceRange> recent_;  // recent_[i] led to version version_ - size + 1 + i
  std::uint64_t version_;
};

}  // namespace shoal::swarm
