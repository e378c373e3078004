// An HTTP/1.1 client of one server, for control traffic. Hides kept connections and the retry that
// they make necessary: a server may close an idle one at the moment we use it.
//
// Thread: the executor's. Lifetime: every request has ended before destruction (checked): close()
// makes them end.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/http/identity.h"
#include "core/http/message.h"
#include "core/http/url.h"
#include "core/http/wire.h"

namespace shoal::http {

class TlsContext;

class Client {
 public:
  struct Options {
    Url server = {};  // scheme and endpoint; a target other than "/" is a prefix
    std::shared_ptr<TlsContext> tls = {};  // needed exactly for https
    ExpectedPeer expected = {};            // https
    MessageLimits limits = {};
    std::size_t max_connections = 8;  // further requests wait for one
    std::chrono::milliseconds connect_timeout{5'000};
    std::chrono::milliseconds keep_idle{30'000};  // a connection idle for longer is not used again
  };

  Client(Executor executor, Options options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The server's answer, whatever its status. A request on a kept connection that turns out dead
  // before any byte of an answer is sent once more on a new one if its method is GET, HEAD, PUT or
  // DELETE and it carries no descriptors.
  // Errors: unavailable (cannot connect, connection lost), timed_out, denied (TLS), corrupt (answer
  // is not HTTP or over the limits), invalid (https without TLS context), cancelled (close()).
  Task<Result<Response>> exchange(Request request, Deadline deadline);

  // exchange(), with statuses outside 2xx as errors: the server's own Errc where it sent one.
  Task<Result<Response>> request(Request request, Deadline deadline);

  // Ends all requests, now and in future, with cancelled. Sticky.
  void close();

  const Url& server() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::http
