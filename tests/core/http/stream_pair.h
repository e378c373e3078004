// Two connected Streams in one event loop: plain TCP, TLS or unix. For typed suites.
#pragma once

#include "core/async/task.h"

#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <string>

#include "core/async/event.h"
#include "core/async/run.h"
#include "core/async/task_group.h"
#include "core/http/socket.h"
#include "core/http/stream.h"
#include "tests/fakes/test_certificates.h"

namespace shoal::http {

enum class Kind { kPlain, kTls, kUnix };

inline std::string kind_name(Kind kind) {
  switch (kind) {
    case Kind::kPlain:
      return "Plain";
    case Kind::kTls:
      return "Tls";
    case Kind::kUnix:
      return "Unix";
  }
  return {};
}

// Long enough for a loaded machine, short enough to end a hanging test.
inline Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }
inline Deadline short_time() { return Deadline::after(std::chrono::milliseconds(20)); }

inline Endpoint any_port() { return parse_endpoint("127.0.0.1:0").value(); }

struct StreamPair {
  std::unique_ptr<Stream> client;
  std::unique_ptr<Stream> server;
};

inline Task<void> accept_into(Executor executor, UniqueFd socket, std::shared_ptr<TlsContext> tls,
                              Result<std::unique_ptr<Stream>>* out) {
  *out = co_await Stream::accept_tls(executor, std::move(socket), std::move(tls), soon());
}

inline Task<StreamPair> connect_pair(Executor executor, Kind kind,
                                     std::shared_ptr<TlsContext> server_tls,
                                     std::shared_ptr<TlsContext> client_tls) {
  StreamPair pair;
  if (kind == Kind::kUnix) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pair.client = Stream::plain(executor, UniqueFd(fds[0])).value();
    pair.server = Stream::plain(executor, UniqueFd(fds[1])).value();
    co_return pair;
  }
  auto listener = Listener::open(executor, any_port()).value();
  UniqueFd dialled = (co_await connect_socket(executor, listener->local(), soon())).value();
  UniqueFd accepted = (co_await listener->accept()).value();
  if (kind == Kind::kPlain) {
    pair.client = Stream::plain(executor, std::move(dialled)).value();
    pair.server = Stream::plain(executor, std::move(accepted)).value();
    co_return pair;
  }
  Result<std::unique_ptr<Stream>> server = fail(Errc::kInternal, "not run");
  TaskGroup group(executor, "pair");
  group.spawn("accept", accept_into(executor, std::move(accepted), server_tls, &server));
  pair.client = (co_await Stream::connect_tls(executor, std::move(dialled), client_tls,
                                              ExpectedPeer::member(), soon()))
                    .value();
  co_await group.join();
  pair.server = std::move(server).value();
  co_return pair;
}

}  // namespace shoal::http
