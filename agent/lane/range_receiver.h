// Takes the bytes of adjacent pieces as they arrive from anywhere: hashes them while they are in
// the cache, checks each piece, stores it and makes it ready. Nothing unverified leaves its buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/content/layout.h"
#include "core/content/piece_hasher.h"
#include "core/store/blob.h"

namespace shoal::agent {

// Memory for one transfer at a time, kept by its user between transfers. Grows to the longest piece
// it has seen.
class ReceiveBuffer {
 public:
  // At least `size` bytes, page aligned; what was in it is lost.
  std::span<std::byte> get(std::size_t size);
  // Gives memory above kKeep back: a transfer of very long pieces must not pin it for ever.
  void shrink();

 private:
  static constexpr std::size_t kKeep = 2 << 20;
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_ = 0;
};

// Thread: one at a time. Lifetime: borrows the buffer.
//
//   while (!receiver.done()) {
//     size_t n = read(fd, receiver.space());
//     if (receiver.filled(n)) Result<PieceRange> verified = receiver.commit();
//   }
class RangeReceiver {
 public:
  // Whether the source's bytes are what pieces of an unsettled blob are from now on, or have to be
  // what is known of them.
  enum class Source { kOrigin, kPeer };

  // `pieces` of `blob`, not empty.
  RangeReceiver(std::shared_ptr<store::Blob> blob, content::PieceRange pieces,
                ReceiveBuffer& buffer, Source source = Source::kPeer);

  // Where the next bytes belong: not empty before done(), unless the buffer is full; never beyond
  // the last piece.
  std::span<std::byte> space();

  // `count` bytes, at most space().size(), were put there. True when the buffer is full, or holds
  // the last byte: commit() has to follow.
  bool filled(std::size_t count);

  // Stores the pieces that have arrived as a whole, but for the last few that the hasher may hold
  // back (PieceHasher::advance). Many at a time cost less; but whoever waits for bytes does it
  // before, so that what is here is not held up. Returns the pieces that are verified and ready now
  // and were not before; perhaps none.
  // Errors: those of store::Blob::commit(). corrupt means that the source sent wrong bytes. After
  // an error the receiver is used up; the pieces before the one that failed stay, and verified()
  // has those that were not reported yet.
  Result<content::PieceRange> commit();

  bool done() const { return next_ == pieces_.end(); }
  // Pieces verified so far, from the first on.
  content::PieceRange verified() const { return {pieces_.first, next_ - pieces_.first}; }

 private:
  void begin_batch(content::PieceIndex first);

  const std::shared_ptr<store::Blob> blob_;
  const content::PieceRange pieces_;
  const bool learns_;                  // its hashes are the blob's
  const std::span<std::byte> buffer_;  // a whole number of pieces
  content::PieceHasher hasher_;
  content::PieceRange batch_;            // the pieces that fill the buffer now, from its start
  std::vector<content::Hash32> hashes_;  // of the batch
  content::PieceIndex next_;             // the first piece not committed
  std::size_t end_ = 0;                  // bytes of the batch that have arrived
  std::uint32_t hashed_ = 0;             // pieces of the batch whose hash is final
};

}  // namespace shoal::agent
