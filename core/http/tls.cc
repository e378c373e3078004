#include "core/http/tls.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/http/openssl.h"

namespace shoal::http {

namespace {

constexpr std::size_t kMaxPemFile = 1 << 20;

// AES first: with the CPU's own instructions it is several times faster than ChaCha20.
constexpr const char* kCipherSuites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

struct PemFile {
  std::string text;
  struct stat status {};
};

Result<PemFile> read_pem(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(errno_error(path, errno));
  PemFile file;
  if (::fstat(fd.get(), &file.status) != 0) return fail(errno_error(path, errno));
  if (!S_ISREG(file.status.st_mode)) return fail(Errc::kInvalid, path + ": not a regular file");
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error(path, errno));
    if (n == 0) return file;
    file.text.append(chunk.data(), static_cast<std::size_t>(n));
    if (file.text.size() > kMaxPemFile) return fail(Errc::kInvalid, path + ": too large for PEM");
  }
}

// All certificates in `text`, at least one.
Result<std::vector<X509Ptr>> parse_certificates(const std::string& path, const std::string& text) {
  const BioPtr bio = memory_bio(text);
  std::vector<X509Ptr> certificates;
  ERR_clear_error();
  for (;;) {
    X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr));
    if (!certificate) break;
    certificates.push_back(std::move(certificate));
  }
  const unsigned long last = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (!at_end) return fail(Errc::kInvalid, path + ": bad certificate: " + take_openssl_error());
  ERR_clear_error();
  if (certificates.empty()) return fail(Errc::kInvalid, path + ": holds no PEM certificate");
  return certificates;
}

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time) {
  std::tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string show_time(const ASN1_TIME* time) {
  std::tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

Status check_own_certificate(const TlsFiles& files, const std::vector<X509Ptr>& chain,
                             X509_STORE* cas) {
  X509* own = chain.front().get();
  if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0) {
    return fail(Errc::kInvalid,
                files.certificate + ": expired on " + show_time(X509_get0_notAfter(own)));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0) {
    return fail(Errc::kInvalid,
                files.certificate + ": not valid before " + show_time(X509_get0_notBefore(own)));
  }
  STACK_OF(X509)* untrusted = sk_X509_new_null();
  for (std::size_t i = 1; i < chain.size(); ++i) sk_X509_push(untrusted, chain[i].get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, cas, own, untrusted);
  const bool trusted = X509_verify_cert(context) == 1;
  const std::string reason = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
  X509_STORE_CTX_free(context);
  sk_X509_free(untrusted);
  ERR_clear_error();
  if (!trusted) {
    return fail(Errc::kInvalid,
                files.certificate + ": not signed by the CA in " + files.ca + ": " + reason);
  }
  return {};
}

}  // namespace

struct TlsContext::Loaded {
  std::shared_ptr<SSL_CTX> context;
  Identity identity;
  std::chrono::system_clock::time_point expires;
};

struct TlsContext::Stamps {
  struct One {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    std::int64_t modified_ns = 0;
    friend bool operator==(const One&, const One&) = default;
  };
  std::array<One, 3> files;

  static Stamps of(const TlsFiles& files) {
    Stamps stamps;
    const std::array<const std::string*, 3> paths{&files.certificate, &files.key, &files.ca};
    for (std::size_t i = 0; i < paths.size(); ++i) {
      struct stat s {};
      if (::stat(paths[i]->c_str(), &s) != 0) continue;
      stamps.files[i] = {s.st_dev, s.st_ino, s.st_size,
                         std::int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec};
    }
    return stamps;
  }
};

TlsContext::TlsContext(TlsFiles files, TlsOptions options)
    : files_(std::move(files)), options_(options), stamps_(std::make_unique<Stamps>()) {}

TlsContext::~TlsContext() = default;

Result<std::shared_ptr<TlsContext>> TlsContext::load(TlsFiles files, TlsOptions options) {
  std::shared_ptr<TlsContext> context(new TlsContext(std::move(files), options));
  Status loaded = context->reload();
  if (!loaded) return fail(loaded.error());
  return context;
}

Status TlsContext::reload() {
  const std::lock_guard lock(mutex_);
  return reload_locked();
}

Result<bool> TlsContext::reload_if_changed() {
  const std::lock_guard lock(mutex_);
  if (Stamps::of(files_).files == stamps_->files) return false;
  Status loaded = reload_locked();
  if (!loaded) return fail(loaded.error());
  return true;
}

Status TlsContext::reload_locked() {
  // Taken before the files are read: a change in between is seen by the next comparison.
  *stamps_ = Stamps::of(files_);
  Result<PemFile> certificate_pem = read_pem(files_.certificate);
  if (!certificate_pem) return fail(certificate_pem.error().with_context("TLS certificate"));
  Result<PemFile> key_pem = read_pem(files_.key);
  if (!key_pem) return fail(key_pem.error().with_context("TLS key"));
  Result<PemFile> ca_pem = read_pem(files_.ca);
  if (!ca_pem) return fail(ca_pem.error().with_context("TLS CA"));

  Result<std::vector<X509Ptr>> chain =
      parse_certificates(files_.certificate, certificate_pem->text);
  if (!chain) return fail(chain.error());
  Result<std::vector<X509Ptr>> cas = parse_certificates(files_.ca, ca_pem->text);
  if (!cas) return fail(cas.error());
  const BioPtr key_bio = memory_bio(key_pem->text);
  const PkeyPtr key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_password, nullptr));
  if (!key) {
    return fail(Errc::kInvalid,
                files_.key + ": no unencrypted PEM private key: " + take_openssl_error());
  }
  X509* own = chain->front().get();
  if (X509_check_private_key(own, key.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::kInvalid, files_.key + ": does not belong to " + files_.certificate);
  }

  auto loaded = std::make_shared<Loaded>();
  loaded->context.reset(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  SSL_CTX* context = loaded->context.get();
  if (context == nullptr) return fail(Errc::kInternal, "OpenSSL: " + take_openssl_error());
  for (const X509Ptr& ca : *cas) X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca.get());
  SHOAL_TRY(check_own_certificate(files_, *chain, SSL_CTX_get_cert_store(context)));
  Result<Identity> identity = identity_of(own);
  if (!identity) return fail(identity.error().with_context(files_.certificate));
  loaded->identity = std::move(*identity);
  loaded->expires = time_of(X509_get0_notAfter(own));

  bool ok = SSL_CTX_use_certificate(context, own) == 1 &&
            SSL_CTX_use_PrivateKey(context, key.get()) == 1 &&
            SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
            SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
            SSL_CTX_set_ciphersuites(context, kCipherSuites) == 1 &&
            SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 &&
            SSL_CTX_set_num_tickets(context, 0) == 1;
  for (std::size_t i = 1; ok && i < chain->size(); ++i) {
    ok = SSL_CTX_add1_chain_cert(context, (*chain)[i].get()) == 1;
  }
  if (!ok) return fail(Errc::kInvalid, files_.certificate + ": " + take_openssl_error());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // An end without close_notify is an end: every message of ours carries its length.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  // The peer has the CA: only the intermediates of the file are sent.
  SSL_CTX_set_mode(context, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  loaded_ = std::move(loaded);
  return {};
}

Identity TlsContext::identity() const {
  const std::lock_guard lock(mutex_);
  return loaded_->identity;
}

std::chrono::system_clock::time_point TlsContext::expires() const {
  const std::lock_guard lock(mutex_);
  return loaded_->expires;
}

std::shared_ptr<ssl_ctx_st> TlsContext::ssl_context() const {
  const std::lock_guard lock(mutex_);
  return loaded_->context;
}

}  // namespace shoal::http
