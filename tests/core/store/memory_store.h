// A store over the memory file system, with a clock that the test moves.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/store/blob_store.h"
#include "tests/core/store/sample_blob.h"
#include "tests/fakes/faulty_file_system.h"
#include "tests/fakes/memory_file_system.h"

namespace shoal::store {

class RecordingListener final : public BlobListener {
 public:
  void pieces_ready(const content::Digest& blob, content::PieceRange some, bool complete) override {
    std::lock_guard lock(mutex_);
    ready.emplace_back(blob, some);
    completions += complete ? 1 : 0;
  }
  void pieces_lost(const content::Digest& blob, const content::PieceSet& some) override {
    std::lock_guard lock(mutex_);
    lost.emplace_back(blob, some);
  }
  void blob_evicted(const content::Digest& blob) override {
    std::lock_guard lock(mutex_);
    evicted.push_back(blob);
  }

  std::vector<std::pair<content::Digest, content::PieceRange>> ready;
  std::vector<std::pair<content::Digest, content::PieceSet>> lost;
  std::vector<content::Digest> evicted;
  int completions = 0;

 private:
  std::mutex mutex_;
};

class MemoryStore : public testing::Test {
 protected:
  static constexpr const char* kDirectory = "/store";
  static constexpr const char* kRuntime = "/run";

  StoreConfig config() {
    StoreConfig config;
    config.store_directory = kDirectory;
    config.runtime_directory = kRuntime;
    config.limits = limits_;
    config.now_ns = [this] { return now_ns_; };
    return config;
  }

  Result<std::unique_ptr<BlobStore>> try_open() {
    return BlobStore::open(config(), faulty_, &listener_);
  }
  void open() {
    auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().str();
    store_ = *std::move(opened);
  }
  void reopen() {
    store_.reset();
    open();
  }

  std::shared_ptr<Blob> create(const SampleBlob& sample,
                               Reservation reservation = Reservation::kFull) {
    auto blob = store_->create(sample.table, reservation);
    EXPECT_TRUE(blob) << blob.error().str();
    return blob ? *blob : nullptr;
  }
  std::shared_ptr<Blob> create_complete(const SampleBlob& sample) {
    auto blob = create(sample);
    EXPECT_TRUE(blob->commit(content::PieceIndex(0), sample.data));
    EXPECT_TRUE(blob->sync());
    return blob;
  }
  std::string blob_directory(const SampleBlob& sample) const {
    const std::string hex = sample.digest().hex();
    return std::string(kDirectory) + "/blobs/sha256/" + hex.substr(0, 2) + "/" + hex;
  }
  // Every ready piece is right, and nothing else can be read.
  static void expect_offers_only_good(Blob& blob, const SampleBlob& sample) {
    for (content::PieceIndex piece : sample.layout().all_pieces()) {
      const ByteRange range = sample.layout().range_of(piece);
      std::vector<std::byte> out(range.length);
      const bool offered = blob.has(piece);
      auto read = blob.read(range, out);
      ASSERT_EQ(read.has_value(), offered) << "piece " << piece.value();
      if (offered) {
        ASSERT_TRUE(sample.table.verify_piece(piece, out)) << "piece " << piece.value();
      }
    }
  }

  fakes::MemoryFileSystem memory_;
  fakes::FaultyFileSystem faulty_{memory_};
  RecordingListener listener_;
  SpaceLimits limits_{.capacity = 512 * kMiB, .free_space_floor = 0.05};
  std::int64_t now_ns_ = 1'700'000'000'000'000'000;
  std::unique_ptr<BlobStore> store_;
};

}  // namespace shoal::store
