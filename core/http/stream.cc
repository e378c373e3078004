#include "core/http/stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
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
#include "core/base/thread_check.h"
#include "core/http/openssl.h"
#include "core/http/readiness.h"
#include "core/http/socket_address.h"
#include "core/http/tls.h"

namespace shoal::http {

namespace {

// What sendfile(2) is asked for at once: more than a socket buffer takes.
constexpr std::size_t kSendfileChunk = 8 << 20;
// Read and encrypted at once on TLS: a multiple of the 16 KiB record that stays in the L2 cache.
constexpr std::size_t kEncryptChunk = 256 << 10;
// How much ciphertext one system call may bring, several records; OpenSSL's own default is one. The
// memory is given back whenever nothing is left in it.
constexpr std::size_t kReadAhead = 128 << 10;
constexpr std::size_t kPage = 4096;

Error connection_error(const char* what, int errno_value) {
  Error error = errno_error(what, errno_value);
  // Whatever broke this connection, the caller's remedy is another one.
  if (error.code() == Errc::kTimedOut) return error;
  return Error(Errc::kUnavailable, error.message());
}

bool would_block(int errno_value) { return errno_value == EAGAIN || errno_value == EWOULDBLOCK; }

void ignore_sigpipe() {
  static const bool done = [] {
    ::signal(SIGPIPE, SIG_IGN);
    return true;
  }();
  static_cast<void>(done);
}

class InUse {
 public:
  explicit InUse(bool* flag) : flag_(flag) {
    SHOAL_CHECK(!*flag, "two calls of one direction on one stream");
    *flag_ = true;
  }
  ~InUse() { *flag_ = false; }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  bool* const flag_;
};

struct PageFree {
  void operator()(std::byte* p) const { std::free(p); }
};

}  // namespace

class Stream::Impl : OneThreadOnly {
 public:
  Impl(std::unique_ptr<Readiness> readiness, bool is_unix, std::string peer_address)
      : readiness_(std::move(readiness)), unix_(is_unix), peer_address_(std::move(peer_address)) {}
  ~Impl() { SHOAL_CHECK(!reading_ && !writing_, "a stream dies while it is used"); }

  Task<Result<std::size_t>> read(std::span<std::byte> out, std::size_t at_least, Deadline deadline);
  Task<Status> write(std::span<const std::byte> data, Deadline deadline);
  Task<Status> send_file(int file, std::uint64_t offset, std::uint64_t length, Deadline deadline);
  Task<Status> write_with_fds(std::string_view data, std::span<const int> fds, Deadline deadline);
  Task<Status> handshake(std::shared_ptr<TlsContext> tls, bool server, ExpectedPeer expected,
                         Deadline deadline);
  void close();

  int fd() const { return readiness_->fd(); }

  // What one try of a system call, or of OpenSSL, came to.
  struct Attempt {
    enum class Kind { kDone, kEnd, kWantRead, kWantWrite, kFailed };
    Kind kind;
    std::size_t bytes = 0;
    std::optional<Error> error = {};
  };

  Attempt try_read(std::span<std::byte> out);
  Attempt try_write(std::span<const std::byte> data);
  Attempt try_read_tls(std::span<std::byte> out);
  Attempt try_write_tls(std::span<const std::byte> data);
  Attempt try_read_unix(std::span<std::byte> out);
  Attempt tls_attempt(int rc, std::size_t bytes, const char* what);
  Error tls_error(const char* what);
  Error write_failure(Error error);
  void rekey_if_due();
  Task<Status> send_file_plain(int file, std::uint64_t offset, std::uint64_t length,
                               Deadline deadline);
  Task<Status> send_file_tls(int file, std::uint64_t offset, std::uint64_t length,
                             Deadline deadline);
  Task<Status> write_attempts(std::span<const std::byte> data, Deadline deadline);
  Task<Status> wait(Readiness::Slot slot, Attempt::Kind kind, Deadline deadline);
  Status check_peer(const ExpectedPeer& expected);

