// The bare limit of a transfer with OpenSSL's TLS 1.3 on blocking sockets: pread, SSL_write,
// SSL_read, leaf hashes, pwrite. AES-128-GCM, as between agents.
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "core/http/certificate.h"
#include "tests/bench/arguments.h"
#include "tests/bench/lane_limit.h"

using shoal::ByteRange;
using shoal::bench::give_up;

namespace {

struct Free {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using Context = std::unique_ptr<SSL_CTX, Free>;
using Connection = std::unique_ptr<SSL, Free>;

// Many records with one system call.
constexpr std::size_t kReadAhead = 128 * 1024;

Context make_context(const shoal::http::CertifiedKey& pair) {
  Context context(SSL_CTX_new(TLS_method()));
  auto memory = [](const std::string& pem) {
    return BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  };
  BIO* certificate_text = memory(pair.certificate);
  BIO* key_text = memory(pair.key);
  X509* certificate = PEM_read_bio_X509(certificate_text, nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(key_text, nullptr, nullptr, nullptr);
  bool good = SSL_CTX_use_certificate(context.get(), certificate) == 1 &&
              SSL_CTX_use_PrivateKey(context.get(), key) == 1 &&
              SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
              SSL_CTX_set_ciphersuites(context.get(), "TLS_AES_128_GCM_SHA256") == 1 &&
              SSL_CTX_set_num_tickets(context.get(), 0) == 1;
  X509_free(certificate);
  EVP_PKEY_free(key);
  BIO_free(certificate_text);
  BIO_free(key_text);
  if (!good) give_up("OpenSSL does not take the certificate");
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_default_read_buffer_len(context.get(), kReadAhead);
  return context;
}

Connection connect(SSL_CTX* context, int socket, bool server) {
  Connection ssl(SSL_new(context));
  SSL_set_fd(ssl.get(), socket);
  if ((server ? SSL_accept(ssl.get()) : SSL_connect(ssl.get())) != 1) give_up("handshake failed");
  return ssl;
}

void send(SSL_CTX* context, int socket, int file, ByteRange range, std::size_t buffer_size) {
  Connection ssl = connect(context, socket, true);
  std::unique_ptr<std::byte, decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(4096, buffer_size)), &std::free);
  while (!range.empty()) {
    ssize_t n = ::pread(file, buffer.get(), std::min<std::uint64_t>(range.length, buffer_size),
                        static_cast<off_t>(range.offset));
    std::size_t written = 0;
    auto size = static_cast<std::size_t>(n);
    if (n <= 0 || SSL_write_ex(ssl.get(), buffer.get(), size, &written) != 1 || written != size) {
      give_up("sending failed");
    }
    range = {range.offset + size, range.length - size};
  }
  SSL_shutdown(ssl.get());
}

std::function<std::size_t(std::span<std::byte>)> receive(SSL_CTX* context, int socket) {
  std::shared_ptr<SSL> ssl(connect(context, socket, false));
  return [ssl](std::span<std::byte> out) {
    std::size_t total = 0;
    // What arrived with one system call.
    do {
      std::size_t n = 0;
      if (SSL_read_ex(ssl.get(), out.data() + total, out.size() - total, &n) != 1) {
        give_up("receiving failed");
      }
      total += n;
    } while (total < out.size() && SSL_has_pending(ssl.get()) == 1);
    return total;
  };
}

}  // namespace

int main(int argc, char** argv) {
  auto validity = shoal::http::Validity::for_next(std::chrono::hours(1));
  auto ca = shoal::http::make_ca("limit", validity);
  auto pair =
      shoal::http::issue_certificate(*ca, shoal::http::node_identity("limit"), {}, validity);
  if (!pair) give_up(pair.error().str());
  Context context = make_context(*pair);
  shoal::bench::Transport transport;
  transport.send = [&](int socket, int file, ByteRange range, std::size_t buffer) {
    send(context.get(), socket, file, range, buffer);
  };
  transport.receive = [&](int socket) { return receive(context.get(), socket); };
  return shoal::bench::limit_main(argc, argv, "lane_limit_tls", transport);
}
