// TLS 1.3 with mutual authentication: the cluster's only kind. Hides OpenSSL's contexts, how they
// are tuned and how certificates are replaced while connections live. Verification is never off.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/http/identity.h"

struct ssl_ctx_st;

namespace shoal::http {

// PEM files: our certificate (with intermediates, if any), its private key, and the CAs we trust.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string ca;
};

struct TlsOptions {
  // A connection takes new keys after sending this many bytes: well below the 2^24.5 records that
  // RFC 8446 (5.5) allows AES-GCM under one key.
  std::uint64_t rekey_after_bytes = 64ULL << 30;
};

// Thread: all members from any thread. Lifetime: shared by every Stream, Server and Client that
// uses it (they are the owners); connections keep the certificate they began with.
class TlsContext {
 public:
  // Errors: not_found (a file is missing), denied (cannot be read), invalid (not PEM, key does not
  // belong to the certificate, certificate not signed by the CA, expired or not yet valid, more
  // than one identity in it). The message names file and reason.
  static Result<std::shared_ptr<TlsContext>> load(TlsFiles files, TlsOptions options = {});

  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Reads the files again: connections made from now on use them. After an error (as load())
  // nothing has changed.
  Status reload();

  // reload() if a file's inode, size or modification time differs from what was last read (also
  // when that was bad); true if new files were taken.
  Result<bool> reload_if_changed();

  // Of our own certificate.
  Identity identity() const;

  // A text with whom it is from, for those who were not there: unlike a connection it outlives the
  // certificate.
  struct Signature {
    std::string certificate;  // DER
    std::string bytes;
  };
  static constexpr std::size_t kMaxSignatureCertificate = 3000;
  static constexpr std::size_t kMaxSignatureBytes = 600;  // RSA with 4,096 bits has 512
  // With our own key, SHA-256 (Ed25519: by itself). Errors: invalid (the certificate is longer than
  // kMaxSignatureCertificate), internal (OpenSSL).
  Result<Signature> sign(std::string_view text) const;
  // Who of our CA signed exactly this text. Its certificate may have expired since; it must not
  // need intermediates that we do not have ourselves. Errors: denied (not of our CA, or another
  // text), invalid (no certificate, or of nobody).
  Result<Identity> verify(std::string_view text, const Signature& signature) const;

  std::chrono::system_clock::time_point expires() const;

  const TlsFiles& files() const { return files_; }
  const TlsOptions& options() const { return options_; }

  // For Stream. The context serves both roles.
  std::shared_ptr<ssl_ctx_st> ssl_context() const;

 private:
  struct Loaded;
  struct Stamps;

  TlsContext(TlsFiles files, TlsOptions options);
  Status reload_locked();

  // Constant after construction
  const TlsFiles files_;
  const TlsOptions options_;
  // Guarded by mutex_
  mutable std::mutex mutex_;
  std::shared_ptr<const Loaded> loaded_;
  std::unique_ptr<Stamps> stamps_;

 public:
  ~TlsContext();
};

}  // namespace shoal::http
