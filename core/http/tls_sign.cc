// The part of TlsContext that signs texts and checks who signed them.
#include "core/http/openssl.h"
#include "core/http/tls.h"

namespace shoal::http {
namespace {

using MdContext = std::unique_ptr<EVP_MD_CTX, OpensslDeleter<EVP_MD_CTX_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, OpensslDeleter<X509_STORE_CTX_free>>;

// Ed25519 and Ed448 hash by themselves.
const EVP_MD* digest_for(EVP_PKEY* key) {
  const int kind = EVP_PKEY_base_id(key);
  return kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448 ? nullptr : EVP_sha256();
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

Result<TlsContext::Signature> TlsContext::sign(std::string_view text) const {
  const std::shared_ptr<SSL_CTX> context = ssl_context();
  EVP_PKEY* key = SSL_CTX_get0_privatekey(context.get());
  Signature signature;
  unsigned char* der = nullptr;
  const int length = i2d_X509(SSL_CTX_get0_certificate(context.get()), &der);
  if (length <= 0) return fail(Errc::kInternal, "OpenSSL: " + take_openssl_error());
  signature.certificate.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  if (signature.certificate.size() > kMaxSignatureCertificate) {
    return fail(Errc::kInvalid, files_.certificate + ": too long to stand in a statement");
  }
  const MdContext md(EVP_MD_CTX_new());
  std::size_t size = kMaxSignatureBytes;
  signature.bytes.resize(size);
  if (EVP_DigestSignInit(md.get(), nullptr, digest_for(key), nullptr, key) != 1 ||
      EVP_DigestSign(md.get(), reinterpret_cast<unsigned char*>(signature.bytes.data()), &size,
                     bytes_of(text), text.size()) != 1) {
    return fail(Errc::kInternal, "OpenSSL: " + take_openssl_error());
  }
  signature.bytes.resize(size);
  return signature;
}

Result<Identity> TlsContext::verify(std::string_view text, const Signature& signature) const {
  if (signature.certificate.size() > kMaxSignatureCertificate ||
      signature.bytes.size() > kMaxSignatureBytes) {
    return fail(Errc::kInvalid, "the signature is too long");
  }
  const unsigned char* at = bytes_of(signature.certificate);
  const X509Ptr certificate(
      d2i_X509(nullptr, &at, static_cast<long>(signature.certificate.size())));
  if (!certificate || at != bytes_of(signature.certificate) + signature.certificate.size()) {
    return fail(Errc::kInvalid, "not a certificate: " + take_openssl_error());
  }
  const std::shared_ptr<SSL_CTX> context = ssl_context();
  STACK_OF(X509)* intermediates = nullptr;  // of our own chain
  SSL_CTX_get0_chain_certs(context.get(), &intermediates);
  const StoreContext check(X509_STORE_CTX_new());
  if (X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context.get()), certificate.get(),
                          intermediates) != 1) {
    return fail(Errc::kInternal, "OpenSSL: " + take_openssl_error());
  }
  X509_STORE_CTX_set_flags(check.get(), X509_V_FLAG_NO_CHECK_TIME);
  if (X509_verify_cert(check.get()) != 1) {
    const std::string why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get()));
    (void)take_openssl_error();
    return fail(Errc::kDenied, "the signer's certificate is not of the cluster's CA: " + why);
  }
  EVP_PKEY* key = X509_get0_pubkey(certificate.get());
  const MdContext md(EVP_MD_CTX_new());
  if (key == nullptr ||
      EVP_DigestVerifyInit(md.get(), nullptr, digest_for(key), nullptr, key) != 1 ||
      EVP_DigestVerify(md.get(), bytes_of(signature.bytes), signature.bytes.size(), bytes_of(text),
                       text.size()) != 1) {
    (void)take_openssl_error();
    return fail(Errc::kDenied, "the signature is not of this text");
  }
  return identity_of(certificate.get());
}

}  // namespace shoal::http
