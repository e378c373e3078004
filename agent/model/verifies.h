// Re-hashing what is stored: on request, a whole model at once; in the background, everything,
// slowly. What does not match is taken back by the store and fetched again by the agent.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/model/library.h"
#include "agent/model/whole_checks.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/base/units.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

struct VerifyView {
  struct Bad {
    content::Digest digest;
    std::string path;
    std::uint64_t pieces = 0;
  };
  bool running = true;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::vector<Bad> bad;
  std::vector<std::string> missing;  // paths of files that are not whole here
  std::optional<Error> error;
};

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Verifies {
 public:
  // `scrub_rate`: how many bytes per second the background pass reads; unlimited (0) turns it off.
  // `scrub_pause`: how long it rests before each pass.
  Verifies(Executor executor, store::BlobStore& store, BlobCache& blobs, WholeChecks& whole,
           BlockingPool& pool, Rate scrub_rate, std::chrono::milliseconds scrub_pause);
  ~Verifies();

  // Starts the background pass.
  void start_scrub();

  // Returns the job's id.
  std::string start(std::shared_ptr<const Library::Model> model);
  // Returns once the job has ended, else at the deadline. Errors: not_found.
  Task<Result<VerifyView>> wait(std::string id, Deadline deadline);

  Task<void> stop();

 private:
  struct Job {
    VerifyView view;
    std::chrono::steady_clock::time_point ended_at;
  };

  Task<void> run(std::shared_ptr<Job> job, std::shared_ptr<const Library::Model> model);
  Task<void> scrub();
  // Re-hashes some pieces of the blob on the pool; how many were bad.
  Task<Result<std::uint32_t>> step(std::shared_ptr<store::Blob> blob, content::PieceRange pieces);

  const Executor executor_;
  store::BlobStore& store_;
  BlobCache& blobs_;
  WholeChecks& whole_;
  BlockingPool& pool_;
  const Rate scrub_rate_;
  const std::chrono::milliseconds scrub_pause_;
  TaskGroup tasks_;
  Event stop_;
  Condition ended_;
  std::unordered_map<std::string, std::shared_ptr<Job>> jobs_;  // shared with their tasks
};

}  // namespace shoal::agent
