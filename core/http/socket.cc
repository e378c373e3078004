#include "core/http/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/async/event.h"
#include "core/base/check.h"
#include "core/http/readiness.h"
#include "core/http/socket_address.h"
#include "core/http/tls.h"

namespace shoal::http {

namespace {

constexpr int kBacklog = 1024;

void set_no_delay(int fd) {
  const int on = 1;
  // Fails on unix sockets, which have no delay.
  static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

Result<UniqueFd> new_socket(const SocketAddress& address) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(errno_error("opening a socket", errno));
  if (address.family() != AF_UNIX) set_no_delay(fd.get());
  return fd;
}

std::vector<SocketAddress> addresses_of(const asio::ip::tcp::resolver::results_type& results) {
  std::vector<SocketAddress> addresses;
  for (const auto& entry : results) {
    SocketAddress address;
    address.size = static_cast<socklen_t>(entry.endpoint().size());
    std::memcpy(&address.storage, entry.endpoint().data(), address.size);
    addresses.push_back(address);
  }
  return addresses;
}

Result<SocketAddress> resolve_blocking(const HostPort& name) {
  if (Result<SocketAddress> numeric = numeric_address(name)) return numeric;
  asio::io_context io;
  asio::ip::tcp::resolver resolver(io);
  boost::system::error_code error;
  const auto results = resolver.resolve(name.host, std::to_string(name.port), error);
  if (error || results.empty()) {
    return fail(Errc::kNotFound, "host " + name.host + ": " + error.message());
  }
  return addresses_of(results).front();
}

// True if a process answers on the unix socket at `address`.
bool somebody_listens(const SocketAddress& address) {
  Result<UniqueFd> probe = new_socket(address);
  return probe && (::connect(probe->get(), address.get(), address.size) == 0 || errno == EAGAIN);
}

}  // namespace

// --- listening -------------------------------------------------------------------------------

class Listener::Impl {
 public:
  Impl(std::unique_ptr<Readiness> readiness, Endpoint local)
      : readiness_(std::move(readiness)), local_(std::move(local)) {}

  std::unique_ptr<Readiness> readiness_;
  const Endpoint local_;
  bool accepting_ = false;
};

Listener::Listener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Listener::~Listener() {
  SHOAL_CHECK(!impl_->accepting_, "a listener dies while it accepts");
  close();
}

Result<std::unique_ptr<Listener>> Listener::open(Executor executor, const Endpoint& endpoint,
                                                 unsigned unix_mode) {
  const std::string context = "listening on " + endpoint.str();
  SocketAddress address;
  if (endpoint.is_unix()) {
    address = unix_address(endpoint.unix_path);
    struct stat status {};
    if (::lstat(endpoint.unix_path.c_str(), &status) == 0) {
      if (!S_ISSOCK(status.st_mode)) {
        return fail(Errc::kConflict, context + ": a file that is not a socket stands there");
      }
      if (somebody_listens(address)) {
        return fail(Errc::kConflict, context + ": another process listens there");
      }
      ::unlink(endpoint.unix_path.c_str());
    }
  } else {
    Result<SocketAddress> resolved = resolve_blocking(endpoint.tcp);
    if (!resolved) return fail(resolved.error().with_context(context));
    address = *resolved;
  }
  Result<UniqueFd> fd = new_socket(address);
  if (!fd) return fail(fd.error().with_context(context));
  const int on = 1;
  if (!endpoint.is_unix()) ::setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd->get(), address.get(), address.size) != 0) {
    if (errno == EADDRINUSE) return fail(Errc::kConflict, context + ": address in use");
    if (errno == EADDRNOTAVAIL)
      return fail(Errc::kInvalid, context + ": not an address of this host");
    return fail(errno_error(context, errno));
  }
  if (endpoint.is_unix() && ::chmod(endpoint.unix_path.c_str(), unix_mode) != 0) {
    return fail(errno_error(context, errno));
  }
  if (::listen(fd->get(), kBacklog) != 0) return fail(errno_error(context, errno));
  Result<Endpoint> local = endpoint.is_unix() ? endpoint : local_endpoint(fd->get());
  if (!local) return fail(local.error().with_context(context));
  Result<std::unique_ptr<Readiness>> readiness = Readiness::watch(executor, std::move(*fd));
  if (!readiness) return fail(readiness.error().with_context(context));
  return std::unique_ptr<Listener>(
      new Listener(std::make_unique<Impl>(std::move(*readiness), std::move(*local))));
}

Task<Result<UniqueFd>> Listener::accept() {
  SHOAL_CHECK(!impl_->accepting_, "two accepts on one listener");
  for (;;) {
    if (impl_->readiness_->closed()) co_return fail(Errc::kCancelled, "listener closed");
    const int fd =
        ::accept4(impl_->readiness_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      UniqueFd accepted(fd);
      if (!impl_->local_.is_unix()) set_no_delay(fd);
      co_return accepted;
    }
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        co_return fail(Errc::kOverloaded, std::string("accept: ") + ::strerror(errno));
      case EAGAIN: {
        impl_->accepting_ = true;
        Status ready = co_await impl_->readiness_->wait(Readiness::kReader, Readiness::For::kRead,
                                                        Deadline::never());
        impl_->accepting_ = false;
        if (!ready) co_return fail(ready.error());
        break;
      }
      default:
        break;  // this one connection failed before we took it
    }
  }
}

