#include "core/http/stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/base/check.h"
#include "core/http/socket_address.h"
#include "core/http/stream_impl.h"
#include "core/http/tls.h"

namespace shoal::http {

namespace {

// What sendfile(2) is asked for at once: more than a socket buffer takes.
constexpr std::size_t kSendfileChunk = 8 << 20;
// Read and encrypted at once on TLS: a multiple of the 16 KiB record that stays in the L2 cache.
constexpr std::size_t kEncryptChunk = 256 << 10;
constexpr std::size_t kPage = 4096;
// How much is gathered before a reader of a long body is woken.
constexpr std::uint64_t kGatherBytes = 512 << 10;

bool would_block(int errno_value) { return errno_value == EAGAIN || errno_value == EWOULDBLOCK; }

void ignore_sigpipe() {
  static const bool done = [] {
    ::signal(SIGPIPE, SIG_IGN);
    return true;
  }();
  static_cast<void>(done);
}

}  // namespace

Error connection_error(const char* what, int errno_value) {
  Error error = errno_error(what, errno_value);
  // Whatever broke this connection, the caller's remedy is another one.
  if (error.code() == Errc::kTimedOut) return error;
  return Error(Errc::kUnavailable, error.message());
}

// --- one try ---------------------------------------------------------------------------------

Stream::Impl::Attempt Stream::Impl::try_read(std::span<std::byte> out) {
  if (read_failure_) return {Attempt::Kind::kFailed, 0, read_failure_};
  if (ssl_) return try_read_tls(out);
  if (unix_) return try_read_unix(out);
  for (;;) {
    const ssize_t n = ::recv(fd(), out.data(), out.size(), 0);
    if (n > 0) return {Attempt::Kind::kDone, static_cast<std::size_t>(n)};
    if (n == 0) return {Attempt::Kind::kEnd};
    if (errno == EINTR) continue;
    if (would_block(errno)) return {Attempt::Kind::kWantRead};
    return {Attempt::Kind::kFailed, 0, connection_error("reading", errno)};
  }
}

Stream::Impl::Attempt Stream::Impl::try_read_unix(std::span<std::byte> out) {
  // The kernel passes at most 253 descriptors in one message; room for less makes it drop the rest.
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control;
  iovec buffer{out.data(), out.size()};
  msghdr message{};
  message.msg_iov = &buffer;
  message.msg_iovlen = 1;
  for (;;) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(fd(), &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && would_block(errno)) return {Attempt::Kind::kWantRead};
    if (n < 0) return {Attempt::Kind::kFailed, 0, connection_error("reading", errno)};
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int received = -1;
        std::memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        UniqueFd owned(received);
        if (received_fds_.size() < kMaxFds) received_fds_.push_back(std::move(owned));
      }
    }
    if (n == 0) return {Attempt::Kind::kEnd};
    return {Attempt::Kind::kDone, static_cast<std::size_t>(n)};
  }
}

Stream::Impl::Attempt Stream::Impl::try_write(std::span<const std::byte> data) {
  if (ssl_) return try_write_tls(data);
  for (;;) {
    const ssize_t n = ::send(fd(), data.data(), data.size(), MSG_NOSIGNAL);
    if (n >= 0) return {Attempt::Kind::kDone, static_cast<std::size_t>(n)};
    if (errno == EINTR) continue;
    if (would_block(errno)) return {Attempt::Kind::kWantWrite};
    return {Attempt::Kind::kFailed, 0, connection_error("writing", errno)};
  }
}

// --- calls -----------------------------------------------------------------------------------

Task<Status> Stream::Impl::wait(Readiness::Slot slot, Attempt::Kind kind, Deadline deadline) {
  return readiness_->wait(
      slot, kind == Attempt::Kind::kWantRead ? Readiness::For::kRead : Readiness::For::kWrite,
      deadline);
}

std::size_t Stream::Impl::gather_target(std::uint64_t coming, std::size_t space) const {
  std::uint64_t bytes = std::min<std::uint64_t>({coming, space, kGatherBytes});
  // A part of a record may have been taken from the socket already, and does not come again.
  const std::uint64_t taken = ssl_ ? SSL3_RT_MAX_PLAIN_LENGTH : 0;
  return bytes > taken ? static_cast<std::size_t>(bytes - taken) : 1;
}

