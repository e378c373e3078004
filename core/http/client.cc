#include "core/http/client.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <list>
#include <memory>
#include <stop_token>

#include "core/async/event.h"
#include "core/base/check.h"
#include "core/base/thread_check.h"
#include "core/http/socket.h"
#include "core/http/tls.h"

namespace shoal::http {

namespace {

struct Connection {
  std::unique_ptr<Stream> stream;
  ReadBuffer buffer;
  Deadline usable_until = Deadline::never();
};

// How often idle connections are looked at: a server that closes one shall not find it half open
// here for long.
constexpr std::chrono::milliseconds kSweep{5'000};

// A server that closed, or said something nobody asked for, has made the connection readable.
bool still_quiet(const Connection& connection) {
  char byte;
  const ssize_t n = ::recv(connection.stream->native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && errno == EAGAIN && connection.buffer.empty();
}

bool may_be_repeated(const Request& request) {
  if (!request.fds.empty()) return false;
  return request.method == "GET" || request.method == "HEAD" || request.method == "PUT" ||
         request.method == "DELETE";
}

}  // namespace

class Client::Impl : OneThreadOnly {
 public:
  Impl(Executor executor, Options options)
      : executor_(executor),
        options_(std::move(options)),
        changed_(executor),
        sweeper_(std::make_shared<Sweeper>(executor, this)) {
    const std::string& target = options_.server.target;
    prefix_ = target.substr(0, target.find('?'));
    while (prefix_.ends_with('/')) prefix_.pop_back();
    host_ = options_.server.scheme == Url::Scheme::kUnix ? "localhost"
                                                         : options_.server.endpoint.tcp.str();
  }
  ~Impl() {
    SHOAL_CHECK(in_use_ == 0, "a client dies while it is used");
    sweeper_->owner = nullptr;
    sweeper_->timer.cancel();
  }

  Task<Result<Response>> exchange(Request request, Deadline deadline);
  void close();

  // One of max_connections, from before the connection is chosen until it is given back.
  class Place {
   public:
    explicit Place(Impl* client) : client_(client) { ++client_->in_use_; }
    ~Place() {
      --client_->in_use_;
      client_->changed_.notify_all();
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    Impl* const client_;
  };

  // Makes a stream known to close() while a request runs on it.
  class Active {
   public:
    Active(Impl* client, Stream* stream)
        : client_(client), place_(client->active_.insert(client->active_.end(), stream)) {}
    ~Active() { client_->active_.erase(place_); }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;

   private:
    Impl* const client_;
    const std::list<Stream*>::iterator place_;
  };

  struct Outcome {
    Result<Response> response;
    bool untouched = false;  // failed before any byte of an answer
  };

  // Outlives the client until its last handler has run.
  struct Sweeper {
    Sweeper(Executor executor, Impl* client) : timer(std::move(executor)), owner(client) {}
    asio::steady_timer timer;
    Impl* owner;
    bool armed = false;
  };

  std::unique_ptr<Connection> take_idle();
  void keep(std::unique_ptr<Connection> connection);
  void arm_sweeper();
  void sweep();
  Task<Result<std::unique_ptr<Connection>>> connect(Deadline deadline);
  Task<Outcome> run(std::unique_ptr<Connection> connection, const Request* request,
                    Deadline deadline);

  // Constant after construction
  const Executor executor_;
  const Options options_;
  std::string prefix_;
  std::string host_;
  // Owner thread only
  std::list<std::unique_ptr<Connection>> idle_;  // the most recently used one last
  std::list<Stream*> active_;
  std::size_t in_use_ = 0;
  std::stop_source stop_;
  Condition changed_;  // a place is free
  const std::shared_ptr<Sweeper> sweeper_;
};

std::unique_ptr<Connection> Client::Impl::take_idle() {
  while (!idle_.empty()) {
    std::unique_ptr<Connection> connection = std::move(idle_.back());
    idle_.pop_back();
    if (!connection->usable_until.expired() && still_quiet(*connection)) return connection;
  }
  return nullptr;
}

void Client::Impl::keep(std::unique_ptr<Connection> connection) {
  connection->usable_until = Deadline::after(options_.keep_idle);
  idle_.push_back(std::move(connection));
  arm_sweeper();
}

void Client::Impl::arm_sweeper() {
  if (sweeper_->armed) return;
  sweeper_->armed = true;
  sweeper_->timer.expires_after(std::min(options_.keep_idle, kSweep));
  sweeper_->timer.async_wait([sweeper = sweeper_](const boost::system::error_code&) {
    sweeper->armed = false;
    if (sweeper->owner != nullptr) sweeper->owner->sweep();
  });
}

void Client::Impl::sweep() {
  std::erase_if(idle_, [](const std::unique_ptr<Connection>& connection) {
    return connection->usable_until.expired() || !still_quiet(*connection);
  });
  if (!idle_.empty()) arm_sweeper();
}

Task<Result<std::unique_ptr<Connection>>> Client::Impl::connect(Deadline deadline) {
  const bool https = options_.server.scheme == Url::Scheme::kHttps;
  if (https != (options_.tls != nullptr)) {
    co_return fail(Errc::kInvalid, https ? "https needs certificates: " + options_.server.str()
                                         : "certificates need https: " + options_.server.str());
  }
  Result<std::unique_ptr<Stream>> stream = co_await connect_stream(
      executor_, options_.server.endpoint, options_.tls, options_.expected,
      std::min(deadline, Deadline::after(options_.connect_timeout)), stop_.get_token());
  if (!stream) {
    // Our own limit, not the caller's, ran out: another server may answer.
    if (stream.error().code() == Errc::kTimedOut && !deadline.expired()) {
      co_return fail(Errc::kUnavailable, stream.error().message());
    }
    co_return fail(stream.error());
  }
  auto connection = std::make_unique<Connection>();
  connection->stream = std::move(*stream);
  co_return connection;
}

Task<Client::Impl::Outcome> Client::Impl::run(std::unique_ptr<Connection> connection,
                                              const Request* request, Deadline deadline) {
  Stream* const stream = connection->stream.get();
  const Active active(this, stream);
  const std::uint64_t before = stream->bytes_read();
  Status written = co_await write_request(stream, request, host_, deadline);
  if (!written && written.error().code() != Errc::kUnavailable) {
    co_return Outcome{fail(written.error()), stream->bytes_read() == before};
  }
  // Also when the request could not be written to its end: a server that refuses a large body
  // answers first and then closes.
  Result<IncomingResponse> incoming = co_await read_response(
      stream, &connection->buffer, options_.limits, request->method == "HEAD", deadline);
  if (!incoming) {
    const bool untouched = stream->bytes_read() == before;
    if (!written && incoming.error().code() == Errc::kUnavailable) {
      co_return Outcome{fail(written.error()), untouched};
    }
    co_return Outcome{fail(incoming.error()), untouched};
  }
  if (written && incoming->keep_alive && connection->buffer.empty() && !stop_.stop_requested() &&
      idle_.size() < options_.max_connections) {
    keep(std::move(connection));
  }
  co_return Outcome{std::move(incoming->response), false};
}

Task<Result<Response>> Client::Impl::exchange(Request request, Deadline deadline) {
  assert_owner_thread();
  if (!prefix_.empty()) {
    request.raw_path =
        prefix_ + (request.raw_path.empty() ? percent_encode_path(request.path) : request.raw_path);
  }
  while (!stop_.stop_requested() && in_use_ >= options_.max_connections) {
    Status woken = co_await changed_.wait(deadline);
    if (!woken) co_return fail(woken.error().with_context("waiting for a free connection"));
  }
  const Place place(this);
  std::unique_ptr<Connection> kept = take_idle();
  for (;;) {
    if (stop_.stop_requested()) co_return fail(Errc::kCancelled, "client closed");
    const bool was_kept = kept != nullptr;
    std::unique_ptr<Connection> connection = std::move(kept);
    if (!connection) {
      Result<std::unique_ptr<Connection>> fresh = co_await connect(deadline);
      if (!fresh) co_return fail(fresh.error());
      connection = std::move(*fresh);
      if (stop_.stop_requested()) co_return fail(Errc::kCancelled, "client closed");
    }
    Outcome outcome = co_await run(std::move(connection), &request, deadline);
    if (outcome.response) co_return std::move(outcome.response);
    const Error error =
        outcome.response.error().with_context(request.method + " " + options_.server.str());
    const bool stale =
        was_kept && outcome.untouched && outcome.response.error().code() == Errc::kUnavailable;
    if (!stale || !may_be_repeated(request)) co_return fail(error);
  }
}

void Client::Impl::close() {
  assert_owner_thread();
  stop_.request_stop();
  idle_.clear();
  sweeper_->timer.cancel();
  for (Stream* stream : active_) stream->close();
  changed_.close();
}

Client::Client(Executor executor, Options options)
    : impl_(std::make_unique<Impl>(std::move(executor), std::move(options))) {}
Client::~Client() = default;

Task<Result<Response>> Client::exchange(Request request, Deadline deadline) {
  return impl_->exchange(std::move(request), deadline);
}

Task<Result<Response>> Client::request(Request request, Deadline deadline) {
  Result<Response> response = co_await exchange(std::move(request), deadline);
  if (response && !response->ok()) co_return fail(response_error(*response));
  co_return response;
}

void Client::close() { impl_->close(); }
const Url& Client::server() const { return impl_->options_.server; }

}  // namespace shoal::http
