#include "core/http/server.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <list>
#include <optional>
#include <stop_token>
#include <vector>

#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/check.h"
#include "core/base/log.h"
#include "core/http/socket.h"
#include "core/http/stream.h"
#include "core/http/tls.h"

namespace shoal::http {

namespace {

using Segments = std::vector<std::string_view>;

// After a refusal the rest of what the peer sends is read and dropped for a while: closing with
// unread bytes would reset the connection, and the peer would lose our answer.
constexpr std::size_t kDrainBytes = 1 << 20;
constexpr std::chrono::milliseconds kDrainTime{500};
// Between tries to accept when descriptors have run out.
constexpr std::chrono::milliseconds kAcceptPause{100};

Segments split_path(std::string_view path) {
  Segments segments;
  path.remove_prefix(1);
  for (;;) {
    const std::size_t slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

struct Segment {
  enum class Kind { kLiteral, kParam, kRest };
  Kind kind;
  std::string text;  // the literal, or the name
};

struct Route {
  std::string method;
  std::string pattern;
  std::vector<Segment> segments;
  Handler handler;
};

std::vector<Segment> parse_pattern(std::string_view pattern) {
  SHOAL_CHECK(pattern.starts_with('/'), "a route begins with '/'");
  std::vector<Segment> segments;
  for (std::string_view part : split_path(pattern)) {
    const bool last = part.data() + part.size() == pattern.data() + pattern.size();
    if (part.starts_with('{') && part.ends_with("...}")) {
      SHOAL_CHECK(last, "only the last segment of a route takes the rest");
      segments.push_back({Segment::Kind::kRest, std::string(part.substr(1, part.size() - 5))});
    } else if (part.starts_with('{') && part.ends_with('}')) {
      segments.push_back({Segment::Kind::kParam, std::string(part.substr(1, part.size() - 2))});
    } else {
      segments.push_back({Segment::Kind::kLiteral, std::string(part)});
    }
  }
  return segments;
}

// True if `route` takes a path of these segments.
bool matches(const Route& route, const Segments& path) {
  const bool rest = !route.segments.empty() && route.segments.back().kind == Segment::Kind::kRest;
  if (rest ? path.size() < route.segments.size() : path.size() != route.segments.size()) {
    return false;
  }
  for (std::size_t i = 0; i < route.segments.size(); ++i) {
    const Segment& segment = route.segments[i];
    if (segment.kind == Segment::Kind::kRest) return true;
    if (segment.kind == Segment::Kind::kLiteral ? segment.text != path[i] : path[i].empty()) {
      return false;
    }
  }
  return true;
}

// True if `a` is the more special one of two routes that match the same path.
bool more_special(const Route& a, const Route& b) {
  const std::size_t common = std::min(a.segments.size(), b.segments.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (a.segments[i].kind != b.segments[i].kind) return a.segments[i].kind < b.segments[i].kind;
  }
  return a.method != "*" && b.method == "*";
}

bool same_requests(const Route& a, const Route& b) {
  if (a.method != b.method || a.segments.size() != b.segments.size()) return false;
  return std::equal(a.segments.begin(), a.segments.end(), b.segments.begin(),
                    [](const Segment& x, const Segment& y) {
                      return x.kind == y.kind &&
                             (x.kind != Segment::Kind::kLiteral || x.text == y.text);
                    });
}

Response refusal(int status, const std::string& reason) {
  Response response = Response::error(Error(errc_of_status(status), reason));
  response.status = status;
  return response;
}

// The segments of `path` from `first` on, as they were written.
std::string_view rest_of(std::string_view path, const Segments& segments, std::size_t first) {
  return path.substr(static_cast<std::size_t>(segments[first].data() - path.data()));
}

}  // namespace

class Server::Impl {
 public:
  Impl(Executor executor, Options options)
      : executor_(executor),
        options_(std::move(options)),
        changed_(executor),
        stopping_(executor),
        group_(executor, options_.name) {}
  ~Impl() { SHOAL_CHECK(connections_.empty() && !accepting_, "server dies without stop()"); }

  struct Connection {
    std::uint64_t id = 0;
    std::unique_ptr<Stream> stream;  // null until the handshake has ended
    bool busy = false;
    bool served = false;
    std::stop_source stop;
  };

  Status start();
  Task<void> stop(Deadline deadline);
  Task<void> accept_loop();
  Task<void> serve(Connection* connection, UniqueFd socket);
  Task<void> serve_requests(Connection* connection);
  Task<void> shed(UniqueFd socket);
  Task<Response> answer(Request request);
  Task<void> drain(Stream* stream);
  void add_connection(UniqueFd socket);
  void close(Connection* connection);
  const Route* find(const std::string& method, const Segments& path, std::string* allowed) const;

  // Constant after construction and start()
  const Executor executor_;
  const Options options_;
  std::vector<Route> routes_;
  std::function<void(std::uint64_t)> closed_callback_;
  std::unique_ptr<Listener> listener_;
  // Owner thread only
  std::list<Connection> connections_;
  std::uint64_t last_id_ = 0;
  bool accepting_ = false;
  bool draining_ = false;
  Condition changed_;  // a connection ended
  Event stopping_;
  TaskGroup group_;
};

const Route* Server::Impl::find(const std::string& method, const Segments& path,
                                std::string* allowed) const {
  const Route* best = nullptr;
  for (const Route& route : routes_) {
    if (!matches(route, path)) continue;
    const bool takes = route.method == "*" || route.method == method ||
                       (method == "HEAD" && route.method == "GET");
    if (!takes) {
      if (!allowed->empty()) *allowed += ", ";
      *allowed += route.method;
      continue;
    }
    if (best == nullptr || more_special(route, *best)) best = &route;
  }
  return best;
}

Task<Response> Server::Impl::answer(Request request) {
  // Matched as written, so that an encoded '/' stays inside its segment.
  const std::string raw_path = request.raw_path;
  const Segments path = split_path(raw_path);
  std::string allowed;
  const Route* route = find(request.method, path, &allowed);
  if (route == nullptr && allowed.empty()) {
    co_return refusal(404, "no such resource: " + request.path);
  }
  if (route == nullptr) {
    Response response = refusal(405, request.method + " is not possible here");
    response.headers.set("Allow", allowed);
    co_return response;
  }
  for (std::size_t i = 0; i < route->segments.size(); ++i) {
    const Segment& segment = route->segments[i];
    if (segment.kind == Segment::Kind::kLiteral) continue;
    if (segment.kind == Segment::Kind::kRest) {
      request.params[segment.text] = rest_of(raw_path, path, i);
      break;
    }
    Result<std::string> value = percent_decode(path[i]);
    if (!value) co_return refusal(400, "path: " + value.error().message());
    request.params[segment.text] = std::move(*value);
  }
  const std::string pull_id(request.pull_id());
  std::string failure;
  try {
    co_return co_await route->handler(std::move(request));
  } catch (const std::exception& e) {
    failure = e.what();
  }
  log::error("request handler threw", {{"server", options_.name},
                                       {"route", route->pattern},
                                       {"pull_id", pull_id},
                                       {"err", failure}});
  co_return Response::error(Error(Errc::kInternal, "request failed: " + failure));
}

Task<void> Server::Impl::drain(Stream* stream) {
  ::shutdown(stream->native_handle(), SHUT_WR);
  const Deadline deadline = Deadline::after(kDrainTime);
  std::vector<std::byte> sink(16 * 1024);
  std::size_t total = 0;
  while (total < kDrainBytes) {
    Result<std::size_t> n = co_await stream->read_some(sink, deadline);
    if (!n || *n == 0) co_return;
    total += *n;
  }
}

Task<void> Server::Impl::serve_requests(Connection* connection) {
  Stream* const stream = connection->stream.get();
  ReadBuffer buffer;
  while (!draining_) {
    Result<IncomingRequest> incoming =
        co_await read_request(stream, &buffer, options_.limits,
                              Deadline::after(options_.idle_timeout), options_.read_timeout);
    const auto write_deadline = [this] { return Deadline::after(options_.write_timeout); };
    if (!incoming) {
      if (incoming.error().code() == Errc::kTimedOut && !buffer.empty()) {
        const Response late = refusal(408, "request did not arrive in time");
        co_await write_response(stream, &late, false, false, write_deadline());
      }
      co_return;
    }
    if (incoming->refusal != 0) {
      const Response refused = refusal(incoming->refusal, incoming->reason);
      Status told = co_await write_response(stream, &refused, false, false, write_deadline());
      if (told) co_await drain(stream);
      co_return;
    }
    if (!incoming->request) co_return;
    connection->busy = true;
    connection->served = true;
    Request request = std::move(*incoming->request);
    request.peer = {stream->peer_address(), stream->peer_identity(), stream->unix_peer(),
                    connection->id};
    const bool head_only = request.method == "HEAD";
    const Response response = co_await answer(std::move(request));
    const bool keep_alive = incoming->keep_alive && !draining_;
    Status written =
        co_await write_response(stream, &response, keep_alive, head_only, write_deadline());
    connection->busy = false;
    if (!written) {
      if (written.error().code() != Errc::kCancelled) {
        log::debug("response not sent", {{"server", options_.name},
                                         {"peer", stream->peer_address()},
                                         {"err", written.error()}});
      }
      co_return;
    }
    if (!keep_alive) co_return;
  }
}

Task<void> Server::Impl::serve(Connection* connection, UniqueFd socket) {
  Result<std::unique_ptr<Stream>> stream = fail(Errc::kInternal, "no stream");
  if (options_.tls) {
    stream = co_await Stream::accept_tls(executor_, std::move(socket), options_.tls,
                                         Deadline::after(options_.handshake_timeout),
                                         connection->stop.get_token());
  } else {
    stream = Stream::plain(executor_, std::move(socket));
  }
  if (stream) {
    connection->stream = std::move(*stream);
    try {
      if (!connection->stop.stop_requested()) co_await serve_requests(connection);
    } catch (const std::exception& e) {
      log::error("connection threw", {{"server", options_.name}, {"err", e.what()}});
    }
  } else if (stream.error().code() == Errc::kDenied) {
    log::warn("connection refused", {{"server", options_.name}, {"err", stream.error()}});
  } else {
    log::debug("connection failed", {{"server", options_.name}, {"err", stream.error()}});
  }
  const bool tell = connection->served && closed_callback_;
  const std::uint64_t id = connection->id;
  connections_.remove_if([id](const Connection& c) { return c.id == id; });
  if (tell) closed_callback_(id);
  changed_.notify_all();
}

Task<void> Server::Impl::shed(UniqueFd socket) {
  if (options_.tls) co_return;
  Result<std::unique_ptr<Stream>> stream = Stream::plain(executor_, std::move(socket));
  if (!stream) co_return;
  const Response busy = Response::error(Error(Errc::kOverloaded, "too many connections"));
  // A fresh socket's buffer has room for this: it does not wait.
  co_await write_response(stream->get(), &busy, false, false, Deadline::after(kAcceptPause));
}

void Server::Impl::close(Connection* connection) {
  connection->stop.request_stop();
  if (connection->stream) connection->stream->close();
}

void Server::Impl::add_connection(UniqueFd socket) {
  Connection* const connection = &connections_.emplace_back();
  connection->id = ++last_id_;
  // The hook finds the connection by its number: it may have ended, its task not yet.
  const std::uint64_t id = connection->id;
  const auto cancel = [this, id] {
    for (Connection& c : connections_) {
      if (c.id == id) close(&c);
    }
  };
  if (!group_.spawn("connection", serve(connection, std::move(socket)), cancel)) {
    connections_.pop_back();
  }
}

Task<void> Server::Impl::accept_loop() {
  for (;;) {
    Result<UniqueFd> socket = co_await listener_->accept();
    if (!socket && socket.error().code() == Errc::kCancelled) break;
    if (!socket) {
      log::warn("cannot accept", {{"server", options_.name}, {"err", socket.error()}});
      Status paused = co_await sleep_until(Deadline::after(kAcceptPause), &stopping_);
      if (!paused) break;
      continue;
    }
    if (connections_.size() >= options_.max_connections) {
      log::warn("too many connections", {{"server", options_.name}});
      co_await shed(std::move(*socket));
      continue;
    }
    add_connection(std::move(*socket));
  }
  accepting_ = false;
}

Status Server::Impl::start() {
  Result<std::unique_ptr<Listener>> listener =
      Listener::open(executor_, options_.endpoint, options_.unix_mode);
  if (!listener) return fail(listener.error());
  listener_ = std::move(*listener);
  accepting_ = true;
  group_.spawn("accept", accept_loop(), [this] {
    stopping_.set();
    listener_->close();
  });
  return {};
}

Task<void> Server::Impl::stop(Deadline deadline) {
  draining_ = true;
  stopping_.set();
  if (listener_) listener_->close();
  for (Connection& connection : connections_) {
    if (!connection.busy) close(&connection);
  }
  while (!connections_.empty()) {
    Status woken = co_await changed_.wait(deadline);
    if (!woken) break;
  }
  co_await group_.stop();
}

Server::Server(Executor executor, Options options)
    : impl_(std::make_unique<Impl>(std::move(executor), std::move(options))) {}
Server::~Server() = default;

void Server::route(std::string_view method, std::string_view pattern, Handler handler) {
  SHOAL_CHECK(!impl_->listener_, "routes are made before start()");
  Route route{std::string(method), std::string(pattern), parse_pattern(pattern),
              std::move(handler)};
  for (const Route& other : impl_->routes_) {
    SHOAL_CHECK(!same_requests(route, other), "two routes for " + route.pattern);
  }
  impl_->routes_.push_back(std::move(route));
}

void Server::on_connection_closed(std::function<void(std::uint64_t)> callback) {
  SHOAL_CHECK(!impl_->listener_, "callbacks are set before start()");
  impl_->closed_callback_ = std::move(callback);
}

Status Server::start() { return impl_->start(); }
const Endpoint& Server::local() const { return impl_->listener_->local(); }
Task<void> Server::stop(Deadline deadline) { return impl_->stop(deadline); }

bool Server::asker_left(std::uint64_t id) const {
  const auto it = std::find_if(impl_->connections_.begin(), impl_->connections_.end(),
                               [id](const Impl::Connection& c) { return c.id == id; });
  if (it == impl_->connections_.end() || !it->stream || it->stream->closed()) return true;
  pollfd look{it->stream->native_handle(), POLLRDHUP, 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}
std::size_t Server::connections() const { return impl_->connections_.size(); }

}  // namespace shoal::http
