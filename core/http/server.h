// An HTTP/1.1 server for control traffic: small messages, long polls, descriptors over unix
// sockets, and now and then a streamed file. Hides connections, keep-alive, limits and orderly
// stop.
//
//   Server server(executor, {.endpoint = *parse_endpoint("127.0.0.1:0")});
//   server.route("GET", "/v1/blobs/{name}", [this](Request r) { return get_blob(std::move(r)); });
//   if (auto started = server.start(); !started) …
//   co_await server.stop(Deadline::after(5s));
//
// Thread: the executor's, which also runs the handlers, of different connections interleaved, of
// one connection one after the other. Lifetime: stop() has ended before destruction (checked);
// handlers and what they refer to outlive stop().
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/http/message.h"
#include "core/http/url.h"
#include "core/http/wire.h"

namespace shoal::http {

class TlsContext;

// Takes the request, gives the answer. A lambda that is not itself a coroutine may call one.
using Handler = std::function<Task<Response>(Request)>;

class Server {
 public:
  struct Options {
    Endpoint endpoint = {};
    unsigned unix_mode = 0660;
    std::shared_ptr<TlsContext> tls = {};  // null: plain
    std::string name = "http";             // in log lines
    MessageLimits limits = {};
    std::size_t max_connections = 1024;  // one more is closed at once (plain: after a 503)
    std::chrono::milliseconds handshake_timeout{10'000};
    std::chrono::milliseconds idle_timeout{60'000};   // between requests
    std::chrono::milliseconds read_timeout{30'000};   // from a request's first byte to its last
    std::chrono::milliseconds write_timeout{30'000};  // of a response; stream_body has its own
  };

  Server(Executor executor, Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before start(). `method` is a method or "*". Each segment of `pattern` is a literal or "{name}"
  // (one segment, decoded); a last "{name...}" takes the whole rest, not decoded. Literals win over
  // parameters; two routes for the same requests are a bug. HEAD is answered by GET's route.
  // An exception of a handler, as an error it lets through, is a 500.
  void route(std::string_view method, std::string_view pattern, Handler handler);

  // Before start(). Called when a connection on which at least one request was handled has ended,
  // after its last handler: Peer::connection of its requests will not come again.
  void on_connection_closed(std::function<void(std::uint64_t connection)> callback);

  // Errors: those of Listener::open.
  Status start();
  // With the real port; after start().
  const Endpoint& local() const;

  // Stops accepting, closes idle connections, lets running requests end until `deadline`, then
  // closes theirs and waits for the handlers. Handlers that wait (long polls) must be told to end
  // by their owner, before: a handler that never ends makes this never end. Idempotent.
  Task<void> stop(Deadline deadline);

  std::size_t connections() const;

  // Whether the other side of that connection (Peer::connection) has closed it, or broken off, as
  // far as the kernel knows: nobody will read an answer that still takes long. Reads nothing; true
  // also for a client that has closed only its sending half, and for a connection that has ended.
  bool asker_left(std::uint64_t connection) const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::http
