// Brings blobs here that somebody reads through the mirror: finds the piece table, makes the blob
// in the store and wants its pieces, what readers read next before the rest. However many read a
// blob, it is fetched once; when nobody reads it any more, its demand ends.
#pragma once

#include "core/async/task.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/mirror/content.h"
#include "agent/model/pulls.h"
#include "agent/model/table_finder.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/inventory.h"
#include "agent/swarm/readers.h"
#include "agent/tracker/catalogue_client.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/thread_check.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Fills : OneThreadOnly {
 public:
  struct Parts {
    store::BlobStore& store;
    BlobCache& blobs;
    Inventory& inventory;
    Fetcher& fetcher;
    Readers& readers;
    const Pulls& pulls;
    CatalogueClient& catalogue;
    TableFinder& tables;
    BlockingPool& pool;
  };

  Fills(Executor executor, Parts parts);
  ~Fills();

  // See MirrorContent.
  Readers::Id begin(MirrorBlob blob, ByteRange range, std::string pull_id);
  Task<Result<std::shared_ptr<store::Blob>>> opened(Readers::Id reader, Deadline deadline);
  std::string advance(Readers::Id reader, std::uint64_t offset);
  void end(Readers::Id reader);

  Task<void> stop();

 private:
  // A blob that is read.
  struct Fill {
    explicit Fill(Executor executor) : stop(std::move(executor)) {}
    MirrorBlob part;
    std::string pull_id;
    std::size_t readers = 0;
    std::shared_ptr<store::Blob> blob;  // null until it can be read
    std::vector<api::Origin> origins;
    std::optional<Error> error;  // it cannot be had
    std::string doing;           // what it waits for until then
    Event stop;                  // nobody reads it any more
  };
  struct Reader {
    std::shared_ptr<Fill> fill;
    ByteRange range;
    std::uint64_t offset = 0;
  };

  Task<void> bring(std::shared_ptr<Fill> fill);
  Task<Result<std::shared_ptr<store::Blob>>> find_or_make(std::shared_ptr<Fill> fill);
  Task<Status> pause(std::shared_ptr<Fill> fill, Error why, std::string what);
  void fetch(Fill& fill);
  void forget(const Fill& fill);
  void want(Readers::Id id, const Reader& reader);

  // Constant after construction
  const Executor executor_;
  const Parts parts_;

  std::unordered_map<content::Digest, std::shared_ptr<Fill>> fills_;  // shared with their tasks
  std::map<Readers::Id, Reader> readers_;
  Condition changed_;  // a blob can be read, or cannot be had
  Event stop_;
  TaskGroup tasks_;
};

}  // namespace shoal::agent