void Stream::Impl::set_low_water(std::size_t bytes) {
  if (bytes == low_water_) return;
  const int value = static_cast<int>(bytes);
  // If it fails, each packet wakes us.
  if (::setsockopt(fd(), SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value)) == 0) low_water_ = bytes;
}

std::size_t Stream::Impl::read_now(std::span<std::byte> out) {
  assert_owner_thread();
  const InUse in_use(&reading_);
  if (readiness_->closed()) return 0;
  Attempt attempt = try_read(out);
  if (attempt.kind == Attempt::Kind::kFailed) read_failure_ = std::move(attempt.error);
  if (attempt.kind != Attempt::Kind::kDone) return 0;
  bytes_read_ += attempt.bytes;
  return attempt.bytes;
}

// `coming`: how much will surely come; 0 if that is not known.
Task<Result<std::size_t>> Stream::Impl::read(std::span<std::byte> out, std::size_t at_least,
                                             std::uint64_t coming, Deadline deadline) {
  assert_owner_thread();
  SHOAL_CHECK(!out.empty(), "reading into nothing");
  const InUse in_use(&reading_);
  std::size_t total = 0;
  while (total < at_least) {
    if (readiness_->closed()) co_return fail(Errc::kCancelled, "connection closed by us");
    Attempt attempt = try_read(out.subspan(total));
    switch (attempt.kind) {
      case Attempt::Kind::kDone:
        total += attempt.bytes;
        bytes_read_ += attempt.bytes;
        continue;
      case Attempt::Kind::kEnd:
        co_return total;
      case Attempt::Kind::kFailed:
        co_return fail(std::move(*attempt.error));
      case Attempt::Kind::kWantRead:
      case Attempt::Kind::kWantWrite:
        break;
    }
    Deadline until = deadline;
    if (attempt.kind == Attempt::Kind::kWantRead) {
      if (!unix_) set_low_water(gather_target(coming, out.size() - total));
      if (low_water_ > 1) until = std::min(deadline, Deadline::after(kGatherTime));
    }
    Status ready = co_await wait(Readiness::kReader, attempt.kind, until);
    if (ready) continue;
    if (ready.error().code() != Errc::kTimedOut || deadline.expired()) {
      co_return fail(ready.error());
    }
    coming = 0;
  }
  co_return total;
}

Task<Status> Stream::Impl::write_attempts(std::span<const std::byte> data, Deadline deadline) {
  while (!data.empty()) {
    if (readiness_->closed()) co_return fail(Errc::kCancelled, "connection closed by us");
    Attempt attempt = try_write(data);
    switch (attempt.kind) {
      case Attempt::Kind::kDone:
        data = data.subspan(attempt.bytes);
        bytes_written_ += attempt.bytes;
        if (ssl_) rekey_if_due();
        continue;
      case Attempt::Kind::kEnd:
        co_return fail(Errc::kUnavailable, "writing: connection ended");
      case Attempt::Kind::kFailed:
        co_return fail(write_failure(std::move(*attempt.error)));
      case Attempt::Kind::kWantRead:
      case Attempt::Kind::kWantWrite:
        break;
    }
    Status ready = co_await wait(Readiness::kWriter, attempt.kind, deadline);
    if (!ready) co_return fail(ready.error());
  }
  co_return Status();
}

Task<Status> Stream::Impl::write(std::span<const std::byte> data, Deadline deadline) {
  assert_owner_thread();
  const InUse in_use(&writing_);
  co_return co_await write_attempts(data, deadline);
}

Task<Status> Stream::Impl::send_file(int file, std::uint64_t offset, std::uint64_t length,
                                     Deadline deadline) {
  assert_owner_thread();
  const InUse in_use(&writing_);
  if (ssl_) co_return co_await send_file_tls(file, offset, length, deadline);
  co_return co_await send_file_plain(file, offset, length, deadline);
}

