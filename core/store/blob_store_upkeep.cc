// What a store does now and then: makes room, syncs, notes use; and how it ends.

#include <limits>
#include <map>
#include <utility>

#include "core/base/log.h"
#include "core/store/blob_store.h"
#include "core/store/store_context.h"
#include "core/store/store_entry.h"

namespace shoal::store {
namespace {

// "Last used" is only for the order of eviction: an hour more or less does not matter.
constexpr std::int64_t kNoteUseAfterNs = 3'600LL * 1'000'000'000;

}  // namespace

void BlobStore::set_eviction_chooser(EvictionChooser chooser) {
  std::lock_guard lock(mutex_);
  chooser_ = std::move(chooser);
}

const SpaceLimits& BlobStore::limits() const { return context_->budget.limits(); }

SpaceReport BlobStore::space() const {
  return {.capacity = context_->budget.limits().capacity, .use = context_->budget.use()};
}

std::vector<content::Digest> BlobStore::make_room(std::uint64_t incoming) {
  std::lock_guard room(room_mutex_);
  const std::uint64_t bytes =
      bytes_to_free(context_->budget.limits(), context_->budget.use(), incoming);
  if (bytes == 0) return {};
  std::map<content::Digest, BlobInfo> infos;
  EvictionChooser chooser;
  {
    std::lock_guard lock(mutex_);
    chooser = chooser_;
    for (const auto& [digest, entry] : entries_) {
      // An incomplete blob that somebody besides us holds is being fetched.
      const bool fetching =
          !entry->account->durable && entry->blob.use_count() > (entry->active ? 1 : 0);
      if (entry->busy || fetching || !entry->meta.pins.empty() ||
          entry->account->open_readers > 0) {
        continue;
      }
      infos.emplace(digest, describe(*entry));
    }
  }
  std::vector<EvictionCandidate> candidates;
  for (const auto& [digest, info] : infos) {
    candidates.push_back({.digest = digest, .bytes = info.used, .last_used_ns = info.last_used_ns});
  }
  if (!chooser) return evict({.blobs = choose_evictions(candidates, bytes)});
  std::vector<BlobInfo> in_order;
  for (const content::Digest& digest :
       choose_evictions(candidates, std::numeric_limits<std::uint64_t>::max())) {
    in_order.push_back(std::move(infos.at(digest)));
  }
  if (in_order.empty()) return {};
  return evict(chooser(in_order, bytes));
}

std::vector<content::Digest> BlobStore::evict(const EvictionChoice& choice) {
  std::vector<content::Digest> evicted;
  for (const content::Digest& digest : choice.blobs) {
    if (std::chrono::steady_clock::now() >= choice.until) break;
    if (auto removed = remove_if(digest, RemoveWhen::kEvictable); removed) {
      evicted.push_back(digest);
      if (context_->listener) context_->listener->blob_evicted(digest);
    } else {
      // Pinned, opened or removed in between, or the disk failed; the next call sees what is left.
      log::debug("not evicted", {{"blob", digest.str()}, {"err", removed.error()}});
    }
  }
  return evicted;
}

MaintainReport BlobStore::maintain() {
  MaintainReport report;
  report.evicted = make_room(0);
  for (const std::shared_ptr<Blob>& blob : live_blobs()) {
    if (blob->durable() || blob->failed()) continue;
    if (!blob->complete() && blob->unsynced_bytes() < sync_after_) continue;
    if (auto synced = blob->sync(); !synced) {
      report.sync_errors.emplace_back(blob->digest(), synced.error());
    }
  }
  {
    std::lock_guard lock(mutex_);
    for (const auto& [digest, entry] : entries_) {
      if (entry->account->durable) {
        entry->active.reset();
      } else if (!entry->active) {
        entry->active = entry->blob.lock();
      }
    }
  }
  note_use(kNoteUseAfterNs);
  return report;
}

void BlobStore::note_use(std::int64_t at_least_newer_ns) {
  std::lock_guard changes(change_mutex_);
  std::vector<std::pair<std::string, std::int64_t>> notes;  // directory, time
  {
    std::lock_guard lock(mutex_);
    for (const auto& [digest, entry] : entries_) {
      const std::int64_t used = entry->account->last_used_ns;
      if (entry->busy || used <= entry->noted_use_ns + at_least_newer_ns) continue;
      entry->noted_use_ns = used;
      notes.emplace_back(context_->blob_directory(entry->meta), used);
    }
  }
  for (const auto& [directory, used] : notes) {
    // Lost on failure: then the blob counts as used when it was noted last.
    (void)context_->fs.set_mtime(directory + "/meta.json", used).has_value();
  }
}

Status BlobStore::close() {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return {};
  }
  note_use(0);
  Status result;
  for (const std::shared_ptr<Blob>& blob : live_blobs()) {
    auto synced = blob->sync();
    if (!synced && result) result = synced;
    blob->mark_removed();
  }
  std::lock_guard lock(mutex_);
  closed_ = true;
  entries_.clear();
  store_lock_.reset();
  runtime_lock_.reset();
  return result;
}

}  // namespace shoal::store
