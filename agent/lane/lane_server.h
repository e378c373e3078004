// Serves this node's verified pieces to other agents (docs/formats/lane.md).
#pragma once

#include "core/async/task.h"

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/lane/lane_threads.h"
#include "agent/lane/upload_gate.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/http/message.h"
#include "core/http/url.h"

namespace shoal::http {
class Listener;
class TlsContext;
}  // namespace shoal::http

namespace shoal::agent {

// Whoever waits for the answer to a long poll. Control thread only.
struct LaneAsker {
  bool gone = false;
};

// What the lane answers from the control thread's knowledge. All on the control thread.
class LaneBackend {
 public:
  virtual ~LaneBackend() = default;
  // The answer to GET /v1/have. Ends early, with whatever answer, when the asker is gone (see
  // askers_left()) or the agent stops.
  virtual Task<http::Response> have(http::Request request,
                                    std::shared_ptr<const LaneAsker> asker) = 0;
  // Some askers are `gone` now.
  virtual void askers_left() = 0;
};

// Accepts on the control thread and deals connections out to the lane threads, where they stay.
//
// Thread: the control thread. Lifetime: borrows everything given; stop() must have ended before
// destruction.
class LaneServer {
 public:
  struct Options {
    http::Endpoint listen;
    std::string node;
    std::string epoch;
    std::shared_ptr<http::TlsContext> tls;  // null: plain
    std::size_t max_connections = 4096;
    // The answer to GET /v1/blobs/{name}/hashes, on the control thread.
    std::function<http::Response(http::Request)> hashes;
  };

  LaneServer(Executor control, LaneThreads& threads, BlobCache& blobs, UploadGate& gate,
             BlockingPool& pool, LaneBackend& backend, Options options);
  ~LaneServer();
  LaneServer(const LaneServer&) = delete;
  LaneServer& operator=(const LaneServer&) = delete;

  // Errors: those of http::Listener::open.
  Status start();
  // With the real port; after start().
  http::HostPort local() const;

  Task<void> stop();

 private:
  class Worker;

  Task<void> accept_loop();

  const Executor control_;
  LaneThreads& threads_;
  const Options options_;
  TaskGroup tasks_;
  Event stop_;
  std::unique_ptr<http::Listener> listener_;
  std::vector<std::unique_ptr<Worker>> workers_;  // one per lane thread
  std::atomic<std::size_t> connections_{0};
};

}  // namespace shoal::agent