Task<Status> Stream::Impl::send_file_plain(int file, std::uint64_t offset, std::uint64_t length,
                                           Deadline deadline) {
  off_t position = static_cast<off_t>(offset);
  while (length > 0) {
    if (readiness_->closed()) co_return fail(Errc::kCancelled, "connection closed by us");
    const ssize_t n =
        ::sendfile(fd(), file, &position, std::min<std::uint64_t>(length, kSendfileChunk));
    if (n > 0) {
      length -= static_cast<std::uint64_t>(n);
      bytes_written_ += static_cast<std::uint64_t>(n);
      continue;
    }
    if (n == 0) co_return fail(Errc::kCorrupt, "file ends before the range that was promised");
    if (errno == EINTR) continue;
    if (errno == EIO) co_return fail(errno_error("reading the file to send", EIO));
    if (!would_block(errno)) co_return fail(connection_error("sending a file", errno));
    Status ready = co_await wait(Readiness::kWriter, Attempt::Kind::kWantWrite, deadline);
    if (!ready) co_return fail(ready.error());
  }
  co_return Status();
}

Task<Status> Stream::Impl::send_file_tls(int file, std::uint64_t offset, std::uint64_t length,
                                         Deadline deadline) {
  if (!encrypt_buffer_) {
    encrypt_buffer_.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, kEncryptChunk)));
    SHOAL_CHECK(encrypt_buffer_ != nullptr, "out of memory");
  }
  while (length > 0) {
    const ssize_t n =
        ::pread(file, encrypt_buffer_.get(), std::min<std::uint64_t>(length, kEncryptChunk),
                static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) co_return fail(errno_error("reading the file to send", errno));
    if (n == 0) co_return fail(Errc::kCorrupt, "file ends before the range that was promised");
    const std::size_t size = static_cast<std::size_t>(n);
    Status sent = co_await write_attempts({encrypt_buffer_.get(), size}, deadline);
    if (!sent) co_return sent;
    offset += size;
    length -= size;
  }
  co_return Status();
}

Task<Status> Stream::Impl::write_with_fds(std::string_view data, std::span<const int> fds,
                                          Deadline deadline) {
  assert_owner_thread();
  if (!unix_) co_return fail(Errc::kInvalid, "descriptors travel over unix sockets only");
  SHOAL_CHECK(!data.empty() && fds.size() <= kMaxFds, "bad message with descriptors");
  const InUse in_use(&writing_);
  std::span<const std::byte> rest = std::as_bytes(std::span(data));
  while (!fds.empty()) {
    if (readiness_->closed()) co_return fail(Errc::kCancelled, "connection closed by us");
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxFds)> control{};
    iovec buffer{const_cast<std::byte*>(rest.data()), rest.size()};
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    const ssize_t n = ::sendmsg(fd(), &message, MSG_NOSIGNAL);
    if (n >= 0) {
      rest = rest.subspan(static_cast<std::size_t>(n));
      bytes_written_ += static_cast<std::uint64_t>(n);
      break;
    }
    if (errno == EINTR) continue;
    if (!would_block(errno)) co_return fail(connection_error("sending descriptors", errno));
    Status ready = co_await wait(Readiness::kWriter, Attempt::Kind::kWantWrite, deadline);
    if (!ready) co_return fail(ready.error());
  }
  co_return co_await write_attempts(rest, deadline);
}

void Stream::Impl::close() {
  if (readiness_->closed()) return;
  readiness_->close();
  ::shutdown(fd(), SHUT_RDWR);
}

// --- public ----------------------------------------------------------------------------------

Stream::Stream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Stream::~Stream() = default;

Result<std::unique_ptr<Stream>> Stream::plain(Executor executor, UniqueFd socket) {
  ignore_sigpipe();
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail(errno_error("preparing a socket", errno));
  }
  Result<Endpoint> peer = peer_endpoint(socket.get());
  if (!peer) return fail(Errc::kUnavailable, peer.error().message());
  Result<std::unique_ptr<Readiness>> readiness = Readiness::watch(executor, std::move(socket));
  if (!readiness) return fail(readiness.error());
  return std::unique_ptr<Stream>(new Stream(std::make_unique<Impl>(
      std::move(*readiness), peer->is_unix(), peer->is_unix() ? "unix" : peer->tcp.str())));
}

