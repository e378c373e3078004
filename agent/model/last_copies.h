// Which blobs may be given up when the store needs room: never the last copies in the fleet of what
// no origin can give again. The tracker decides, because only it sees all copies and all who make
// room; while it cannot be asked, nothing goes.
#pragma once

#include "core/async/task.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/api/eviction.h"
#include "core/async/deadline.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: plan() and choose() on any thread but the control thread, which answers them meanwhile;
// the rest on the control thread. Lifetime: close() before those threads are joined, stop() before
// destruction.
class LastCopies {
 public:
  // Puts the question to the tracker. Called on the control thread.
  using Ask = std::function<Task<Result<api::EvictionResponse>>(api::EvictionRequest, Deadline)>;

  // Says why a blob stays whatever the fleet has; empty if it does not. Any thread.
  using Needed = std::function<std::string(const content::Digest&)>;

  // So many copies stay; 0: nothing is asked and everything may go that is not needed.
  LastCopies(Executor control, std::uint64_t replicas, Ask ask, Needed needed);

  struct Kept {
    content::Digest blob;
    std::string reason;
  };
  struct Plan {
    store::EvictionChoice choice;
    std::vector<Kept> kept;  // of those before enough was found
  };
  // Those of the blobs that may go, in their order, until they give back `bytes`. With `dry_run`
  // nothing is granted: it only tells. Blocks for at most kPatience.
  Plan plan(std::span<const store::BlobInfo> all, std::uint64_t bytes, bool dry_run);

  // plan() as the store wants it.
  store::EvictionChoice choose(std::span<const store::BlobInfo> in_order, std::uint64_t bytes);

  // Nothing may go from now on. Ends waiting calls.
  void close();
  Task<void> stop();

  static constexpr std::chrono::seconds kPatience{3};

 private:
  // One question under way, shared by its thread and its task.
  struct Call {
    api::EvictionRequest request;
    std::optional<Result<api::EvictionResponse>> answer;  // guarded by mutex_
  };

  Result<api::EvictionResponse> ask(api::EvictionRequest request, Deadline deadline);
  Task<void> carry(std::shared_ptr<Call> call, Deadline deadline);
  void answered(Call& call, Result<api::EvictionResponse> answer);

  const Executor control_;
  const std::uint64_t replicas_;
  const Ask ask_;
  const Needed needed_;
  TaskGroup tasks_;  // control thread
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;  // guarded by mutex_
};

}  // namespace shoal::agent
