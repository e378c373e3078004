// The TLS half of Stream: OpenSSL on the non-blocking socket.
#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>

#include "core/http/stream_impl.h"
#include "core/http/tls.h"

namespace shoal::http {
namespace {

// How much ciphertext one system call may bring, several records; OpenSSL's own default is one. The
// memory is given back whenever nothing is left in it.
constexpr std::size_t kReadAhead = 128 << 10;

}  // namespace

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
  const Attempt attempt = try_read({&unused, 1});
  if (attempt.error && attempt.error->code() == Errc::kDenied) return *attempt.error;
  return error;
}

void Stream::Impl::rekey_if_due() {
  if (bytes_written_ < next_rekey_) return;
  // Queued; it goes out before the next record.
  SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
  next_rekey_ = bytes_written_ + tls_->options().rekey_after_bytes;
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

}  // namespace shoal::http