namespace {

Task<Result<std::unique_ptr<Stream>>> with_stop(std::unique_ptr<Stream> stream,
                                                Task<Status> shaking, std::stop_token stop) {
  Stream* const borrowed = stream.get();
  const std::stop_callback on_stop(stop, [borrowed] { borrowed->close(); });
  Status shaken = co_await std::move(shaking);
  if (!shaken) co_return fail(shaken.error());
  co_return std::move(stream);
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> Stream::accept_tls(Executor executor, UniqueFd socket,
                                                         std::shared_ptr<TlsContext> tls,
                                                         Deadline deadline, std::stop_token stop) {
  Result<std::unique_ptr<Stream>> stream = plain(executor, std::move(socket));
  if (!stream) co_return fail(stream.error());
  Impl* const impl = (*stream)->impl_.get();
  co_return co_await with_stop(
      std::move(*stream), impl->handshake(std::move(tls), true, ExpectedPeer::member(), deadline),
      stop);
}

Task<Result<std::unique_ptr<Stream>>> Stream::connect_tls(Executor executor, UniqueFd socket,
                                                          std::shared_ptr<TlsContext> tls,
                                                          ExpectedPeer expected, Deadline deadline,
                                                          std::stop_token stop) {
  Result<std::unique_ptr<Stream>> stream = plain(executor, std::move(socket));
  if (!stream) co_return fail(stream.error());
  Impl* const impl = (*stream)->impl_.get();
  co_return co_await with_stop(
      std::move(*stream), impl->handshake(std::move(tls), false, std::move(expected), deadline),
      stop);
}

Task<Result<std::size_t>> Stream::read_some(std::span<std::byte> out, Deadline deadline) {
  return impl_->read(out, 1, 0, deadline);
}

std::size_t Stream::read_now(std::span<std::byte> out) { return impl_->read_now(out); }

Task<Result<std::size_t>> Stream::read_gathered(std::span<std::byte> out, std::uint64_t coming,
                                                Deadline deadline) {
  return impl_->read(out, 1, coming, deadline);
}

Task<Status> Stream::read_exact(std::span<std::byte> out, Deadline deadline) {
  if (out.empty()) co_return Status();
  Result<std::size_t> n = co_await impl_->read(out, out.size(), out.size(), deadline);
  if (!n) co_return fail(n.error());
  if (*n != out.size()) co_return fail(Errc::kUnavailable, "connection ended too early");
  co_return Status();
}

Task<Status> Stream::write_all(std::span<const std::byte> data, Deadline deadline) {
  return impl_->write(data, deadline);
}

Task<Status> Stream::write_all(std::string_view data, Deadline deadline) {
  return impl_->write(std::as_bytes(std::span(data)), deadline);
}

Task<Status> Stream::send_file(int file, std::uint64_t offset, std::uint64_t length,
                               Deadline deadline) {
  return impl_->send_file(file, offset, length, deadline);
}

Task<Status> Stream::write_with_fds(std::string_view data, std::span<const int> fds,
                                    Deadline deadline) {
  return impl_->write_with_fds(data, fds, deadline);
}

std::vector<UniqueFd> Stream::take_received_fds() {
  return std::exchange(impl_->received_fds_, {});
}

void Stream::close() { impl_->close(); }
bool Stream::closed() const { return impl_->readiness_->closed(); }
int Stream::native_handle() const { return impl_->fd(); }
bool Stream::is_tls() const { return impl_->ssl_ != nullptr; }
const std::string& Stream::peer_address() const { return impl_->peer_address_; }
const Identity& Stream::peer_identity() const { return impl_->peer_identity_; }
std::uint64_t Stream::bytes_read() const { return impl_->bytes_read_; }
std::uint64_t Stream::bytes_written() const { return impl_->bytes_written_; }

std::optional<UnixPeer> Stream::unix_peer() const {
  if (!impl_->unix_) return std::nullopt;
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(impl_->fd(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return std::nullopt;
  }
  return UnixPeer{credentials.uid, credentials.gid, credentials.pid};
}

}  // namespace shoal::http
