// Talks to the tracker about leases: gathers what Downloads asks, reports progress, one request at
// a time.
#pragma once

#include "core/async/task.h"

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/api/lease.h"
#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/swarm/downloads.h"
#include "core/swarm/lease_table.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: run() has ended before destruction.
class LeaseKeeper {
 public:
  // The request that carries leases; TrackerLink in production.
  class Tracker {
   public:
    virtual ~Tracker() = default;
    virtual Task<Result<api::LeaseResponse>> leases(api::LeaseRequest request,
                                                    Deadline deadline) = 0;
  };
  class Listener {
   public:
    virtual ~Listener() = default;
    // To an ask, unless its blob was forgotten meanwhile: also when the tracker did not answer,
    // then with nothing granted.
    virtual void lease_answered(const swarm::LeaseAsk& ask, const api::LeaseAnswer& answer) = 0;
    // Another node read another version of that blob's file: this node must not read on.
    virtual void origin_changed(const content::Digest& blob) = 0;
  };

  LeaseKeeper(Executor executor, Tracker& tracker, Listener& listener);

  Task<void> run();
  void close();

  void ask(const swarm::LeaseAsk& ask, const content::Digest& blob);
  // Given up by Downloads.
  void release(swarm::LeaseKind kind, const content::Digest& blob,
               const std::vector<content::PieceRange>& pieces);
  // Verified pieces of a blob, from anywhere; those under no lease are ignored.
  void verified(const content::Digest& blob, content::PieceRange pieces);
  // Bytes arrive, though no piece is complete.
  void active(const content::Digest& blob);
  void seen(const content::Digest& blob, std::string etag);
  // The tracker took them back.
  void lost(swarm::LeaseKind kind, const content::Digest& blob,
            const std::vector<content::PieceRange>& pieces);
  // The blob is not fetched any more: what it holds, or is yet granted, is given back.
  void forget(const content::Digest& blob);

  // To say again to a new tracker.
  std::vector<api::HeldLease> held() const;

 private:
  using Key = std::pair<content::Digest, swarm::LeaseKind>;
  struct Ask {
    swarm::LeaseAsk ask;
    content::Digest blob;
    bool forgotten = false;
  };
  // Pieces per lease, as sorted stretches merged when sent.
  using Stretches = std::vector<content::PieceRange>;

  bool urgent_work() const { return !asks_.empty() || !releases_.empty() || !seen_.empty(); }
  void apply(const api::LeaseResponse& response);

  Tracker& tracker_;
  Listener& listener_;
  Event stop_;
  Condition work_;
  std::vector<Ask> asks_;   // to be sent
  std::vector<Ask> asked_;  // sent, and not answered
  std::vector<api::LeaseRelease> releases_;
  std::vector<api::OriginSeen> seen_;
  std::unordered_map<content::Digest, Stretches> progress_;
  std::map<Key, Stretches> held_;
  std::unordered_map<content::Digest, std::string> etags_;
};

}  // namespace shoal::agent
