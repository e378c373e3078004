// Reads blobs whole whose piece table rests on another node's statement, and finds out whether the
// statement is true. What is right this node then vouches for itself. When the bytes have another
// digest, either the disk is bad (pieces do not match the table: they are fetched again), or the
// table lies: the tracker is told, and lets other nodes look.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "core/api/trust.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/base/units.h"
#include "core/content/piece_table.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Sets the metric that says so: stored bytes of this node changed under it.
void mark_disk_suspect();

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class WholeChecks {
 public:
  struct Callbacks {
    // Gives the tracker this node's own statement about the blob.
    std::function<Task<Status>(content::PieceTable)> vouch;
    std::function<Task<Status>(api::Verdict)> tell;
  };
  enum class Finding {
    kRight,
    kBadDisk,   // bad pieces were taken back, and are being fetched again
    kDisagrees  // every piece matches the table, and the whole has another digest
  };

  // `rate`: how fast the background pass reads; unlimited (0) turns it off.
  WholeChecks(Executor executor, store::BlobStore& store, BlockingPool& pool, Rate rate,
              Callbacks callbacks);

  void start();

  // Reads the blob, which has to be complete, and does what follows from it. Errors: the store's;
  // cancelled.
  Task<Result<Finding>> check(std::shared_ptr<store::Blob> blob, Rate rate);
  // Whether the stored blob rests on another node's statement.
  bool rests_on_statement(const content::Digest& blob) const;
  // The tracker wants to know; it is told. Nothing happens if the blob is not here, not whole, or
  // is being read already.
  void look(const content::Digest& blob);

  Task<void> stop();

 private:
  Task<void> background();
  Task<void> look_at(content::Digest blob);
  Task<Result<content::Digest>> read_whole(std::shared_ptr<store::Blob> blob, Rate rate);
  Task<Result<Finding>> verdict_on(std::shared_ptr<store::Blob> blob, content::Digest found);

  const Executor executor_;
  store::BlobStore& store_;
  BlockingPool& pool_;
  const Rate rate_;
  const Callbacks callbacks_;
  TaskGroup tasks_;
  Event stop_;
  std::set<content::Digest> looking_;
};

}  // namespace shoal::agent
