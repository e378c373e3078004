// Making, finding, describing and removing blobs.

#include <utility>

#include "core/base/check.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/store/blob_store.h"
#include "core/store/store_context.h"
#include "core/store/store_entry.h"

namespace shoal::store {

// With mutex_ held. The entry is not busy.
Result<BlobStore::Entry*> BlobStore::lookup(const content::Digest& digest) const {
  if (closed_) return fail(Errc::kConflict, "the store is closed");
  auto found = entries_.find(digest);
  if (found == entries_.end()) {
    return fail(Errc::kNotFound, digest.str() + " is not in the store");
  }
  if (found->second->busy) {
    return fail(Errc::kConflict, digest.str() + " is being made or removed just now");
  }
  return found->second.get();
}

Result<std::shared_ptr<Blob>> BlobStore::find(const content::Digest& digest) {
  auto blob = find_quietly(digest);
  if (blob) (*blob)->note_use();
  return blob;
}

Result<std::shared_ptr<Blob>> BlobStore::find_quietly(const content::Digest& digest) {
  std::lock_guard lock(mutex_);
  auto entry = lookup(digest);
  if (!entry) return fail(entry.error());
  if ((*entry)->account->withdrawn) {
    return fail(Errc::kUnavailable, digest.str() + " was withdrawn, or its source changed");
  }
  if (auto blob = (*entry)->blob.lock()) return blob;
  auto blob = open_blob(**entry);
  if (!blob) {
    (*entry)->account->failed = true;
    return fail(blob.error().with_context("opening " + digest.str()));
  }
  if (!(*blob)->durable()) (*entry)->active = *blob;
  return blob;
}

BlobInfo BlobStore::describe(const Entry& entry) const {
  const BlobAccount& account = *entry.account;
  BlobInfo info;
  info.digest = entry.meta.digest;
  info.size = entry.meta.size;
  info.used = account.used;
  info.piece_count = entry.layout().piece_count();
  info.failed = account.failed;
  info.have_count = info.failed ? 0 : account.have_count.load();
  info.settled = entry.meta.settled;
  info.complete = info.settled && !info.failed && info.have_count == info.piece_count;
  info.in_place = entry.meta.in_place.has_value();
  info.open_readers = account.open_readers;
  info.last_used_ns = account.last_used_ns;
  info.pins = entry.meta.pins;
  info.annotations = entry.meta.annotations;
  return info;
}

std::vector<BlobInfo> BlobStore::list() const {
  std::lock_guard lock(mutex_);
  std::vector<BlobInfo> infos;
  for (const auto& [digest, entry] : entries_) {
    if (!entry->busy) infos.push_back(describe(*entry));
  }
  return infos;
}

Result<BlobInfo> BlobStore::info(const content::Digest& digest) const {
  std::lock_guard lock(mutex_);
  auto entry = lookup(digest);
  if (!entry) return fail(entry.error());
  return describe(**entry);
}

std::vector<std::shared_ptr<Blob>> BlobStore::live_blobs() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Blob>> blobs;
  for (const auto& [digest, entry] : entries_) {
    if (entry->busy) continue;
    if (auto blob = entry->blob.lock()) blobs.push_back(std::move(blob));
  }
  return blobs;
}

std::vector<std::shared_ptr<Blob>> BlobStore::unchecked() const {
  std::vector<std::shared_ptr<Blob>> blobs = live_blobs();
  std::erase_if(blobs, [](const auto& blob) { return !blob->needs_recheck(); });
  return blobs;
}

Result<std::shared_ptr<Blob>> BlobStore::create(const content::PieceTable& table,
                                                Reservation reservation, std::set<std::string> pins,
                                                std::map<std::string, std::string> annotations) {
  Order order;
  order.table = &table;
  order.meta.reservation = reservation;
  order.meta.pins = std::move(pins);
  order.meta.annotations = std::move(annotations);
  auto made = make(std::move(order));
  if (!made) return fail(made.error());
  return made->blob;
}

Result<std::shared_ptr<Blob>> BlobStore::create_unsettled(const content::Digest& name,
                                                          std::uint64_t size,
                                                          Reservation reservation) {
  SHOAL_CHECK(size != 0, "an empty blob is settled by definition");
  SHOAL_TRY(content::BlobLayout::of_size(size));
  Order order;
  order.meta.digest = name;
  order.meta.size = size;
  order.meta.settled = false;
  order.meta.reservation = reservation;
  auto made = make(std::move(order));
  if (!made) return fail(made.error());
  return made->blob;
}

