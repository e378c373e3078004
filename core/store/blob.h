// One blob in the store: where verified pieces go in and come out. Hides the data file, the ready
// bitmap, the record of what is safe on disk, and the order in which the three are written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/content/piece_table.h"
#include "core/store/blob_meta.h"
#include "core/store/learnt_hashes.h"
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
  // The store unlinked the blob to make room, on the thread that needed it.
  virtual void blob_evicted(const content::Digest&) {}
};

class Blob;

// What another process needs to read a blob while it arrives: both descriptors are read-only and
// opened for it alone. The blob counts as opened, and is not evicted, until the lease is gone.
//
// Thread: one at a time. Lifetime: keeps the Blob alive; must end before the store's file system.
class ReadLease {
 public:
  ReadLease(ReadLease&&) noexcept = default;
  ReadLease& operator=(ReadLease&& other) noexcept;
  ~ReadLease();

  int data_fd() const { return data_.get(); }
  int ready_fd() const { return ready_.get(); }

 private:
  friend class Blob;
  ReadLease(std::shared_ptr<Blob> blob, UniqueFd data, UniqueFd ready);
  void end();

  std::shared_ptr<Blob> blob_;  // shared with the store and its callers; null after a move
  UniqueFd data_;
  UniqueFd ready_;
};

// What the store knows of a blob without opening it. Internal to core/store.
struct BlobAccount {
  std::atomic<int> open_readers{0};
  std::atomic<std::int64_t> last_used_ns{0};
  std::atomic<std::uint64_t> used{0};  // bytes counted against the store's capacity
  std::atomic<std::uint32_t> have_count{0};
  std::atomic<bool> durable{false};
  std::atomic<bool> failed{false};     // withdrawn, or its in-place source cannot be used
  std::atomic<bool> withdrawn{false};  // for as long as this process lasts
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
class Blob : public std::enable_shared_from_this<Blob> {
 public:
  ~Blob();
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;

  // Its name: of an unsettled blob perhaps an ingest name.
  const content::Digest& digest() const { return digest_; }
  const content::BlobLayout& layout() const { return layout_; }
  // A blob whose piece table is not known yet is not settled: its pieces are checked against hashes
  // that were learnt, may be passed on, and are for nobody here to read.
  bool settled() const { return table_.has_value(); }
  // Of a settled blob (checked).
  const content::PieceTable& table() const {
    SHOAL_CHECK(table_.has_value(), "an unsettled blob has no table");
    return *table_;
  }

  // Of an unsettled blob (checked): what its pieces' hashes are said to be. Errors: conflict,
  // naming the piece, when one that is here has another hash: nothing is learnt then. internal when
  // the disk failed.
  Status learn(content::PieceIndex first, std::span<const content::Hash32> piece_hashes);
  // The hash a piece must have; none if it is not known. `piece` is checked.
  std::optional<content::Hash32> piece_hash(content::PieceIndex piece) const;
  bool knows_hashes(content::PieceRange pieces) const;
  // Of an unsettled blob (checked): all of them, zero where it is not known.
  std::vector<content::Hash32> learnt_hashes() const;
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
  //   no_space  the store or the disk is full; the message names the pieces. They and those after
  //             them are not ready; all others stay, and the same call may succeed later
  //   conflict  the blob was removed or withdrawn
  //   internal  the disk failed. As no_space
  Result<std::uint32_t> commit(content::PieceIndex first, std::span<const std::byte> bytes,
                               std::span<const content::Hash32> piece_hashes = {});

  // Fills `out`, of range.length bytes, from ready pieces.
  // Errors: unavailable when a piece of the range is not ready; invalid outside the blob; conflict
  // when an in-place source changed (the blob is then failed); internal when the disk failed.
  Status read(ByteRange range, std::span<std::byte> out);

  // The descriptor from which the bytes of `range` may be sent now (sendfile at the same offsets).
  // Open read-only and valid as long as this Blob; do not move its file position.
  // Errors: as read().
  Result<int> serve(ByteRange range);

  // Errors: unavailable while the blob is not settled; overloaded without free descriptors;
  // conflict as read(). Nothing need be ready yet.
  Result<ReadLease> open_reader();
  // A lease without descriptors, for who only keeps the blob from being evicted.
  ReadLease keep();
  int open_readers() const { return account_->open_readers.load(std::memory_order_relaxed); }

  // Makes every piece that is ready now survive a power cut. Blocks on the disk.
  // Errors: internal when the disk failed: then all pieces that were not safe before are taken back
  // (pieces_lost), because nobody can say what the disk holds; no_space when the record could not
  // be written: the pieces stay ready, and are checked again after a restart.
  Status sync();
  // All pieces are ready and survive a power cut.
  bool durable() const { return account_->durable.load(std::memory_order_acquire); }
  // About how many bytes of ready pieces would have to be checked again after a power cut.
  std::uint64_t unsynced_bytes() const;

  // After a restart: looks at pieces that are in the file but not in the record of what is safe,
  // and makes the good ones ready. Call until done, with the bytes to read per call (at least one
  // piece is read). Errors: internal when the disk failed: the piece counts as absent, go on.
  Result<RecheckProgress> recheck(std::uint64_t budget);
  bool needs_recheck() const;

