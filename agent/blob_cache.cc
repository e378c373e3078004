#include "agent/blob_cache.h"

namespace shoal::agent {

Result<std::shared_ptr<store::Blob>> BlobCache::find(const content::Digest& digest) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = entries_.find(digest); it != entries_.end()) {
      recent_.splice(recent_.begin(), recent_, it->second);
      return *it->second;
    }
    if (auto it = also_.find(digest); it != also_.end()) return it->second;
  }
  // Not under the lock: it may read the disk. Two threads may both find it; the store gives both
  // the same blob.
  Result<std::shared_ptr<store::Blob>> found = store_.find(digest);
  if (!found) return found;
  std::lock_guard lock(mutex_);
  if (!entries_.contains(digest)) {
    recent_.push_front(*found);
    entries_[digest] = recent_.begin();
    if (recent_.size() > kKept) {
      entries_.erase(recent_.back()->digest());
      recent_.pop_back();
    }
  }
  return found;
}

void BlobCache::also(const content::Digest& name, std::shared_ptr<store::Blob> blob) {
  std::lock_guard lock(mutex_);
  also_[name] = std::move(blob);
}

void BlobCache::forget(const content::Digest& digest) {
  std::lock_guard lock(mutex_);
  also_.erase(digest);
  auto it = entries_.find(digest);
  if (it == entries_.end()) return;
  recent_.erase(it->second);
  entries_.erase(it);
}

void BlobCache::clear() {
  std::lock_guard lock(mutex_);
  entries_.clear();
  also_.clear();
  recent_.clear();
}

}  // namespace shoal::agent
