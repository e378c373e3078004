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

// What is told of an origin that has another file than the one published; `found` is how that
// shows.
std::string changed_text(std::string_view found);

// Thread: expect, fetch, cancel and stop on the control thread; `report` is called on the reader's
// threads and on the control thread. Lifetime: borrows what `find` returns; stop() must have ended
// before destruction.
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

  // Pins the version that the file at `url` had when it was published as that blob (empty: nobody
  // knows, and nothing is pinned): reads ask for this one from the first on. Told again it changes
  // nothing, also after forget(), for by then something else was there. True if it was news.
  bool expect(const store::Blob& blob, const std::string& url, const std::string& published);

  // Reads the transfer's pieces from the file at `url`, which is that blob. Without a version to
  // expect the first read of it for that blob pins the one that it finds. A change ends transfers
  // as kChanged, until forget(), and also then those that began before. What another blob found at
  // the URL before does not matter: the file may have been replaced since.
  void fetch(Transfer transfer, std::string url);
  void cancel(swarm::RequestId id);

  // What is pinned for a blob at a URL, by expect() or else by the first read.
  std::optional<std::string> version(const content::Digest& blob, const std::string& url) const;

  // Lets the next read pin whatever version is there by then, if it has the blob's size. Its pieces
  // are checked like all others.
  void forget(const content::Digest& blob, const std::string& url);

  Task<void> stop();

 private:
  // A blob's file at a URL.
  struct Known {
    std::string published;           // its version then; empty: not told
    std::optional<OriginFile> file;  // pinned
  };

  Task<void> run(Transfer transfer, std::string url, Known known,
                 std::shared_ptr<CancelFlag> cancel);
  TransferEvent read(const Transfer& transfer, const std::string& url, Known known,
                     const CancelFlag& cancel);
  OriginStatus pin(Origin& origin, const store::Blob& blob, const std::string& url, Known& known,
                   const CancelFlag& cancel);

  // Constant after construction
  const Find find_;
  const Report report_;

  TaskGroup tasks_;                                                            // control thread
  std::unordered_map<swarm::RequestId, std::shared_ptr<CancelFlag>> running_;  // control thread
  mutable std::mutex mutex_;
  // Guarded by mutex_; by blob and URL.
  std::map<std::pair<content::Digest, std::string>, Known> files_;
  BlockingPool pool_;
};

}  // namespace shoal::agent
