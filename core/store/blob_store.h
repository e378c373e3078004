// The node's content store: every blob this node holds, whole or in part, in one directory.
// Hides where bytes lie, what survives a crash, how space is counted and who may be evicted.
// The directory is described in docs/formats/store.md.
//
//   auto store = BlobStore::open(config, real_file_system(), &listener);
//   auto blob = (*store)->create(table, Reservation::kFull);
//   (*blob)->commit(piece, bytes);                 // from any thread
//   auto lease = (*blob)->open_reader();           // descriptors for another process
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/piece_table.h"
#include "core/store/blob.h"
#include "core/store/blob_meta.h"
#include "core/store/eviction.h"
#include "core/store/file_system.h"

namespace shoal::store {

struct StoreConfig {
  std::string store_directory;    // its parent must exist
  std::string runtime_directory;  // on a tmpfs; its parent must exist
  SpaceLimits limits;
  // Dirty bytes of all blobs together that may wait for the disk before commit() waits too.
  std::uint64_t max_dirty = 256 * kMiB;
  // maintain() syncs a blob with more bytes than this that a power cut would make it check again.
  std::uint64_t sync_after = 512 * kMiB;
  // Wall-clock time in ns since the Unix epoch, for "last used".
  std::function<std::int64_t()> now_ns;  // empty: the system's clock
};

struct BlobInfo {
  content::Digest digest;
  std::uint64_t size = 0;
  std::uint64_t used = 0;  // bytes counted against the store's capacity
  std::uint32_t piece_count = 0;
  std::uint32_t have_count = 0;
  bool settled = true;    // see Blob::settled()
  bool complete = false;  // settled, and all of it is here
  bool failed = false;    // withdrawn, or its in-place source is gone or changed
  bool in_place = false;
  int open_readers = 0;
  std::int64_t last_used_ns = 0;
  std::set<std::string> pins;
  std::map<std::string, std::string> annotations;
};

struct SpaceReport {
  std::uint64_t capacity = 0;  // 0: limited by the file system alone
  SpaceUse use;
};

struct ImportOptions {
  std::set<std::string> pins;
  std::map<std::string, std::string> annotations;
  // Called after each portion with the bytes that are verified and ready so far.
  std::function<void(std::uint64_t bytes)> progress;
  // Checked between portions; may be set by any thread.
  const std::atomic<bool>* cancel = nullptr;
};

struct ImportReport {
  std::shared_ptr<Blob> blob;
  bool reflinked = false;  // shares its blocks with the source, no byte was copied
};

struct EvictionChoice {
  std::vector<content::Digest> blobs;
  // The choice holds until then: what is not unlinked by that time stays.
  std::chrono::steady_clock::time_point until = std::chrono::steady_clock::time_point::max();
};

// Chooses blobs that give back at least `bytes`, as far as possible, among those that are neither
// pinned nor opened nor being fetched: `in_order` has them in the order in which they should go.
using EvictionChooser =
    std::function<EvictionChoice(std::span<const BlobInfo> in_order, std::uint64_t bytes)>;

struct MaintainReport {
  std::vector<content::Digest> evicted;  // by this call; the listener hears of every eviction
  // Blobs whose sync failed, with the error. Their pieces were taken back if it was the disk's.
  std::vector<std::pair<content::Digest, Error>> sync_errors;
};

// Thread safety: all functions may be called from any thread. Those that say "blocks" wait for the
// disk and belong on the blocking pool.
// Lifetime: borrows the file system and the listener, which must outlive it and all its blobs.
class BlobStore {
 public:
  // Opens the store, making it if the directory is empty or missing, and takes its lock. Blobs that
  // were complete are ready as they were; in others only what the record of synced pieces covers is
  // ready, the rest waits for Blob::recheck(). Removes what unfinished creations and removals left.
  // Blocks.
  // Errors: conflict when another process has it (named in the message) or has the runtime
  // directory; invalid when the directory holds something else, or a format this version does not
  // know.
  static Result<std::unique_ptr<BlobStore>> open(StoreConfig config, FileSystem& fs,
                                                 BlobListener* listener = nullptr);