  // Reads those of `pieces` that are ready again and takes back the ones that do not match: on disk
  // first, then in a new ready map without them; the old one is marked revoked. Returns them.
  // Errors: conflict as read().
  Result<content::PieceSet> scrub(content::PieceRange pieces);

  // This content must not be used any more: readers get the state failed, nothing is served,
  // nothing is taken in. Lasts as long as this process: remove the blob from the store.
  void withdraw(const std::string& reason);
  bool failed() const { return account_->failed.load(std::memory_order_acquire); }

 private:
  friend class BlobStore;
  friend class ReadLease;
  // Held by a commit from its first write to its last bit.
  using CommitLock = std::shared_lock<std::shared_mutex>;

  // Exactly one of table and hashes.
  Blob(std::shared_ptr<StoreContext> context, std::shared_ptr<BlobAccount> account,
       std::optional<content::PieceTable> table, std::unique_ptr<LearntHashes> hashes,
       const BlobMeta& meta, std::string directory);

  // For the store: opens the files. `trusted` pieces are ready from the start; whatever else the
  // data file may hold has to pass recheck(). An in-place blob is checked and trusted whole.
  Status start(const content::PieceSet& trusted);
  // For the store: nothing of this object may change the directory any more.
  void mark_removed();
  // For the store, of an unsettled blob that was just synced: nothing is stored any more; returns
  // the pieces that are safe on disk and are what the table says.
  content::PieceSet freeze(const content::PieceTable& table);
  // For import: verifies what the data file holds of a piece, and publishes it if good.
  Result<bool> adopt_stored(content::PieceIndex piece, std::vector<std::byte>& buffer,
                            bool write_again);

  bool expected(content::PieceIndex piece, std::span<const std::byte> bytes,
                const content::Hash32* hash);
  void unbind_missing(content::PieceRange pieces);
  void note_use();
  CommitLock enter_commit();
  Status check_usable() const;
  Status check_source();
  Status check_readable(ByteRange range);
  Result<bool> stored_matches(content::PieceIndex piece, std::vector<std::byte>& buffer) const;
  Result<std::uint32_t> write_and_publish(content::PieceRange pieces,
                                          std::span<const std::byte> bytes);
  Result<std::vector<content::PieceIndex>> charge(content::PieceRange pieces);
  void uncharge(const std::vector<content::PieceIndex>& pieces);
  void settle(content::PieceRange pieces, const std::vector<content::PieceIndex>& charged);
  std::uint64_t bytes_of(const std::vector<content::PieceIndex>& pieces) const;
  std::uint64_t bytes_in(const content::PieceSet& pieces) const;
  std::uint32_t publish(content::PieceRange pieces);
  Result<std::shared_ptr<UniqueFd>> writable_file();
  Status start_inode(const content::PieceSet& pieces);
  Status retain(const content::PieceSet& allowed);
  Status write_record(const content::PieceSet& pieces);

  // Constant after start().
  const std::shared_ptr<StoreContext> context_;  // shared by the store and all its blobs
  const std::shared_ptr<BlobAccount> account_;   // shared with the store's entry
  const content::Digest digest_;
  const content::BlobLayout layout_;
  const std::optional<content::PieceTable> table_;
  const std::unique_ptr<LearntHashes> hashes_;  // of an unsettled blob
  const std::string directory_;
  const Reservation reservation_;
  const std::optional<InPlaceSource> source_;
  std::shared_ptr<UniqueFd> read_fd_;  // shared with the write-back queue

  // The current inode of the ready map, owned by inodes_.
  std::atomic<ReadyWriter*> ready_{nullptr};
  std::atomic<std::uint64_t> version_{0};
  std::atomic<bool> removed_{false};
  std::atomic<std::uint32_t> synced_count_{0};

  // Commits hold commits_ shared; taking pieces back holds it alone. gate_ is held while waiting
  // for commits_, so that neither side starves the other.
  std::mutex gate_;
  std::shared_mutex commits_;

  // Serialises sync(), taking back and removal. Locked before commits_, and commits_ before mutex_.
  std::mutex sync_mutex_;
  content::PieceSet synced_;                          // guarded by sync_mutex_
  std::vector<std::unique_ptr<ReadyWriter>> inodes_;  // guarded by sync_mutex_
  std::string ready_path_;                            // guarded by sync_mutex_

  // File systems let one write at a file at a time: who sleeps here would spin there.
  std::mutex write_mutex_;

  mutable std::mutex mutex_;
  std::shared_ptr<UniqueFd> write_fd_;  // guarded by mutex_; null while durable
  content::PieceSet charged_;           // guarded by mutex_: pieces whose bytes are counted
  // Guarded by mutex_: charged, but set aside in the budget alone, as the file system cannot do it.
  content::PieceSet owed_;
  content::PieceSet unchecked_;  // guarded by mutex_: perhaps in the file, see recheck()
};

}  // namespace shoal::store
