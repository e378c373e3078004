// One blob in the store: where verified pieces go in and come out. Hides the data file, the ready
// bitmap, the record of what is safe on disk, and the order in which the three are written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/content/piece_table.h"
#include "core/store/blob_meta.h"
#include "core/store/ready_writer.h"

namespace shoal::store {

// Told about every change of what can be served. Called on the thread that made the change (a lane
// thread, the sync pool), so it must be cheap, must not call back into the store, and may be called
// from several threads at once: note it down, or post.
class BlobListener {
 public:
  virtual ~BlobListener() = default;
  // `pieces` were verified and are ready. `complete` is true once, with the last of them.
  virtual void pieces_ready(const content::Digest& blob, content::PieceRange pieces,
                            bool complete) = 0;
  // These pieces, announced before, are not there any more and have to be fetched again.
  virtual void pieces_lost(const content::Digest& blob, const content::PieceSet& pieces) = 0;
};

// What another process needs to read a blob while it arrives: both descriptors are read-only and
// opened for it alone. The blob counts as opened, and is not evicted, until the lease is gone.
//
// Thread: one at a time. Lifetime: may outlive the Blob and the store.
class ReadLease {
 public:
  ReadLease(UniqueFd data, UniqueFd ready, std::shared_ptr<std::atomic<int>> open_readers);
  ReadLease(ReadLease&&) noexcept = default;
  ReadLease& operator=(ReadLease&& other) noexcept;
  ~ReadLease();

  int data_fd() const { return data_.get(); }
  int ready_fd() const { return ready_.get(); }

 private:
  UniqueFd data_;
  UniqueFd ready_;
  // Shared by the blob and all its leases.
  std::shared_ptr<std::atomic<int>> open_readers_;
};

struct RecheckProgress {
  bool done = false;             // nothing is left to look at
  std::uint64_t bytes_read = 0;  // by this call
  std::uint32_t recovered = 0;   // pieces found good by this call, ready from now on
};

struct StoreContext;

// Thread safety: all functions may be called from any thread; the data path (has, commit, read,
// serve) from many at once without waiting for one another.
// Lifetime: held by shared_ptr: by the store while the blob is incomplete or not yet safe on disk,
// and by everybody who found it. May outlive the store, then as a removed blob does.
class Blob {
 public:
  ~Blob();
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;

  const content::Digest& digest() const { return table_.digest(); }
  const content::BlobLayout& layout() const { return table_.layout(); }
  const content::PieceTable& table() const { return table_; }
  bool in_place() const { return source_.has_value(); }

  // Whether the pieces can be served, now. An empty range is there always.
  bool has(content::PieceIndex piece) const;
  bool has(content::PieceRange pieces) const;
  content::PieceSet have() const;
  std::uint32_t have_count() const;
  // All pieces are ready (not: safe on disk, see durable()).
  bool complete() const;
  // Grows with every change of have(). Not kept over a restart.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

  // The bytes of whole pieces from `first` on (the blob's last piece may be short). Verifies each,
  // writes them, then makes them ready for everybody. Pieces already there are skipped. A caller
  // who hashed the bytes while they arrived passes the piece hashes, which then are only compared:
  // they must be of exactly these bytes. Returns how many pieces are new.
  //
  // `bytes` must not change during the call. May wait for the disk when too many bytes are dirty.
  //
  // Errors:
  //   invalid   the bytes are not whole pieces of this blob (nothing done)
  //   corrupt   a piece does not match its hash; the message names it. It and those after it are
  //             not written, those before it are ready
  //   no_space  the store or the disk is full. None of the call's new pieces is ready; all earlier
  //             ones stay, and the same call may succeed later
  //   conflict  the blob was removed or withdrawn
  //   internal  the disk failed. As no_space
  Result<std::uint32_t> commit(content::PieceIndex first, std::span<const std::byte> bytes,
                               std::span<const content::Hash32> piece_hashes = {});

  // Fills `out`, of range.length bytes, from ready pieces.
  // Errors: unavailable when a piece of the range is not ready; invalid outside the blob; conflict
  // when an in-place source changed (the blob is then failed); internal when the disk failed.
  Status read(ByteRange range, std::span<std::byte> out) const;

  // The descriptor from which the bytes of `range` may be sent now (sendfile at the same offsets).
  // Open read-only and valid as long as this Blob; do not move its file position.
  // Errors: as read().
  Result<int> serve(ByteRange range) const;