  // As close().
  ~BlobStore();
  BlobStore(const BlobStore&) = delete;
  BlobStore& operator=(const BlobStore&) = delete;

  // Makes an empty blob for the table, with its space (kFull) counted and set aside; makes room by
  // eviction if needed. A blob of that digest that exists already is returned, with the pins and
  // annotations added. Survives a power cut on return. Blocks.
  // Errors:
  //   no_space  the store or the disk is full, with what could be done
  //   conflict  a blob of that digest exists with another pieces root, or is being made just now
  Result<std::shared_ptr<Blob>> create(const content::PieceTable& table, Reservation reservation,
                                       std::set<std::string> pins = {},
                                       std::map<std::string, std::string> annotations = {});

  // The same for a blob whose piece table is not known yet; `name` may be an ingest name. One of
  // that name that is there already, settled or not, is returned. `size` is not 0 (checked).
  // Errors: as create(); conflict when it has another size.
  Result<std::shared_ptr<Blob>> create_unsettled(const content::Digest& name, std::uint64_t size,
                                                 Reservation reservation);

  // The blob that went by `name` is that of the table: it goes by its digest from now on, with
  // those of its pieces that are what the table says, and can be read. Old pointers to it behave as
  // to a removed blob. If the store has the table's blob already, that is returned, and what went
  // by the name is gone. Again: returns the settled blob. Survives a power cut on return. Blocks.
  // Errors: not_found (neither); invalid when the sizes differ; conflict while one of them is being
  // made or removed; internal when the disk failed, no_space: nothing is lost, try again.
  Result<std::shared_ptr<Blob>> settle(const content::Digest& name,
                                       const content::PieceTable& table);

  // Errors: not_found; unavailable when it is an in-place blob whose source is gone or changed;
  // conflict while it is being made.
  Result<std::shared_ptr<Blob>> find(const content::Digest& digest);
  // The same without counting as use.
  Result<std::shared_ptr<Blob>> find_quietly(const content::Digest& digest);

  // All blobs, by digest. Opens nothing.
  std::vector<BlobInfo> list() const;
  Result<BlobInfo> info(const content::Digest& digest) const;
  // Blobs for which recheck() is not done.
  std::vector<std::shared_ptr<Blob>> unchecked() const;

  // Copies the file behind `source` (from offset 0, table.layout().size() bytes) into the store,
  // sharing blocks where the file system can, and verifies every piece on the way: pieces become
  // ready one by one as in a download, and the whole is safe on disk on return. What the store has
  // already is not copied again. Blocks.
  // Errors: as create(); corrupt when the source is not what the table says (it changed);
  // cancelled. A blob that this call made is then removed again.
  Result<ImportReport> import(const content::PieceTable& table, int source,
                              ImportOptions options = {});

  // Makes a complete blob whose bytes stay in the file of `source`, which the caller has just
  // hashed while the file looked as `source` says. Before any piece is served, size, mtime and
  // inode are checked again; when they differ the blob is failed. Takes none of the store's
  // capacity. A blob of that digest that has its own bytes is returned as it is. Blocks.
  // Errors: conflict when the file looks different now; invalid when its size is not the table's,
  // or the path is relative, a link or not UTF-8.
  Result<std::shared_ptr<Blob>> add_in_place(const content::PieceTable& table,
                                             const InPlaceSource& source,
                                             std::set<std::string> pins = {},
                                             std::map<std::string, std::string> annotations = {});

  // Survive a power cut on return. Block. Errors: not_found; unpinning a name that does not pin is
  // no error.
  Status pin(const content::Digest& digest, const std::string& name);
  Status unpin(const content::Digest& digest, const std::string& name);
  // An empty value removes the key.
  Status annotate(const content::Digest& digest, const std::string& key, const std::string& value);

  // Unlinks the blob. Who has it open keeps reading complete bytes; waiting readers of an
  // incomplete one see its ready map revoked. Blocks. Errors: not_found; conflict when it is
  // pinned, naming the pins, or being made.
  Status remove(const content::Digest& digest);

