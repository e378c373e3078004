// Opening connections: listening and dialling, TCP and unix.
#pragma once

#include "core/async/task.h"

#include <memory>
#include <stop_token>
#include <string>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/http/identity.h"
#include "core/http/stream.h"
#include "core/http/url.h"

namespace shoal::http {

// Thread: the executor's. Lifetime: accept() has ended before destruction (checked).
class Listener {
 public:
  // Binds and listens. A unix path gets mode `unix_mode`; a socket file left there by a process
  // that is gone is replaced, one that answers is not. Of a name with several addresses the first
  // is used. Blocks while resolving a name. Errors: conflict (address in use), invalid, denied,
  // not_found (unknown name or folder).
  static Result<std::unique_ptr<Listener>> open(Executor executor, const Endpoint& endpoint,
                                                unsigned unix_mode = 0660);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The next connection; hand it to Stream on any executor. TCP_NODELAY is set.
  // Errors: cancelled (after close()), overloaded (out of descriptors or memory: wait, then go on).
  Task<Result<UniqueFd>> accept();

  // Stops listening at once and removes the file of a unix socket. Sticky.
  void close();

  // With the port that was chosen for port 0.
  const Endpoint& local() const;

 private:
  class Impl;
  explicit Listener(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

// Connects to `endpoint`, trying each address of a name in turn with a fair share of the time.
// Errors: unavailable (refused, unreachable, unknown name), timed_out, denied (unix permissions),
// cancelled (`stop` was requested, on this thread).
Task<Result<UniqueFd>> connect_socket(Executor executor, Endpoint endpoint, Deadline deadline,
                                      std::stop_token stop = {});

// connect_socket and Stream::connect_tls, or Stream::plain when `tls` is null.
Task<Result<std::unique_ptr<Stream>>> connect_stream(Executor executor, Endpoint endpoint,
                                                     std::shared_ptr<TlsContext> tls,
                                                     ExpectedPeer expected, Deadline deadline,
                                                     std::stop_token stop = {});

}  // namespace shoal::http
