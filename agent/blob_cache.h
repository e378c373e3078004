// Blobs that are in use, kept open: finding a complete blob in the store means opening it and
// checking its whole piece table, too much for every request.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread safe. Lifetime: borrows the store.
class BlobCache {
 public:
  explicit BlobCache(store::BlobStore& store) : store_(store) {}

  // From the cache, else from the store (which may read the disk). Errors: those of
  // BlobStore::find.
  Result<std::shared_ptr<store::Blob>> find(const content::Digest& digest);

  // The blob is also to be found by another name, which it had before it was settled, until that is
  // forgotten.
  void also(const content::Digest& name, std::shared_ptr<store::Blob> blob);

  // Lets go of a blob that was removed from the store, or of its other name.
  void forget(const content::Digest& digest);
  void clear();

 private:
  static constexpr std::size_t kKept = 256;
  using Order = std::list<std::shared_ptr<store::Blob>>;

  store::BlobStore& store_;
  std::mutex mutex_;
  Order recent_;                                                  // guarded by mutex_; newest first
  std::unordered_map<content::Digest, Order::iterator> entries_;  // guarded by mutex_
  // Guarded by mutex_; by their other names.
  std::unordered_map<content::Digest, std::shared_ptr<store::Blob>> also_;
};

}  // namespace shoal::agent