  // Who decides, of the blobs that could be evicted, which are: the last copies in the fleet of
  // something that no origin can give again must stay. Called on the thread that needs room, which
  // may be any that calls create(), import() or maintain(); other evictions wait meanwhile. None:
  // whatever gives enough.
  void set_eviction_chooser(EvictionChooser chooser);
  // Those it takes, until `bytes` are given back or choice.until has passed; they are unlinked.
  // What was pinned or opened in between stays. Blocks.
  std::vector<content::Digest> evict(const EvictionChoice& choice);

  // Evicts until `incoming` more bytes keep to the watermarks, as far as possible; what it evicted.
  // Not enough is not an error here: taking the space is what fails then. Blocks.
  std::vector<content::Digest> make_room(std::uint64_t incoming);

  // What has to be done now and then (every few seconds): evicts above the watermarks, syncs blobs
  // with many unsynced bytes and those just completed, notes "last used". Blocks.
  MaintainReport maintain();

  SpaceReport space() const;
  const SpaceLimits& limits() const;

  // Syncs every blob. No other call may be made after it; blobs still held behave as removed ones.
  // Blocks. Errors: the first sync that failed.
  Status close();

 private:
  struct Entry;
  // What create(), import() and add_in_place() ask of creation.
  struct Order {
    BlobMeta meta;
    const content::PieceTable* table = nullptr;  // null: of an unsettled blob
    int reflink_source = -1;                     // share blocks with this file if possible
  };
  struct Made {
    std::shared_ptr<Blob> blob;
    bool existed = false;
    bool reflinked = false;
  };

  BlobStore(std::shared_ptr<StoreContext> context, std::uint64_t sync_after, UniqueFd store_lock,
            UniqueFd runtime_lock);

  Status load();
  Status load_root(bool settled);
  void load_blob(const std::string& hex, bool settled);
  Result<std::unique_ptr<Entry>> read_entry(const std::string& hex, bool settled);
  Status finish_settling(const BlobMeta& meta, const std::string& directory);
  void discard(const std::string& hex, bool settled, const std::string& why);
  Result<std::shared_ptr<Blob>> open_blob(Entry& entry);
  Result<Entry*> lookup(const content::Digest& digest) const;
  Result<Made> make(Order order);
  Result<std::shared_ptr<Blob>> existing(const Order& order);
  Result<Made> build(const Order& order, const std::shared_ptr<BlobAccount>& account);
  Status fill_directory(const Order& order, const std::string& directory, bool& reflinked);
  Result<std::shared_ptr<Blob>> settled_already(const content::Digest& name,
                                                const content::PieceTable& table);
  Status turn_settled(Entry& entry, Blob& blob, const content::PieceTable& table);
  Status fill_from(Blob& blob, int source, bool reflinked, const ImportOptions& options);
  Status write_meta(const BlobMeta& meta, const std::string& directory);
  Status change_meta(const content::Digest& digest, const std::function<void(BlobMeta&)>& change);
  enum class RemoveWhen { kUnpinned, kEvictable, kAlways };
  Status remove_if(const content::Digest& digest, RemoveWhen when);
  BlobInfo describe(const Entry& entry) const;
  std::vector<std::shared_ptr<Blob>> live_blobs() const;
  void note_use(std::int64_t at_least_newer_ns);

  // Constant after construction.
  const std::shared_ptr<StoreContext> context_;  // shared with the blobs
  const std::uint64_t sync_after_;
  UniqueFd store_lock_;
  UniqueFd runtime_lock_;

  // Serialise slow work; locked before mutex_. room_mutex_ before change_mutex_.
  std::mutex room_mutex_;    // one eviction at a time
  std::mutex change_mutex_;  // changes of blob directories: meta.json, naming, removal

  mutable std::mutex mutex_;
  std::map<content::Digest, std::unique_ptr<Entry>> entries_;  // guarded by mutex_
  EvictionChooser chooser_;                                    // guarded by mutex_
  bool closed_ = false;                                        // guarded by mutex_
};

}  // namespace shoal::store
