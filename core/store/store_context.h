// What all blobs of one store share. Internal to core/store.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "core/store/blob.h"
#include "core/store/blob_meta.h"
#include "core/store/file_system.h"
#include "core/store/space_budget.h"
#include "core/store/writeback.h"

namespace shoal::store {

struct StoreContext {
  StoreContext(FileSystem& file_system, BlobListener* blob_listener, const std::string& directory,
               std::string runtime, const SpaceLimits& limits, std::uint64_t max_dirty,
               std::function<std::int64_t()> clock)
      : fs(file_system),
        listener(blob_listener),
        store_directory(directory),
        runtime_directory(std::move(runtime)),
        now_ns(std::move(clock)),
        budget(file_system, directory, limits),
        writeback(file_system, max_dirty) {}

  // docs/formats/store.md, "Layout"
  std::string blob_root(bool settled) const {
    return store_directory + (settled ? "/blobs/sha256" : "/blobs/unsettled");
  }
  std::string shard_directory(const std::string& hex, bool settled) const {
    return blob_root(settled) + "/" + hex.substr(0, 2);
  }
  std::string blob_directory(const std::string& hex, bool settled) const {
    return shard_directory(hex, settled) + "/" + hex;
  }
  std::string blob_directory(const BlobMeta& meta) const {
    return blob_directory(meta.digest.hex(), meta.settled);
  }
  std::string temporary_directory() const { return store_directory + "/tmp"; }
  // A name of its own for each inode of a ready map.
  std::string ready_path(const std::string& hex, std::uint64_t epoch) const {
    return ready_directory() + "/" + hex + "-" + std::to_string(epoch);
  }
  std::string ready_directory() const { return runtime_directory + "/ready"; }

  // Larger with every call in this process; by the clock also larger than in earlier ones.
  std::uint64_t next_epoch() {
    auto now = static_cast<std::uint64_t>(now_ns());
    std::uint64_t last = last_epoch_.load();
    std::uint64_t next = 0;
    do {
      next = std::max(now, last + 1);
    } while (!last_epoch_.compare_exchange_weak(last, next));
    return next;
  }

  FileSystem& fs;
  BlobListener* const listener;  // may be null
  const std::string store_directory;
  const std::string runtime_directory;
  const std::function<std::int64_t()> now_ns;
  SpaceBudget budget;
  Writeback writeback;

 private:
  std::atomic<std::uint64_t> last_epoch_{0};
};

}  // namespace shoal::store
