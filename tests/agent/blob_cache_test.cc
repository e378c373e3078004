#include "agent/blob_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/agent/temp_store.h"

namespace shoal::agent {
namespace {

TEST(BlobCache, KeepsABlobOpenUntilItIsForgotten) {
  TempStore store;
  BlobCache cache(*store);
  TestBlob blob = make_blob(100'000, 1);
  std::weak_ptr<store::Blob> watched;
  {
    std::shared_ptr<store::Blob> stored = store.full(blob);
    ASSERT_TRUE(stored->sync());
    store->maintain();
    watched = stored;
    EXPECT_EQ(cache.find(blob.table.digest()).value(), stored);
  }
  EXPECT_FALSE(watched.expired()) << "the cache keeps it";
  cache.forget(blob.table.digest());
  EXPECT_TRUE(watched.expired()) << "nobody else does: the store lets go of durable blobs";
  EXPECT_TRUE(cache.find(blob.table.digest()));
}

TEST(BlobCache, DoesNotRememberThatABlobIsMissing) {
  TempStore store;
  BlobCache cache(*store);
  TestBlob blob = make_blob(1000, 1);
  auto missing = cache.find(blob.table.digest());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Errc::kNotFound);
  std::shared_ptr<store::Blob> stored = store.full(blob);
  EXPECT_EQ(cache.find(blob.table.digest()).value(), stored);
}

TEST(BlobCache, LetsGoOfTheLeastRecentlyUsed) {
  TempStore store;
  BlobCache cache(*store);
  std::vector<std::weak_ptr<store::Blob>> watched;
  std::vector<content::Digest> digests;
  for (std::uint64_t i = 0; i < 258; ++i) {
    TestBlob blob = make_blob(100 + i, i);
    std::shared_ptr<store::Blob> stored = store.full(blob);
    ASSERT_TRUE(stored->sync());
    watched.push_back(stored);
    digests.push_back(blob.table.digest());
    ASSERT_TRUE(cache.find(digests.back()));
    ASSERT_TRUE(cache.find(digests.front()));  // stays in use
  }
  store->maintain();
  EXPECT_FALSE(watched[0].expired());
  EXPECT_TRUE(watched[1].expired());
  EXPECT_FALSE(watched.back().expired());
  cache.clear();
  EXPECT_TRUE(watched.back().expired());
}

TEST(BlobCache, ServesManyThreads) {
  TempStore store;
  BlobCache cache(*store);
  std::vector<TestBlob> blobs;
  for (std::uint64_t i = 0; i < 4; ++i) {
    blobs.push_back(make_blob(1000 + i, i));
    store.full(blobs.back());
  }
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const content::Digest& digest = blobs[static_cast<std::size_t>(i + t) % 4].table.digest();
        auto found = cache.find(digest);
        if (!found || (*found)->digest() != digest) ++failed;
        if (i % 50 == t) cache.forget(digest);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
}

}  // namespace
}  // namespace shoal::agent
