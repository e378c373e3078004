// How a blob without a piece table becomes one with it. The order of writes is argued in
// docs/formats/store.md, "Durability".

#include <utility>

#include "core/base/log.h"
#include "core/base/random.h"
#include "core/store/blob_store.h"
#include "core/store/store_context.h"
#include "core/store/store_entry.h"
#include "core/store/synced_record.h"

namespace shoal::store {
namespace {

// The record of synced pieces under the blob's digest, until it takes the place of `synced`.
constexpr const char* kNextRecord = "/synced.settled";
constexpr std::uint64_t kRecheckStep = 32 * kMiB;

}  // namespace

// The table's blob, if it is here already; what went by the name is then gone. Null if it is not.
Result<std::shared_ptr<Blob>> BlobStore::settled_already(const content::Digest& name,
                                                         const content::PieceTable& table) {
  Result<BlobInfo> known = info(table.digest());
  if (!known && known.error().code() != Errc::kNotFound) return fail(known.error());
  if (!known || !known->settled) return std::shared_ptr<Blob>();
  if (name != table.digest()) {
    Status gone = remove_if(name, RemoveWhen::kAlways);
    if (!gone && gone.error().code() != Errc::kNotFound) return fail(gone.error());
  }
  return find_quietly(table.digest());
}

Result<std::shared_ptr<Blob>> BlobStore::settle(const content::Digest& name,
                                                const content::PieceTable& table) {
  auto already = settled_already(name, table);
  if (!already || *already) return already;
  auto found = find_quietly(name);
  if (!found) return found;
  std::shared_ptr<Blob> blob = *std::move(found);
  if (blob->layout() != table.layout()) {
    return fail(Errc::kInvalid, name.str() + " has another size than its piece table");
  }
  // What is not safe on disk now would have to be fetched again.
  for (bool checked = !blob->needs_recheck(); !checked;) {
    auto step = blob->recheck(kRecheckStep);
    if (!step) return fail(step.error());
    checked = step->done;
  }
  SHOAL_TRY(blob->sync());
  FileSystem& fs = context_->fs;
  std::lock_guard changes(change_mutex_);
  Entry* entry = nullptr;
  {
    std::lock_guard lock(mutex_);
    auto current = lookup(name);
    if (!current) return fail(current.error());
    entry = *current;
    if (entry->meta.settled) {
      return fail(Errc::kConflict, name.str() + " is being settled by somebody else");
    }
    if (name != table.digest()) {
      auto [place, inserted] = entries_.try_emplace(table.digest());
      if (!inserted) return fail(Errc::kConflict, table.digest().str() + " is being made just now");
      place->second = std::make_unique<Entry>();
      place->second->busy = true;
    }
    entry->busy = true;
  }
  const std::string directory = context_->blob_directory(entry->meta);
  // Nobody looks at it before meta.json says so.
  Status done = replace_file(fs, directory + "/table", table.serialise());
  if (done) done = turn_settled(*entry, *blob, table);

  std::unique_ptr<Entry> settled;
  if (done) {
    settled = std::make_unique<Entry>();
    settled->meta = entry->meta;
    settled->meta.digest = table.digest();
    settled->meta.settled = true;
    settled->account = std::make_shared<BlobAccount>();
    settled->account->last_used_ns = entry->account->last_used_ns.load();
  }
  const std::uint64_t used_before = entry->account->used;
  blob.reset();
  std::lock_guard lock(mutex_);
  if (!done) {
    if (name != table.digest()) entries_.erase(table.digest());
    // Opened anew by who asks for it next, from what the disk says.
    entry->active.reset();
    entry->blob.reset();
    entry->busy = false;
    return fail(done.error().with_context("settling " + name.str()));
  }
  entries_.erase(name);
  settled->account->used = used_before;
  auto opened = open_blob(*settled);
  if (!opened) {
    // It is there; who asks for it next may have more luck.
    entries_[table.digest()] = std::move(settled);
    return fail(opened.error().with_context("opening " + table.digest().str()));
  }
  const std::uint64_t used = settled->account->used;
  if (used < used_before) context_->budget.release(used_before - used);
  if (used > used_before) context_->budget.count_existing(used - used_before);
  if (!(*opened)->durable()) settled->active = *opened;
  entries_[table.digest()] = std::move(settled);
  return opened;
}

// With change_mutex_ held and the entry busy. `directory`/table is written.
Status BlobStore::turn_settled(Entry& entry, Blob& blob, const content::PieceTable& table) {
  FileSystem& fs = context_->fs;
  const std::string directory = context_->blob_directory(entry.meta);
  const content::PieceSet good = blob.freeze(table);
  BlobMeta meta = entry.meta;
  meta.digest = table.digest();
  meta.settled = true;
  // Until meta.json is replaced this is the old blob with its old record.
  SHOAL_TRY(replace_file(fs, directory + kNextRecord,
                         encode_synced(table.digest(), table.layout(), good)));
  SHOAL_TRY(fs.sync_directory(directory));
  SHOAL_TRY(write_meta(meta, directory));
  SHOAL_TRY(fs.sync_directory(directory));
  return finish_settling(meta, directory);
}

// From "meta.json says that it is settled" to the place where settled blobs are.
Status BlobStore::finish_settling(const BlobMeta& meta, const std::string& directory) {
  FileSystem& fs = context_->fs;
  const std::string hex = meta.digest.hex();
  const std::string shard = context_->shard_directory(hex, true);
  SHOAL_TRY(ensure_directory(fs, shard));
  SHOAL_TRY(fs.sync_directory(context_->blob_root(true)));
  const std::string place = context_->blob_directory(meta);
  if (fs.stat(place)) {
    // Only after a crash: it has come here by another way since.
    const std::string doomed = context_->temporary_directory() + "/" + hex + "-" + random_hex(4);
    SHOAL_TRY(fs.rename(directory, doomed));
    return remove_all(fs, doomed);
  }
  Status record = fs.rename(directory + kNextRecord, directory + "/synced");
  if (!record && record.error().code() != Errc::kNotFound) return record;
  SHOAL_TRY(fs.sync_directory(directory));
  SHOAL_TRY(fs.rename(directory, place));
  if (Status named = fs.sync_directory(shard); !named) {
    // Back, so that the caller finds it where it was.
    (void)fs.rename(place, directory).has_value();
    return named;
  }
  if (auto gone = fs.unlink(place + "/hashes"); !gone && gone.error().code() != Errc::kNotFound) {
    log::warn("the learnt hashes of a settled blob stay", {{"blob", hex}, {"err", gone.error()}});
  }
  return {};
}

}  // namespace shoal::store
