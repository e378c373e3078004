// The `ready` bitmap: how a process that maps or reads a blob's data knows which pieces are there,
// without asking the agent. This is the reading side, for loader, snapshotter and command line; it
// needs nothing of the store but this file. The bytes are described in docs/formats/store.md.
//
// One inode tells one story: its bits only ever go from 0 to 1. When the store must take a piece
// back it marks the inode revoked and goes on in a new one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::store {

enum class ReadyState : std::uint32_t {
  kLive = 1,      // more bits may come
  kComplete = 2,  // all bits are set
  kFailed = 3,    // this content is not to be used any more: it was withdrawn or its source changed
  kRevoked = 4,   // ask the agent again: the story goes on in another inode, with fewer bits
};

// docs/formats/store.md, "ready". Native byte order: the file never leaves the machine.
struct ReadyHeader {
  static constexpr std::uint64_t kMagic = 0x5944'524c'414f'4853;  // "SHOALRDY" in memory
  static constexpr std::uint32_t kFormat = 1;

  std::uint64_t magic;
  std::uint32_t format;
  std::uint32_t state;        // ReadyState
  std::uint32_t seq;          // the futex word: +1 after every batch of bits and every state
  std::uint32_t piece_count;  // at most content::kMaxPieces
  std::uint64_t blob_size;
  std::uint64_t epoch;  // grows from inode to inode of one blob
  content::Hash32 digest;
  std::uint8_t reserved[56];  // zero
};
static_assert(sizeof(ReadyHeader) == 128);

// The whole file: the header and one bit per piece in 64-bit words; piece i is bit i % 64 of word
// i / 64.
constexpr std::size_t ready_file_size(std::uint32_t piece_count) {
  return sizeof(ReadyHeader) + (std::size_t{piece_count} + 63) / 64 * 8;
}

// Thread safety: all functions may be called from any thread.
// Lifetime: keeps the mapping; the descriptor it was made from may be closed.
class ReadyReader {
 public:
  // Maps the file behind `fd` read-only and checks it: of whom it speaks, magic, format, length,
  // limits. A descriptor of a file that somebody else can shorten must not be given to it (the
  // store's files can be shortened by root alone).
  // Errors: corrupt with the difference; kInternal when it cannot be mapped.
  static Result<ReadyReader> open(int fd, const content::Digest& digest,
                                  const content::BlobLayout& layout);

  ReadyReader(ReadyReader&& other) noexcept;
  ReadyReader& operator=(ReadyReader&& other) noexcept;
  ~ReadyReader();

  ReadyState state() const;
  std::uint64_t epoch() const;

  // Whether all of `pieces` (checked: within the layout) may be read from the data file now.
  // Errors: corrupt once the state is failed; conflict once it is revoked: what was read before
  // was right, but nothing more may be read on the word of this map.
  Result<bool> ready(content::PieceRange pieces) const;

  // The same for all pieces at once.
  Result<content::PieceSet> snapshot() const;

  // Returns when all of `pieces` are ready. Sleeps in the kernel; no polling.
  // Errors: as ready(), and timed_out at `deadline`.
  Status wait(content::PieceRange pieces, std::chrono::steady_clock::time_point deadline) const;

  // For a caller that waits for "anything new": read change_count() first, look, then wait until it
  // differs from what was read. True when it does, false at the deadline. The state may be any.
  std::uint32_t change_count() const;
  bool wait_for_change(std::uint32_t seen, std::chrono::steady_clock::time_point deadline) const;

 private:
  ReadyReader(const std::byte* base, std::size_t length, const content::BlobLayout& layout)
      : base_(base), length_(length), layout_(layout) {}

  const ReadyHeader& header() const { return *reinterpret_cast<const ReadyHeader*>(base_); }
  const std::uint64_t* words() const {
    return reinterpret_cast<const std::uint64_t*>(base_ + sizeof(ReadyHeader));
  }
  Status usable() const;

  const std::byte* base_ = nullptr;
  std::size_t length_ = 0;
  content::BlobLayout layout_;
};

}  // namespace shoal::store