void Listener::close() {
  if (impl_->readiness_->closed()) return;
  impl_->readiness_->close();
  // Refuses new connections at once; the descriptor itself goes with the object.
  ::shutdown(impl_->readiness_->fd(), SHUT_RDWR);
  if (impl_->local_.is_unix()) ::unlink(impl_->local_.unix_path.c_str());
}

const Endpoint& Listener::local() const { return impl_->local_; }

// --- dialling --------------------------------------------------------------------------------

namespace {

// Owned by the waiting coroutine and by the resolver's callback: getaddrinfo cannot be interrupted,
// so a deadline leaves it behind.
struct Lookup {
  explicit Lookup(Executor executor) : resolver(executor), done(executor) {}
  asio::ip::tcp::resolver resolver;
  Event done;
  boost::system::error_code error;
  std::vector<SocketAddress> addresses;
};

Task<Result<std::vector<SocketAddress>>> resolve(Executor executor, HostPort name,
                                                 Deadline deadline, std::stop_token stop) {
  if (Result<SocketAddress> numeric = numeric_address(name)) {
    co_return std::vector<SocketAddress>{*numeric};
  }
  auto lookup = std::make_shared<Lookup>(executor);
  lookup->resolver.async_resolve(
      name.host, std::to_string(name.port),
      [lookup](boost::system::error_code error, asio::ip::tcp::resolver::results_type results) {
        lookup->error = error;
        if (!error) lookup->addresses = addresses_of(results);
        lookup->done.set();
      });
  const std::stop_callback on_stop(stop, [lookup] { lookup->done.set(); });
  Status done = co_await lookup->done.wait(deadline);
  if (stop.stop_requested()) co_return fail(Errc::kCancelled, "stopped");
  if (!done) co_return fail(Errc::kTimedOut, "looking up " + name.host + " took too long");
  if (lookup->error || lookup->addresses.empty()) {
    co_return fail(Errc::kUnavailable, "host " + name.host + ": " + lookup->error.message());
  }
  co_return std::move(lookup->addresses);
}

Error connect_error(const std::string& context, int errno_value) {
  const Error error = errno_error(context, errno_value);
  switch (error.code()) {
    case Errc::kTimedOut:
    case Errc::kDenied:
      return error;
    default:
      return Error(Errc::kUnavailable, error.message());
  }
}

Task<Result<UniqueFd>> connect_one(Executor executor, SocketAddress address, std::string context,
                                   Deadline deadline, std::stop_token stop) {
  Result<UniqueFd> fd = new_socket(address);
  if (!fd) co_return fail(fd.error().with_context(context));
  if (::connect(fd->get(), address.get(), address.size) == 0) co_return std::move(*fd);
  // A unix listener whose queue is full answers EAGAIN; there is nothing to wait for.
  if (errno != EINPROGRESS) co_return fail(connect_error(context, errno));
  Result<std::unique_ptr<Readiness>> readiness = Readiness::watch(executor, std::move(*fd));
  if (!readiness) co_return fail(readiness.error().with_context(context));
  Readiness* const borrowed = readiness->get();
  const std::stop_callback on_stop(stop, [borrowed] { borrowed->close(); });
  for (;;) {
    Status ready = co_await borrowed->wait(Readiness::kWriter, Readiness::For::kWrite, deadline);
    if (!ready) co_return fail(ready.error().with_context(context));
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(borrowed->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) co_return fail(connect_error(context, error));
    // Without an error and without a peer the wake-up was spurious.
    if (peer_endpoint(borrowed->fd())) co_return borrowed->release();
  }
}

}  // namespace

Task<Result<UniqueFd>> connect_socket(Executor executor, Endpoint endpoint, Deadline deadline,
                                      std::stop_token stop) {
  const std::string context = "connecting to " + endpoint.str();
  std::vector<SocketAddress> addresses;
  if (endpoint.is_unix()) {
    addresses.push_back(unix_address(endpoint.unix_path));
  } else {
    Result<std::vector<SocketAddress>> found =
        co_await resolve(executor, endpoint.tcp, deadline, stop);
    if (!found) co_return fail(found.error().with_context(context));
    addresses = std::move(*found);
  }
  Error last(Errc::kUnavailable, context + ": no address");
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    Deadline share = deadline;
    if (!deadline.is_never()) {
      const auto left = static_cast<std::int64_t>(addresses.size() - i);
      share = std::min(deadline, Deadline::after(deadline.remaining() / left));
    }
    Result<UniqueFd> fd = co_await connect_one(executor, addresses[i], context, share, stop);
    if (fd || fd.error().code() == Errc::kCancelled) co_return fd;
    last = fd.error();
  }
  co_return fail(last);
}

Task<Result<std::unique_ptr<Stream>>> connect_stream(Executor executor, Endpoint endpoint,
                                                     std::shared_ptr<TlsContext> tls,
                                                     ExpectedPeer expected, Deadline deadline,
                                                     std::stop_token stop) {
  Result<UniqueFd> fd = co_await connect_socket(executor, endpoint, deadline, stop);
  if (!fd) co_return fail(fd.error());
  if (!tls) {
    Result<std::unique_ptr<Stream>> plain = Stream::plain(executor, std::move(*fd));
    co_return plain;
  }
  co_return co_await Stream::connect_tls(executor, std::move(*fd), std::move(tls),
                                         std::move(expected), deadline, stop);
}

}  // namespace shoal::http
