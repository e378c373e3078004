// Turns blobs that were brought in without a piece table into those of their tables, for all of
// this agent: store, transfers, and what peers are told.
#pragma once

#include "core/async/task.h"

#include <memory>

#include "agent/blob_cache.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/hash_book.h"
#include "agent/swarm/inventory.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/content/piece_table.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Settler {
 public:
  Settler(Executor executor, store::BlobStore& store, BlobCache& blobs, Fetcher& fetcher,
          Inventory& inventory, HashBook& hashes, BlockingPool& pool);

  // What goes by `name` becomes the table's blob. Peers who know the name only still get its pieces
  // by it, until it is retired. Demand for the name ends. Errors: not_found (nothing here goes by
  // either name); those of BlobStore::settle().
  Task<Result<std::shared_ptr<store::Blob>>> settle(content::Digest name,
                                                    content::PieceTable table);
  // Nobody needs the name of the blob `settled` any more, in a while.
  void retire(const content::Digest& name, const content::Digest& settled);
  // What goes by the name and is not settled is removed, and demand for it ends.
  Task<void> drop(content::Digest name);

  Task<void> stop();

 private:
  Task<void> forget_later(content::Digest name);
  void forget(const content::Digest& name);

  store::BlobStore& store_;
  BlobCache& blobs_;
  Fetcher& fetcher_;
  Inventory& inventory_;
  HashBook& hashes_;
  BlockingPool& pool_;
  TaskGroup tasks_;
  Event stop_;
};

}  // namespace shoal::agent
