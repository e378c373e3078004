#include "agent/bittorrent/open_blobs.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace shoal::agent::bittorrent {

Result<std::shared_ptr<store::Blob>> OpenBlobs::use(const content::Digest& digest,
                                                    Clock::time_point now) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = entries_.find(digest); it != entries_.end()) {
      it->second.used = std::max(it->second.used, now);
      return it->second.blob;
    }
  }
  // Not under the lock: it reads the disk. Of two threads that do it, one keeps what it opened.
  Result<std::shared_ptr<store::Blob>> found = find_(digest);
  if (!found) return found;
  Entry entry{*found, std::nullopt, now};
  if (Result<store::ReadLease> lease = (*found)->open_reader(); lease) {
    entry.lease.emplace(std::move(*lease));
  } else if (lease.error().code() != Errc::kOverloaded) {
    return fail(lease.error());
  }
  Entry oldest;  // closed without the lock
  std::lock_guard lock(mutex_);
  if (!entries_.contains(digest) && entries_.size() >= kMost) {
    auto it = std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    });
    oldest = std::move(it->second);
    entries_.erase(it);
  }
  return entries_.try_emplace(digest, std::move(entry)).first->second.blob;
}

void OpenBlobs::close_unused_since(Clock::time_point then) {
  std::vector<Entry> closing;
  std::lock_guard lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->second.used >= then) {
      ++it;
      continue;
    }
    closing.push_back(std::move(it->second));
    it = entries_.erase(it);
  }
}

void OpenBlobs::forget(const content::Digest& digest) {
  Entry closing;
  std::lock_guard lock(mutex_);
  auto it = entries_.find(digest);
  if (it == entries_.end()) return;
  closing = std::move(it->second);
  entries_.erase(it);
}

void OpenBlobs::clear() {
  std::unordered_map<content::Digest, Entry> closing;
  std::lock_guard lock(mutex_);
  closing.swap(entries_);
}

std::size_t OpenBlobs::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace shoal::agent::bittorrent
