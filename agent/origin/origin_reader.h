// Carries out transfers from origins on threads of its own, because origins block.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "agent/origin/origin.h"
#include "agent/transfer.h"
#include "core/async/blocking_pool.h"
#include "core/async/task_group.h"
#include "core/content/digest.h"

namespace shoal::agent {

// Thread: fetch, cancel and stop on the control thread; `report` is called on the reader's threads
// and on the control thread. Lifetime: borrows what `find` returns; stop() must have ended before
// destruction.
class OriginReader {
 public:
  using Report = std::function<void(TransferEvent)>;

  // The origin that answers for a URL; null if none does. Called on any thread.
  using Find = std::function<Origin*(std::string_view url)>;

  OriginReader(Executor control, Find find, std::size_t threads, Report report);
  ~OriginReader();
  OriginReader(const OriginReader&) = delete;
  OriginReader& operator=(const OriginReader&) = delete;

  // Whether some origin of this node answers for that URL's scheme.
  bool can_read(const std::string& url) const;

  // Reads the transfer's pieces from the file at `url`, which is that blob. The file's version is
  // pinned by the first read of it for that blob: a later change ends transfers as kChanged, until
  // forget(). What another blob found at the URL before does not matter: the file may have been
  // replaced since.
  void fetch(Transfer transfer, std::string url);
  void cancel(swarm::RequestId id);

  // What was pinned for a blob at a URL; nothing before the first read.
  std::optional<std::string> version(const content::Digest& blob, const std::string& url) const;

  // Lets the next read pin whatever version is there by then.
  void forget(const content::Digest& blob, const std::string& url);

  Task<void> stop();

 private:
  Task<void> run(Transfer transfer, std::string url, std::shared_ptr<CancelFlag> cancel);
  TransferEvent read(const Transfer& transfer, const std::string& url, const CancelFlag& cancel);
  OriginStatus pin(Origin& origin, const store::Blob& blob, const std::string& url,
                   OriginFile& file, const CancelFlag& cancel);

  // Constant after construction
  const Find find_;
  const Report report_;

  TaskGroup tasks_;                                                            // control thread
  std::unordered_map<swarm::RequestId, std::shared_ptr<CancelFlag>> running_;  // control thread
  mutable std::mutex mutex_;
  // Guarded by mutex_; by blob and URL.
  std::map<std::pair<content::Digest, std::string>, OriginFile> files_;
  BlockingPool pool_;
};

}  // namespace shoal::agent