Result<std::shared_ptr<Blob>> BlobStore::existing(const Order& order) {
  const BlobMeta& wanted = order.meta;
  auto blob = find(wanted.digest);
  if (!blob) return fail(blob.error());
  if ((*blob)->layout().size() != wanted.size) {
    return fail(Errc::kConflict, "the store holds " + wanted.digest.str() + " with another size");
  }
  if (order.table != nullptr && !(*blob)->settled()) return settle(wanted.digest, *order.table);
  if (order.table != nullptr) {
    auto same = (*blob)->table().expect(wanted.digest, wanted.size, order.table->pieces_root());
    if (!same) {
      return fail(Errc::kConflict, "the store holds " + wanted.digest.str() +
                                       " with another piece table: " + same.error().message());
    }
  }
  if (!wanted.pins.empty() || !wanted.annotations.empty()) {
    SHOAL_TRY(change_meta(wanted.digest, [&](BlobMeta& meta) {
      meta.pins.insert(wanted.pins.begin(), wanted.pins.end());
      for (const auto& [key, value] : wanted.annotations) meta.annotations[key] = value;
    }));
  }
  return blob;
}

Result<BlobStore::Made> BlobStore::make(Order order) {
  if (order.table != nullptr) {
    order.meta.digest = order.table->digest();
    order.meta.size = order.table->layout().size();
  }
  const content::Digest digest = order.meta.digest;
  SHOAL_TRY(encode_meta(order.meta));  // before anything is made for it

  auto account = std::make_shared<BlobAccount>();
  for (bool reserved = false; !reserved;) {
    bool gone = false;
    {
      std::lock_guard lock(mutex_);
      if (closed_) return fail(Errc::kConflict, "the store is closed");
      auto [place, inserted] = entries_.try_emplace(digest);
      if (inserted) {
        place->second = std::make_unique<Entry>();
        place->second->meta = order.meta;
        place->second->account = account;
        place->second->busy = true;
        reserved = true;
      } else {
        // An in-place blob whose source is lost holds nothing: the new one takes its name.
        gone =
            !place->second->busy && place->second->meta.in_place && place->second->account->failed;
      }
    }
    if (reserved) break;
    if (gone) {
      SHOAL_TRY(remove_if(digest, RemoveWhen::kAlways));
      continue;
    }
    auto blob = existing(order);
    if (blob) return Made{.blob = *blob, .existed = true};
    // A source found lost only now: once more around.
    if (blob.error().code() != Errc::kUnavailable) return fail(blob.error());
  }

  auto made = build(order, account);
  std::lock_guard lock(mutex_);
  auto place = entries_.find(digest);
  SHOAL_CHECK(place != entries_.end() && place->second->busy, "the name is held for this blob");
  if (!made) {
    entries_.erase(place);
    return fail(made.error().with_context("making " + digest.str()));
  }
  Entry& entry = *place->second;
  entry.account->last_used_ns = context_->now_ns();
  entry.noted_use_ns = entry.account->last_used_ns;
  entry.blob = made->blob;
  if (!made->blob->durable()) entry.active = made->blob;
  entry.busy = false;
  return made;
}

Result<BlobStore::Made> BlobStore::build(const Order& order,
                                         const std::shared_ptr<BlobAccount>& account) {
  FileSystem& fs = context_->fs;
  const std::string hex = order.meta.digest.hex();
  const std::string place = context_->blob_directory(order.meta);
  const std::string fresh = context_->temporary_directory() + "/" + hex + "-" + random_hex(4);
  const bool own_bytes = !order.meta.in_place;
  const std::uint64_t charged =
      own_bytes && order.meta.reservation == Reservation::kFull ? order.meta.size : 0;
  if (charged != 0) {
    make_room(charged);
    SHOAL_TRY(context_->budget.charge(charged));
  }
  Made made;
  // Everything is made in tmp/ and gets its place by one rename: there it is whole or not at all.
  auto fill = [&]() -> Status {
    SHOAL_TRY(fill_directory(order, fresh, made.reflinked));
    std::lock_guard changes(change_mutex_);
    const std::string shard = context_->shard_directory(hex, order.meta.settled);
    SHOAL_TRY(ensure_directory(fs, shard));
    SHOAL_TRY(fs.sync_directory(context_->blob_root(order.meta.settled)));
    SHOAL_TRY(fs.rename(fresh, place));
    auto named = fs.sync_directory(shard);
    if (!named) {
      // Back out of sight: the caller is told that there is no such blob.
      (void)fs.rename(place, fresh).has_value();
    }
    return named;
  };
  auto open = [&]() -> Result<std::shared_ptr<Blob>> {
    Entry entry;
    entry.meta = order.meta;
    entry.account = account;
    return open_blob(entry);
  };
  auto filled = fill();
  Result<std::shared_ptr<Blob>> blob = filled ? open() : fail(filled.error());
  if (!blob) {
    if (filled) (void)fs.rename(place, fresh).has_value();
    (void)remove_all(fs, fresh).has_value();
    context_->budget.release_unwritten(charged);
    return fail(blob.error());
  }
  context_->budget.written(charged);
  made.blob = *std::move(blob);
  return made;
}