  // Errors: overloaded without free descriptors; conflict as read().
  Result<ReadLease> open_reader();
  int open_readers() const { return open_readers_->load(std::memory_order_relaxed); }

  // Makes every piece that is ready now survive a power cut. Blocks on the disk.
  // Errors: internal when the disk failed: then all pieces that were not safe before are taken back
  // (pieces_lost), because nobody can say what the disk holds; no_space when the record could not
  // be written: the pieces stay ready, and are checked again after a restart.
  Status sync();
  // All pieces are ready and survive a power cut.
  bool durable() const;
  // Bytes of pieces that are ready and would have to be checked again after a power cut.
  std::uint64_t unsynced_bytes() const;

  // After a restart: looks at pieces that are in the file but not in the record of what is safe,
  // and makes the good ones ready. Call until done, with the bytes to read per call (at least one
  // piece is read). Errors: internal when the disk failed: the piece counts as absent, go on.
  Result<RecheckProgress> recheck(std::uint64_t budget);

  // Reads those of `pieces` that are ready again and takes back the ones that do not match: on disk
  // first, then in a new ready map without them; the old one is marked revoked. Returns them.
  // Errors: conflict as read().
  Result<content::PieceSet> scrub(content::PieceRange pieces);

  // This content must not be used any more: readers get the state failed, nothing is served,
  // nothing is taken in. For good, until removed from the store.
  void withdraw(const std::string& reason);
  bool failed() const { return failed_.load(std::memory_order_acquire); }

 private:
  friend class BlobStore;

  Blob(std::shared_ptr<StoreContext> context, content::PieceTable table, const BlobMeta& meta,
       std::string directory);

  // For the store. `trusted` pieces are ready from the start; an incomplete blob is `writable`.
  Status open_files(const content::PieceSet& trusted, bool writable);
  void mark_removed();

  Status check_usable() const;
  Status check_source() const;
  Status check_range(ByteRange range) const;
  content::PieceSet read_and_verify(content::PieceRange pieces, std::vector<std::byte>& buffer,
                                    std::uint64_t& bytes_read) const;
  Result<std::uint32_t> write_and_publish(content::PieceRange pieces,
                                          std::span<const std::byte> bytes);
  Result<content::PieceSet> charge(content::PieceRange pieces);
  void uncharge(const content::PieceSet& pieces);
  std::uint32_t publish(content::PieceRange pieces);
  Status start_inode(const content::PieceSet& pieces);
  Status take_back(const content::PieceSet& pieces);
  Status write_record(const content::PieceSet& pieces);

  // Constant after open_files().
  const std::shared_ptr<StoreContext> context_;  // shared by the store and all its blobs
  const content::PieceTable table_;
  const std::string directory_;
  const std::string ready_path_;
  const Reservation reservation_;
  const std::optional<InPlaceSource> source_;
  const std::shared_ptr<std::atomic<int>> open_readers_;  // shared with the leases
  UniqueFd read_fd_;
  std::shared_ptr<UniqueFd> write_fd_;  // shared with the write-back queue; null when complete

  // The current inode of the ready map, owned by inodes_.
  std::atomic<ReadyWriter*> ready_{nullptr};
  mutable std::atomic<std::uint64_t> version_{0};
  mutable std::atomic<bool> failed_{false};
  std::atomic<bool> removed_{false};
  std::atomic<bool> durable_{false};

  // A commit holds commits_ shared from its first write to its last bit; taking pieces back holds
  // it alone. gate_ is held while waiting for commits_, so that neither starves the other.
  std::mutex gate_;
  std::shared_mutex commits_;

  // Serialises sync(), scrub() and removal. Before commits_, before mutex_.
  mutable std::mutex sync_mutex_;
  content::PieceSet synced_;                          // guarded by sync_mutex_
  std::vector<std::unique_ptr<ReadyWriter>> inodes_;  // guarded by sync_mutex_
  std::uint64_t epoch_ = 0;                           // guarded by sync_mutex_

  mutable std::mutex mutex_;
  content::PieceSet charged_;    // guarded by mutex_: pieces whose bytes are counted as used
  content::PieceSet unchecked_;  // guarded by mutex_: perhaps in the file, see recheck()
  std::atomic<std::uint64_t> unsynced_bytes_{0};
};

}  // namespace shoal::store