  const std::unique_ptr<Readiness> readiness_;
  const bool unix_;
  const std::string peer_address_;
  std::shared_ptr<TlsContext> tls_;
  SslPtr ssl_;
  Identity peer_identity_;
  std::optional<Error> read_failure_;
  std::vector<UniqueFd> received_fds_;
  std::unique_ptr<std::byte[], PageFree> encrypt_buffer_;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t next_rekey_ = 0;
  bool reading_ = false;
  bool writing_ = false;
};

// --- one try ---------------------------------------------------------------------------------

Stream::Impl::Attempt Stream::Impl::try_read(std::span<std::byte> out) {
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

Stream::Impl::Attempt Stream::Impl::tls_attempt(int rc, std::size_t bytes, const char* what) {
  if (rc == 1) return {Attempt::Kind::kDone, bytes};
  switch (SSL_get_error(ssl_.get(), rc)) {
    case SSL_ERROR_WANT_READ:
      return {Attempt::Kind::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {Attempt::Kind::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Attempt::Kind::kEnd};
    default:
      return {Attempt::Kind::kFailed, 0, tls_error(what)};
  }
}

// Decrypts as many records as have arrived and fit: one call of ours takes what a wake-up brought.
Stream::Impl::Attempt Stream::Impl::try_read_tls(std::span<std::byte> out) {
  if (read_failure_) return {Attempt::Kind::kFailed, 0, read_failure_};
  std::size_t total = 0;
  for (;;) {
    std::size_t n = 0;
    ERR_clear_error();
    errno = 0;
    const int rc = SSL_read_ex(ssl_.get(), out.data() + total, out.size() - total, &n);
    if (rc != 1) {
      Attempt attempt = tls_attempt(rc, 0, "reading");
      if (total == 0) return attempt;
      // An error is told after the bytes before it.
      read_failure_ = std::move(attempt.error);
      return {Attempt::Kind::kDone, total};
    }
    total += n;
    if (total == out.size() || SSL_has_pending(ssl_.get()) == 0) {
      return {Attempt::Kind::kDone, total};
    }
  }
}

Stream::Impl::Attempt Stream::Impl::try_write_tls(std::span<const std::byte> data) {
  std::size_t n = 0;
  ERR_clear_error();
  errno = 0;
  const int rc = SSL_write_ex(ssl_.get(), data.data(), data.size(), &n);
  return tls_attempt(rc, n, "writing");
}

Error Stream::Impl::tls_error(const char* what) {
  const int errno_value = errno;
  const unsigned long code = ERR_peek_error();
  if (code == 0) {
    if (errno_value == 0)
      return Error(Errc::kUnavailable, std::string(what) + ": connection ended");
    return connection_error(what, errno_value);
  }
  const std::string reason = take_openssl_error();
  const std::string from = " (" + peer_address_ + ")";
  const long verified = SSL_get_verify_result(ssl_.get());
  if (verified != X509_V_OK && !SSL_is_init_finished(ssl_.get())) {
    return Error(Errc::kDenied, "certificate of the other side refused" + from + ": " +
                                    X509_verify_cert_error_string(verified));
  }
  switch (ERR_GET_REASON(code)) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return Error(Errc::kDenied, "the other side shows no certificate" + from);
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return Error(Errc::kDenied,
                   "our certificate was refused by the other side" + from + ": " + reason);
    default:
      return Error(Errc::kCorrupt, std::string(what) + " TLS" + from + ": " + reason);
  }
}

// A server that refuses our certificate closes after an alert: a write then fails as a reset, and
// the reason is still to be read.
Error Stream::Impl::write_failure(Error error) {
  if (!ssl_ || reading_ || bytes_read_ > 0 || error.code() != Errc::kUnavailable) return error;
  std::byte unused;
  const Attempt attempt = try_read_tls({&unused, 1});
  if (attempt.error && attempt.error->code() == Errc::kDenied) return *attempt.error;
  return error;
}

void Stream::Impl::rekey_if_due() {
  if (bytes_written_ < next_rekey_) return;
  // Queued; it goes out before the next record.
  SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
  next_rekey_ = bytes_written_ + tls_->options().rekey_after_bytes;
}

// --- calls -----------------------------------------------------------------------------------

Task<Status> Stream::Impl::wait(Readiness::Slot slot, Attempt::Kind kind, Deadline deadline) {
  return readiness_->wait(
      slot, kind == Attempt::Kind::kWantRead ? Readiness::For::kRead : Readiness::For::kWrite,
      deadline);
}

Task<Result<std::size_t>> Stream::Impl::read(std::span<std::byte> out, std::size_t at_least,
                                             Deadline deadline) {
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
    Status ready = co_await wait(Readiness::kReader, attempt.kind, deadline);
    if (!ready) co_return fail(ready.error());
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

// --- TLS handshake ---------------------------------------------------------------------------

Task<Status> Stream::Impl::handshake(std::shared_ptr<TlsContext> tls, bool server,
                                     ExpectedPeer expected, Deadline deadline) {
  assert_owner_thread();
  const InUse reading(&reading_);
  const InUse writing(&writing_);
  tls_ = std::move(tls);
  ERR_clear_error();
  const std::shared_ptr<SSL_CTX> context = tls_->ssl_context();
  ssl_.reset(SSL_new(context.get()));
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd()) != 1) {
    co_return fail(Errc::kInternal, "OpenSSL: " + take_openssl_error());
  }
  if (server) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
  }
  for (;;) {
    ERR_clear_error();
    errno = 0;
    Attempt attempt = tls_attempt(SSL_do_handshake(ssl_.get()), 0, "TLS handshake");
    if (attempt.kind == Attempt::Kind::kDone) break;
    if (attempt.kind == Attempt::Kind::kFailed) co_return fail(std::move(*attempt.error));
    if (attempt.kind == Attempt::Kind::kEnd) {
      co_return fail(Errc::kUnavailable, "connection ended in the TLS handshake");
    }
    Status ready = co_await wait(Readiness::kReader, attempt.kind, deadline);
    if (!ready) co_return fail(ready.error().with_context("TLS handshake"));
  }
  // Large reads: one system call for many records, instead of two for each.
  SSL_set_read_ahead(ssl_.get(), 1);
  SSL_set_default_read_buffer_len(ssl_.get(), kReadAhead);
  next_rekey_ = tls_->options().rekey_after_bytes;
  co_return check_peer(expected);
}

