// Taking files in: hashing them, and keeping their bytes in the store, in place, or not at all;
// those of an origin are only hashed. The first half of publishing.
#pragma once

#include "core/async/task.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/origin/origin.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/piece_table.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

enum class IngestMode {
  kCopy,     // into the store; shares blocks where the file system can
  kInPlace,  // the file stays the bytes' only place
  kHash,     // nothing is kept but the piece table
};

// A file that is read from an origin.
struct RemoteFile {
  Origin* origin = nullptr;  // outlives the job
  OriginFile file;
  std::optional<content::Digest> digest;  // which the origin declares
};

struct IngestView {
  bool running = true;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::optional<Error> error;                // of one that failed
  std::optional<content::PieceTable> table;  // of one that is done
  std::string how;                           // "reflink", "copy", "in-place", "hash", "present"
};

// Thread: the control thread. Lifetime: borrows the store; stop() before destruction.
class Ingests {
 public:
  // `stored`: a blob came into the store. `unwanted`: a job that brought it was cancelled.
  Ingests(Executor executor, store::BlobStore& store, std::size_t threads,
          std::function<void(const store::Blob&)> stored,
          std::function<void(const content::Digest&)> unwanted);
  ~Ingests();

  // `file` is open for reading; `path` is where it can be opened again (in-place only, absolute).
  // Returns the job's id.
  std::string start(UniqueFd file, IngestMode mode, std::string path);
  // The same for a file of an origin, as kHash: it is read once, in order.
  std::string start(RemoteFile file);
  // Nothing of the job stays: one that runs ends, and what one that is done has brought into the
  // store is removed again, unless somebody has found a use for it. False: no such job.
  bool cancel(const std::string& id);

  // The blob is part of a model now: it may be evicted like any other.
  void published(const content::Digest& blob);

  // Returns once the job has ended, else at the deadline. Errors: not_found.
  Task<Result<IngestView>> wait(std::string id, Deadline deadline);

  // The table of a blob that was ingested lately or is in the store. Blocks briefly when it must be
  // opened. Errors: not_found.
  Result<content::PieceTable> table(const content::Digest& blob) const;

  // Whether this agent has read that blob whole lately and gave it the table that table() gives.
  bool read_whole(const content::Digest& blob) const;

  Task<void> stop();

  static constexpr std::chrono::minutes kKept{10};

 private:
  struct Job {
    UniqueFd file;
    IngestMode mode = IngestMode::kCopy;
    std::string path;
    std::optional<RemoteFile> remote;
    std::uint64_t size = 0;
    std::atomic<std::uint64_t> done{0};
    std::atomic<bool> cancel{false};
    // Set when it has ended, on the control thread
    bool ended = false;
    std::chrono::steady_clock::time_point ended_at;
    std::optional<Error> error;
    std::optional<content::PieceTable> table;
    std::string how;
    bool brought = false;  // the store has its bytes for its sake
    // What one file brings must not be evicted for the next one of the same model.
    std::optional<store::ReadLease> lease;
  };
  struct Outcome {
    content::PieceTable table;
    std::shared_ptr<store::Blob> blob;  // null with kHash
    std::string how;
    std::optional<store::ReadLease> lease;
  };

  Task<void> run(std::shared_ptr<Job> job);
  void take_back(Job& job);
  void settle_cancelled();
  Result<Outcome> work(Job& job);
  std::string begin(std::shared_ptr<Job> job);
  Result<Outcome> bring(Job& job);
  Result<Outcome> bring_remote(Job& job);
  Result<Outcome> store_file(Job& job, Outcome outcome);
  Result<content::PieceTable> hash(Job& job) const;
  Result<content::PieceTable> fetch(Job& job) const;
  void drop_old();

  const Executor executor_;
  store::BlobStore& store_;
  const std::function<void(const store::Blob&)> stored_;
  const std::function<void(const content::Digest&)> unwanted_;
  TaskGroup tasks_;
  Condition ended_;
  std::unordered_map<std::string, std::shared_ptr<Job>> jobs_;  // shared with their threads
  // What cancelled jobs brought, until it is known whether a job that still reads has the same
  // bytes.
  std::vector<content::Digest> cancelled_;
  std::atomic<std::size_t> leases_{0};  // how many were taken since none was held
  BlockingPool pool_;
};

}  // namespace shoal::agent
