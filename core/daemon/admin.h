// The admin endpoint of a daemon: metrics and health for machines. It has no content and changes
// nothing, so it is plain HTTP without authentication; whoever can reach the port may read it.
//
//   GET /metrics   Prometheus text format
//   GET /healthz   200 while the control thread answers
//   GET /readyz    200 when the program does its work, else 503 with the reason
#pragma once

#include "core/async/task.h"

#include <functional>
#include <optional>
#include <string>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/daemon/address.h"
#include "core/http/server.h"

namespace shoal::daemon {

// Thread: the executor's. Lifetime: stop() has ended before destruction.
class AdminEndpoint {
 public:
  // Why the program is not ready, in words for people; nothing when it is. Outlives stop().
  using NotReady = std::function<std::optional<std::string>()>;

  AdminEndpoint(Executor executor, const Address& listen, NotReady not_ready);
  AdminEndpoint(const AdminEndpoint&) = delete;
  AdminEndpoint& operator=(const AdminEndpoint&) = delete;

  // Before start(): a further page (read-only, no content).
  void page(std::string_view path, http::Handler handler);

  // Errors: those of http::Server::start().
  Status start();
  // With the real port; after start().
  const http::Endpoint& local() const;
  Task<void> stop(Deadline deadline);

 private:
  http::Server server_;
  const NotReady not_ready_;
};

}  // namespace shoal::daemon