Status BlobStore::fill_directory(const Order& order, const std::string& directory,
                                 bool& reflinked) {
  FileSystem& fs = context_->fs;
  SHOAL_TRY(fs.make_directory(directory));
  if (!order.meta.in_place) {
    // The blob's own bytes; others get descriptors of this file, so nobody may write through them.
    auto data = fs.open(directory + "/data", OpenMode::kCreateNew, 0444);
    if (!data) return fail(data.error());
    if (order.reflink_source >= 0) {
      auto shared = fs.reflink(order.reflink_source, data->get());
      if (!shared && shared.error().code() != Errc::kUnavailable) return shared;
      reflinked = shared.has_value();
    }
    if (!reflinked) {
      SHOAL_TRY(fs.set_size(data->get(), order.meta.size));
      if (order.meta.reservation == Reservation::kFull) {
        auto reserved = reserve_space(fs, directory, data->get(), order.meta.size);
        if (!reserved && reserved.error().code() != Errc::kUnavailable) return reserved;
      }
    }
  }
  if (order.table != nullptr) {
    SHOAL_TRY(replace_file(fs, directory + "/table", order.table->serialise()));
  } else {
    SHOAL_TRY(
        LearntHashes::create(fs, directory + "/hashes", content::BlobLayout(order.meta.size)));
  }
  SHOAL_TRY(write_meta(order.meta, directory));
  return fs.sync_directory(directory);
}

Status BlobStore::write_meta(const BlobMeta& meta, const std::string& directory) {
  auto text = encode_meta(meta);
  if (!text) return fail(text.error());
  return replace_file(context_->fs, directory + "/meta.json",
                      std::as_bytes(std::span(text->data(), text->size())));
}

Status BlobStore::change_meta(const content::Digest& digest,
                              const std::function<void(BlobMeta&)>& change) {
  std::lock_guard changes(change_mutex_);
  BlobMeta meta;
  {
    std::lock_guard lock(mutex_);
    auto entry = lookup(digest);
    if (!entry) return fail(entry.error());
    meta = (*entry)->meta;
    change(meta);
    if (meta == (*entry)->meta) return {};
  }
  const std::string directory = context_->blob_directory(meta);
  SHOAL_TRY(write_meta(meta, directory));
  SHOAL_TRY(context_->fs.sync_directory(directory));
  std::lock_guard lock(mutex_);
  auto entry = lookup(digest);
  if (!entry) return fail(entry.error());
  (*entry)->meta = std::move(meta);
  return {};
}

Status BlobStore::pin(const content::Digest& digest, const std::string& name) {
  return change_meta(digest, [&](BlobMeta& meta) { meta.pins.insert(name); });
}

Status BlobStore::unpin(const content::Digest& digest, const std::string& name) {
  return change_meta(digest, [&](BlobMeta& meta) { meta.pins.erase(name); });
}

Status BlobStore::annotate(const content::Digest& digest, const std::string& key,
                           const std::string& value) {
  return change_meta(digest, [&](BlobMeta& meta) {
    if (value.empty()) {
      meta.annotations.erase(key);
    } else {
      meta.annotations[key] = value;
    }
  });
}

Status BlobStore::remove(const content::Digest& digest) {
  return remove_if(digest, RemoveWhen::kUnpinned);
}

Status BlobStore::remove_if(const content::Digest& digest, RemoveWhen when) {
  FileSystem& fs = context_->fs;
  std::lock_guard changes(change_mutex_);
  Entry* entry = nullptr;
  std::shared_ptr<Blob> blob;
  std::string directory;
  {
    std::lock_guard lock(mutex_);
    auto found = lookup(digest);
    if (!found) return fail(found.error());
    entry = *found;
    directory = context_->blob_directory(entry->meta);
    if (when != RemoveWhen::kAlways && !entry->meta.pins.empty()) {
      std::string names;
      for (const std::string& pin : entry->meta.pins) names += (names.empty() ? "" : ", ") + pin;
      return fail(Errc::kConflict, digest.str() + " is pinned by " + names);
    }
    if (when == RemoveWhen::kEvictable && entry->account->open_readers > 0) {
      return fail(Errc::kConflict, digest.str() + " was opened");
    }
    entry->busy = true;
    blob = entry->blob.lock();
  }
  const std::string doomed =
      context_->temporary_directory() + "/" + digest.hex() + "-" + random_hex(4);
  if (auto moved = fs.rename(directory, doomed); !moved) {
    std::lock_guard lock(mutex_);
    entry->busy = false;
    return fail(moved.error().with_context("removing " + digest.str()));
  }
  if (blob) blob->mark_removed();
  if (auto gone = remove_all(fs, doomed); !gone) {
    log::warn("a removed blob's files stay until the next start",
              {{"blob", digest.str()}, {"err", gone.error()}});
  }
  context_->budget.release(entry->account->used);
  std::lock_guard lock(mutex_);
  entries_.erase(digest);
  return {};
}

}  // namespace shoal::store
