// Opening a store: format, locks, what an earlier process left, and the blobs that are there.

#include "core/store/blob_store.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "core/base/log.h"
#include "core/base/random.h"
#include "core/store/ready_writer.h"
#include "core/store/store_context.h"
#include "core/store/store_entry.h"
#include "core/store/synced_record.h"

namespace shoal::store {
namespace {

constexpr std::string_view kFormatText = "format: 1\n";  // docs/formats/store.md, "format"
constexpr std::size_t kMaxSmallFile = 4096;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string first_line(std::string text) { return text.substr(0, text.find('\n')); }

Result<UniqueFd> take_lock(FileSystem& fs, const std::string& directory) {
  const std::string path = directory + "/lock";
  auto fd = fs.open(path, OpenMode::kCreate, 0644);
  if (!fd) return fail(fd.error());
  auto locked = fs.try_lock(fd->get());
  if (!locked) return fail(locked.error());
  if (!*locked) {
    auto holder = read_file(fs, path, kMaxSmallFile);
    return fail(Errc::kConflict,
                directory + " is in use by process " +
                    (holder && !holder->empty() ? first_line(as_text(*holder)) : "(unknown)") +
                    ": two agents cannot share a store or a runtime directory");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  SHOAL_TRY(fs.set_size(fd->get(), 0));
  SHOAL_TRY(fs.pwrite(fd->get(), as_bytes(pid), 0));
  return fd;
}

Status check_format(FileSystem& fs, const std::string& directory) {
  const std::string path = directory + "/format";
  auto text = read_file(fs, path, kMaxSmallFile);
  if (text) {
    if (as_text(*text) == kFormatText) return {};
    return fail(Errc::kInvalid, "the store in " + directory + " says \"" +
                                    first_line(as_text(*text)).substr(0, 80) +
                                    "\", this version knows only \"format: 1\": use the version "
                                    "that wrote it, or give another directory");
  }
  if (text.error().code() != Errc::kNotFound) return fail(text.error());
  auto names = fs.list(directory);
  if (!names) return fail(names.error());
  for (const std::string& name : *names) {
    if (name != "lock" && name != "format.new" && name != "lost+found") {
      return fail(Errc::kInvalid, directory + " is not empty (\"" + name +
                                      "\") and not a store: give an empty directory");
    }
  }
  // Before anything else is put there, so that a store without it never exists.
  SHOAL_TRY(replace_file(fs, path, as_bytes(kFormatText), 0644));
  return fs.sync_directory(directory);
}

// The mapping of a whole file, unmapped with the last copy of the pointer.
Result<std::pair<std::shared_ptr<const void>, std::span<const std::byte>>> map_file(
    FileSystem& fs, const std::string& path, std::size_t limit) {
  auto fd = fs.open(path, OpenMode::kRead);
  if (!fd) return fail(fd.error());
  auto st = fs.stat(fd->get());
  if (!st) return fail(st.error());
  if (st->size == 0 || st->size > limit) return fail(Errc::kCorrupt, path + " has a wrong length");
  const std::size_t length = st->size;
  void* base = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd->get(), 0);
  if (base == MAP_FAILED) return fail(errno_error("map " + path, errno));
  std::shared_ptr<const void> owner(
      base, [length](const void* p) { ::munmap(const_cast<void*>(p), length); });
  return std::pair(std::move(owner), std::span(static_cast<const std::byte*>(base), length));
}

Result<BlobMeta> meta_from_table(FileSystem& fs, const std::string& directory,
                                 const std::string& hex) {
  auto bytes = read_file(fs, directory + "/table", content::kMaxPieceTableSize);
  if (!bytes) return fail(bytes.error());
  auto table = content::PieceTable::parse(*bytes);
  if (!table) return fail(table.error());
  if (table->digest().hex() != hex) return fail(Errc::kCorrupt, "table of another blob");
  BlobMeta meta;
  meta.digest = table->digest();
  meta.size = table->layout().size();
  return meta;
}

std::int64_t system_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

BlobStore::BlobStore(std::shared_ptr<StoreContext> context, std::uint64_t sync_after,
                     UniqueFd store_lock, UniqueFd runtime_lock)
    : context_(std::move(context)),
      sync_after_(sync_after),
      store_lock_(std::move(store_lock)),
      runtime_lock_(std::move(runtime_lock)) {}

BlobStore::~BlobStore() {
  if (auto closed = close(); !closed) {
    log::error("closing the store failed", {{"err", closed.error()}});
  }
}

Result<std::unique_ptr<BlobStore>> BlobStore::open(StoreConfig config, FileSystem& fs,
                                                   BlobListener* listener) {
  const std::string& directory = config.store_directory;
  const std::string& runtime = config.runtime_directory;
  SHOAL_TRY(ensure_directory(fs, directory));
  SHOAL_TRY(fs.sync_directory(directory + "/.."));
  SHOAL_TRY(ensure_directory(fs, runtime, 0755));
  auto store_lock = take_lock(fs, directory);
  if (!store_lock) return fail(store_lock.error());
  auto runtime_lock = take_lock(fs, runtime);
  if (!runtime_lock) return fail(runtime_lock.error());
  SHOAL_TRY(check_format(fs, directory));
  for (const char* name : {"/blobs", "/blobs/sha256", "/blobs/unsettled", "/tmp"}) {
    SHOAL_TRY(ensure_directory(fs, directory + name));
  }
  SHOAL_TRY(ensure_directory(fs, runtime + "/ready"));
  SHOAL_TRY(fs.sync_directory(directory + "/blobs"));
  SHOAL_TRY(fs.sync_directory(directory));

  auto context = std::make_shared<StoreContext>(
      fs, listener, directory, runtime, config.limits, config.max_dirty,
      config.now_ns ? std::move(config.now_ns) : std::function<std::int64_t()>(system_now_ns));
  std::unique_ptr<BlobStore> store(new BlobStore(std::move(context), config.sync_after,
                                                 *std::move(store_lock), *std::move(runtime_lock)));
  if (auto loaded = store->load(); !loaded) {
    return fail(loaded.error().with_context("opening the store in " + directory));
  }
  return store;
}

Status BlobStore::load() {
  FileSystem& fs = context_->fs;
  // Ready maps of an earlier process: nobody will set a bit there again.
  auto maps = fs.list(context_->ready_directory());
  if (!maps) return fail(maps.error());
  for (const std::string& name : *maps) {
    const std::string path = context_->ready_directory() + "/" + name;
    ReadyWriter::revoke_leftover(fs, path);
    SHOAL_TRY(fs.unlink(path));
  }
  // Unfinished creations and removals.
  auto leftovers = fs.list(context_->temporary_directory());
  if (!leftovers) return fail(leftovers.error());
  for (const std::string& name : *leftovers) {
    SHOAL_TRY(remove_all(fs, context_->temporary_directory() + "/" + name));
  }
  // Settled ones last: one whose settling was cut short comes to them.
  SHOAL_TRY(load_root(false));
  return load_root(true);
}

Status BlobStore::load_root(bool settled) {
  FileSystem& fs = context_->fs;
  const std::string root = context_->blob_root(settled);
  auto shards = fs.list(root);
  if (!shards) return fail(shards.error());
  // A process that was killed may have left names that are not on the disk yet. What we find is
  // built upon from here, so it has to stay.
  SHOAL_TRY(fs.sync_directory(root));
  for (const std::string& shard : *shards) {
    SHOAL_TRY(fs.sync_directory(root + "/" + shard));
    auto blobs = fs.list(root + "/" + shard);
    if (!blobs) return fail(blobs.error());
    for (const std::string& hex : *blobs) {
      if (hex.substr(0, 2) == shard && content::Digest::from_hex(hex)) {
        load_blob(hex, settled);
      } else {
        log::warn("unknown directory in the store", {{"err", root + "/" + shard + "/" + hex}});
      }
    }
  }
  return {};
}

void BlobStore::load_blob(const std::string& hex, bool settled) {
  auto entry = read_entry(hex, settled);
  if (entry && !*entry) return;
  if (!entry) {
    const Errc code = entry.error().code();
    if (code == Errc::kCorrupt || code == Errc::kNotFound) {
      discard(hex, settled, entry.error().str());
    } else {
      log::error("blob cannot be read, left alone", {{"blob", hex}, {"err", entry.error()}});
    }
    return;
  }
  std::lock_guard lock(mutex_);
  const content::Digest digest = (*entry)->meta.digest;
  entries_.emplace(digest, *std::move(entry));
}

// Null if the directory is another's by now.
Result<std::unique_ptr<BlobStore::Entry>> BlobStore::read_entry(const std::string& hex,
                                                                bool settled) {
  FileSystem& fs = context_->fs;
  const std::string directory = context_->blob_directory(hex, settled);
  auto entry = std::make_unique<Entry>();
  entry->account = std::make_shared<BlobAccount>();
  BlobAccount& account = *entry->account;

  auto text = read_file(fs, directory + "/meta.json", kMaxMetaSize);
  auto meta = text ? decode_meta(as_text(*text)) : Result<BlobMeta>(fail(text.error()));
  if (meta && meta->settled && !settled) {
    SHOAL_TRY(finish_settling(*meta, directory));
    return std::unique_ptr<Entry>();
  }
  if (meta && meta->digest.hex() != hex) meta = fail(Errc::kCorrupt, "meta.json of another blob");
  if (!meta && settled && meta.error().code() == Errc::kCorrupt) {
    // Pins and annotations are lost; the table still says what the bytes are.
    log::error("meta.json is damaged, pins are lost", {{"blob", hex}, {"err", meta.error()}});
    meta = meta_from_table(fs, directory, hex);
  }
  if (!meta) return fail(meta.error());
  SHOAL_TRY(fs.sync_directory(directory));
  entry->meta = *std::move(meta);
  if (auto st = fs.stat(directory + "/meta.json")) {
    account.last_used_ns = st->mtime_ns;
    entry->noted_use_ns = st->mtime_ns;
  }
  const content::BlobLayout layout = entry->layout();
  if (entry->meta.settled != settled || (!settled && layout.empty())) {
    return fail(Errc::kCorrupt, "meta.json says that it belongs elsewhere");
  }
  if (entry->meta.in_place) {
    account.durable = true;
    account.have_count = layout.piece_count();
    return entry;
  }
  auto data = fs.stat(directory + "/data");
  if (!data) return fail(data.error());
  auto record = read_file(fs, directory + "/synced", kMaxSyncedSize);
  auto synced = record ? decode_synced(entry->meta.digest, layout, *record)
                       : Result<content::PieceSet>(fail(record.error()));
  if (layout.empty() || (settled && synced && synced->all() && data->size == layout.size())) {
    account.durable = true;
    account.have_count = layout.piece_count();
    account.used = layout.size();
    context_->budget.count_existing(layout.size());
    return entry;
  }
  auto blob = open_blob(*entry);
  if (!blob) return fail(blob.error());
  entry->active = *std::move(blob);
  context_->budget.count_existing(account.used);
  return entry;
}

Result<std::shared_ptr<Blob>> BlobStore::open_blob(Entry& entry) {
  FileSystem& fs = context_->fs;
  const std::string directory = context_->blob_directory(entry.meta);
  std::optional<content::PieceTable> table;
  std::unique_ptr<LearntHashes> hashes;
  if (entry.meta.settled) {
    auto mapped = map_file(fs, directory + "/table", content::kMaxPieceTableSize);
    if (!mapped) return fail(mapped.error());
    auto parsed = content::PieceTable::parse_in_place(mapped->second, mapped->first);
    if (!parsed) return fail(parsed.error());
    SHOAL_TRY(parsed->expect(entry.meta.digest, entry.meta.size, std::nullopt));
    table = *std::move(parsed);
  } else {
    auto learnt = LearntHashes::open(fs, directory + "/hashes", entry.layout());
    if (!learnt) return fail(learnt.error());
    hashes = *std::move(learnt);
  }

  const std::uint32_t pieces = entry.layout().piece_count();
  content::PieceSet trusted(pieces);
  if (!entry.meta.in_place && pieces != 0) {
    // A record that is missing or damaged vouches for nothing; the pieces are hashed instead.
    auto record = read_file(fs, directory + "/synced", kMaxSyncedSize);
    auto st = fs.stat(directory + "/data");
    if (!st) return fail(st.error());
    if (record && st->size == entry.meta.size) {
      auto synced = decode_synced(entry.meta.digest, entry.layout(), *record);
      if (synced) {
        trusted = *std::move(synced);
      } else {
        log::warn("record of synced pieces ignored",
                  {{"blob", entry.meta.digest.str()}, {"err", synced.error()}});
      }
    }
  }
  std::shared_ptr<Blob> blob(new Blob(context_, entry.account, std::move(table), std::move(hashes),
                                      entry.meta, directory));
  SHOAL_TRY(blob->start(trusted));
  entry.blob = blob;
  return blob;
}

void BlobStore::discard(const std::string& hex, bool settled, const std::string& why) {
  log::error("blob is unusable and removed", {{"blob", hex}, {"err", why}});
  FileSystem& fs = context_->fs;
  const std::string doomed = context_->temporary_directory() + "/" + hex + "-" + random_hex(4);
  auto gone = fs.rename(context_->blob_directory(hex, settled), doomed);
  if (gone) gone = remove_all(fs, doomed);
  if (!gone) log::error("removing it failed", {{"blob", hex}, {"err", gone.error()}});
}

}  // namespace shoal::store
