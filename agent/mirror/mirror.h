// The agent's OCI mirror as one part: its thread, its listener and what it hands out.
#pragma once

#include "core/async/task.h"

#include "agent/mirror/cluster_content.h"
#include "agent/mirror/fills.h"
#include "agent/mirror/mirror_server.h"
#include "agent/model/library.h"
#include "core/async/deadline.h"
#include "core/async/io_thread.h"
#include "core/base/result.h"
#include "core/http/url.h"

namespace shoal::agent {

// Thread: the control thread, but for pieces_ready(). Lifetime: borrows everything given; stop()
// before destruction.
class Mirror {
 public:
  Mirror(Executor control, Fills::Parts parts, Library& library, MirrorServer::Options options);

  // Errors: those of http::Server::start().
  Status start();
  // With the real port; after start().
  const http::Endpoint& local() const { return server_.local(); }
  Task<void> stop(Deadline deadline);

  // Some blob has pieces that it had not. From any thread, until destruction.
  void pieces_ready() { server_.pieces_ready(); }

 private:
  Fills fills_;
  ClusterContent content_;
  IoThread thread_;
  MirrorServer server_;
};

}  // namespace shoal::agent
