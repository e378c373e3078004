// Owners of OpenSSL's objects, its error queue as text, and what we read out of certificates.
// Internal to core/http.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/http/identity.h"

namespace shoal::http {

template <auto kFree>
struct OpensslDeleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using BioPtr = std::unique_ptr<BIO, OpensslDeleter<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, OpensslDeleter<EVP_PKEY_free>>;
using SslPtr = std::unique_ptr<SSL, OpensslDeleter<SSL_free>>;

// The oldest entry of this thread's error queue, which is then emptied; "unknown reason" if none.
std::string take_openssl_error();

// A read-only view of `pem`, which outlives it.
BioPtr memory_bio(std::string_view pem);

// For PEM readers: an encrypted key is an error, never a question on the terminal.
int no_password(char* buffer, int size, int writing, void* data);

// Of a certificate whose chain has been verified: the one URI of ours, or kNone.
// Errors: invalid (several, or a malformed one).
Result<Identity> identity_of(X509* certificate);

// True if a DNS or IP subject alternative name equals `host`. The common name never counts.
bool certificate_names_host(X509* certificate, const std::string& host);

// "CN=gpu-17" or so, for messages.
std::string subject_of(X509* certificate);

}  // namespace shoal::http
