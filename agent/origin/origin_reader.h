// Carries out transfers from origins on threads of its own, because origins block.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/origin/origin.h"
#include "agent/transfer.h"
#include "core/async/blocking_pool.h"
#include "core/async/task_group.h"

namespace shoal::agent {

// Thread: fetch, cancel and stop on the control thread; `report` is called on the reader's threads
// and on the control thread. Lifetime: borrows the origins; stop() must have ended before
// destruction.
class OriginReader {
 public:
  using Report = std::function<void(TransferEvent)>;

  OriginReader(Executor control, std::vector<std::unique_ptr<Origin>> origins, std::size_t threads,
               Report report);
  ~OriginReader();
  OriginReader(const OriginReader&) = delete;
  OriginReader& operator=(const OriginReader&) = delete;

  // Whether some origin of this node answers for that URL's scheme.
  bool can_read(const std::string& url) const;

  // Reads the transfer's pieces from the file at `url`, which is that blob. The file's version is
  // pinned by the first read of it: a later change ends transfers as kChanged.
  void fetch(Transfer transfer, std::string url);
  void cancel(swarm::RequestId id);

  // What was pinned for a URL; nothing before the first read.
  std::optional<std::string> version(const std::string& url) const;

  Task<void> stop();

 private:
  Task<void> run(Transfer transfer, std::string url, std::shared_ptr<CancelFlag> cancel);
  TransferEvent read(const Transfer& transfer, const std::string& url, const CancelFlag& cancel);
  OriginStatus pin(Origin& origin, const std::string& url, std::uint64_t size, OriginFile& file,
                   const CancelFlag& cancel);
  Origin* origin_for(const std::string& url) const;

  // Constant after construction
  const std::vector<std::unique_ptr<Origin>> origins_;
  const Report report_;

  TaskGroup tasks_;                                                            // control thread
  std::unordered_map<swarm::RequestId, std::shared_ptr<CancelFlag>> running_;  // control thread
  mutable std::mutex mutex_;
  std::unordered_map<std::string, OriginFile> files_;  // guarded by mutex_; by URL
  BlockingPool pool_;
};

}  // namespace shoal::agent
