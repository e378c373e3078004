// Fetches pieces from other agents over the lane (docs/formats/lane.md). Hides connections, their
// pipelines and what a misbehaving peer can do to them.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/lane/lane_threads.h"
#include "agent/transfer.h"

namespace shoal::http {
class TlsContext;
}

namespace shoal::agent {

// One bulk connection per peer, kept, with at most 4 requests on it. While fewer peers than lane
// threads are fetched from, a peer's requests are dealt to several connections, one on each of its
// share of the threads: one thread cannot hash what one fast peer sends. Urgent transfers get
// connections of their own, kept for kUrgentIdle.
//
// Thread: fetch, cancel, drop_peer and stop on the control thread; `report` is called on lane
// threads. Lifetime: borrows the threads; stop() must have ended before destruction.
class LaneClient {
 public:
  struct Options {
    std::string node;                       // ours, for Shoal-Node
    std::shared_ptr<http::TlsContext> tls;  // null: plain
    // A peer from which nothing comes for so long is given up, whatever is due.
    std::chrono::milliseconds silence_limit{10'000};
  };
  using Report = std::function<void(TransferEvent)>;

  LaneClient(LaneThreads& threads, Options options, Report report);
  ~LaneClient();
  LaneClient(const LaneClient&) = delete;
  LaneClient& operator=(const LaneClient&) = delete;

  // How many bulk transfers from one peer keep all threads busy that it may have. With fewer a
  // thread is done before its next order has come, and idle as long as the control thread needs for
  // it.
  std::size_t pipeline() const;

  // Starts a transfer. Everything that happens to it is reported under its id.
  void fetch(Transfer transfer, const PeerAddress& peer);

  // Ends a transfer early, if it has not ended: reported as cancelled. What is on its way is read
  // and thrown away if it is little, else the connection is replaced.
  void cancel(swarm::RequestId id, const PeerAddress& peer);

  // Closes the peer's connections; its transfers end as disconnected.
  void drop_peer(const PeerAddress& peer);

  // Ends everything. No report comes after it.
  Task<void> stop();

 private:
  class Worker;

  Worker& next_worker(const PeerAddress& peer);

  std::vector<std::unique_ptr<Worker>> workers_;  // one per lane thread
  // Of the peers that were fetched from lately.
  std::unordered_map<std::string, std::chrono::steady_clock::time_point> last_fetch_;
};

}  // namespace shoal::agent
