// A blob store in a folder of its own that goes with it, and blobs of random bytes to put in.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"
#include "core/store/blob_store.h"
#include "core/store/file_system.h"

namespace shoal::agent {

// SHOAL_TEST_SEED or a random number; shown when the test fails.
inline std::uint64_t test_seed() {
  static const std::uint64_t seed = [] {
    const char* given = std::getenv("SHOAL_TEST_SEED");
    std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : random_u64();
    ::testing::Test::RecordProperty("seed", std::to_string(value));
    return value;
  }();
  return seed;
}

struct TestBlob {
  content::PieceTable table;
  std::vector<std::byte> bytes;

  const content::BlobLayout& layout() const { return table.layout(); }
  std::span<const std::byte> range(ByteRange range) const {
    return std::span(bytes).subspan(range.offset, range.length);
  }
  std::span<const std::byte> piece(std::uint32_t index) const {
    return range(layout().range_of(content::PieceIndex(index)));
  }
};

inline std::vector<std::byte> random_bytes(std::uint64_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    const std::uint64_t number = random.next();
    std::memcpy(bytes.data() + at, &number, std::min<std::size_t>(sizeof number, size - at));
  }
  return bytes;
}

inline TestBlob make_blob(std::uint64_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes = random_bytes(size, seed);
  content::BlobHasher hasher((content::BlobLayout(size)));
  EXPECT_TRUE(hasher.update(bytes));
  return {content::PieceTable::make(hasher.finish().value()), std::move(bytes)};
}

class TempStore {
 public:
  TempStore() : root_(parent() / ("shoal-agent-" + random_hex(8))) {
    std::filesystem::create_directory(root_);
    store::StoreConfig config;
    config.store_directory = (root_ / "store").string();
    config.runtime_directory = (root_ / "runtime").string();
    config.limits.free_space_floor = 0;
    store_ = store::BlobStore::open(std::move(config), store::real_file_system()).value();
  }
  ~TempStore() {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  TempStore(const TempStore&) = delete;
  TempStore& operator=(const TempStore&) = delete;

  store::BlobStore& operator*() { return *store_; }
  store::BlobStore* operator->() { return store_.get(); }
  std::string path(const std::string& name) const { return (root_ / name).string(); }

  std::shared_ptr<store::Blob> empty(const TestBlob& blob) {
    return store_->create(blob.table, store::Reservation::kSparse).value();
  }
  std::shared_ptr<store::Blob> with(const TestBlob& blob, content::PieceRange pieces) {
    std::shared_ptr<store::Blob> stored = empty(blob);
    if (!pieces.empty()) {
      EXPECT_TRUE(stored->commit(pieces.first, blob.range(blob.layout().range_of(pieces))));
    }
    return stored;
  }
  std::shared_ptr<store::Blob> full(const TestBlob& blob) {
    return with(blob, blob.layout().all_pieces());
  }

 private:
  // In memory where possible: what survives a crash is tested elsewhere, and disks are slow.
  static std::filesystem::path parent() {
    const std::filesystem::path memory = "/dev/shm";
    return ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
  }

  const std::filesystem::path root_;
  std::unique_ptr<store::BlobStore> store_;
};

// Whether the stored blob holds exactly these bytes.
inline bool holds(store::Blob& stored, const TestBlob& blob) {
  std::vector<std::byte> read(blob.bytes.size());
  return stored.complete() && stored.read({0, read.size()}, read) && read == blob.bytes;
}

// Open descriptors of this process.
inline std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

}  // namespace shoal::agent
