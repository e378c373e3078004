// The blobs that peers read just now, kept open and safe from eviction: from the first read on,
// until nobody has read for a while. Opening a blob for each block would check its piece table each
// time; keeping all blobs of all torrents open would leave the store nothing to evict.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/store/blob.h"

namespace shoal::agent::bittorrent {

// Thread safe. Lifetime: what it opened is closed by clear() or the destructor, before the store.
class OpenBlobs {
 public:
  using Clock = std::chrono::steady_clock;
  using Find = std::function<Result<std::shared_ptr<store::Blob>>(const content::Digest&)>;

  // `find` may read the disk; called on the threads that call use().
  explicit OpenBlobs(Find find) : find_(std::move(find)) {}

  // Blocks if the blob is not open yet. Errors: find's, and conflict for one that was withdrawn.
  Result<std::shared_ptr<store::Blob>> use(const content::Digest& digest, Clock::time_point now);

  // Closes those that were not used since then.
  void close_unused_since(Clock::time_point then);
  void forget(const content::Digest& digest);
  void clear();
  std::size_t size() const;

 private:
  // Each costs three descriptors.
  static constexpr std::size_t kMost = 256;

  struct Entry {
    std::shared_ptr<store::Blob> blob;
    // None where there are no descriptors left for it: what is open stays readable when it is
    // evicted all the same.
    std::optional<store::ReadLease> lease;
    Clock::time_point used;
  };

  const Find find_;
  mutable std::mutex mutex_;
  std::unordered_map<content::Digest, Entry> entries_;  // guarded by mutex_
};

}  // namespace shoal::agent::bittorrent
