// The store's own note about one blob. Internal to core/store.
#pragma once

#include <cstdint>
#include <memory>

#include "core/content/layout.h"
#include "core/store/blob.h"
#include "core/store/blob_meta.h"
#include "core/store/blob_store.h"

namespace shoal::store {

struct BlobStore::Entry {
  // All members are guarded by the store's mutex_; the account's are atomic.
  BlobMeta meta;
  std::shared_ptr<BlobAccount> account;  // shared with the Blob
  // Being made or removed: not to be found, and its name not to be taken.
  bool busy = false;
  std::weak_ptr<Blob> blob;
  // Holds the Blob while it is not safe on disk, so that it is synced whoever lets go of it.
  std::shared_ptr<Blob> active;
  std::int64_t noted_use_ns = 0;  // what the disk says about "last used"

  content::BlobLayout layout() const { return content::BlobLayout(meta.size); }
};

}  // namespace shoal::store