Status Stream::Impl::check_peer(const ExpectedPeer& expected) {
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl_.get()));
  if (!certificate) return fail(Errc::kDenied, "the other side shows no certificate");
  const auto refuse = [&](const std::string& why) -> Status {
    return fail(Errc::kDenied, "certificate of " + peer_address_ + " (" +
                                   subject_of(certificate.get()) + ") refused: " + why);
  };
  Result<Identity> identity = identity_of(certificate.get());
  if (!identity) return refuse(identity.error().message());
  peer_identity_ = std::move(*identity);
  const std::string shown =
      peer_identity_.kind == Identity::Kind::kNone ? "nobody" : peer_identity_.uri();
  switch (expected.kind) {
    case ExpectedPeer::Kind::kMember:
      return {};
    case ExpectedPeer::Kind::kNode:
      if (peer_identity_.is_node(expected.node)) return {};
      return refuse("it is for " + shown + ", not for node " + expected.node);
    case ExpectedPeer::Kind::kTracker:
      if (peer_identity_.kind == Identity::Kind::kTracker) return {};
      if (peer_identity_.kind == Identity::Kind::kNone &&
          certificate_names_host(certificate.get(), expected.host)) {
        return {};
      }
      return refuse("it is for " + shown + ", not for the tracker " + expected.host);
  }
  return fail(Errc::kInternal, "unknown kind of expected peer");
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
  return impl_->read(out, 1, deadline);
}

Task<Status> Stream::read_exact(std::span<std::byte> out, Deadline deadline) {
  if (out.empty()) co_return Status();
  Result<std::size_t> n = co_await impl_->read(out, out.size(), deadline);
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
