#include "core/http/certificate.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/base/random.h"
#include "core/http/openssl.h"

namespace shoal::http {

namespace {

constexpr std::size_t kMaxCommonName = 64;  // X.520: ub-common-name

tl::unexpected<Error> openssl_failure(const char* what) {
  return fail(Errc::kInternal, std::string(what) + ": " + take_openssl_error());
}

bool is_ip_address(const std::string& name) {
  in6_addr address;
  return ::inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), &address) == 1;
}

// OpenSSL's configuration syntax takes the names below: nothing that could end a value may be in
// them.
bool valid_name(const std::string& name) {
  if (name.empty() || name.size() > 253) return false;
  for (char c : name) {
    const bool allowed = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                         (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_' || c == ':';
    if (!allowed) return false;
  }
  return name.find(':') == std::string::npos || is_ip_address(name);
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

// A certificate with everything but extensions, issuer and signature.
X509Ptr new_certificate(const std::string& common_name, EVP_PKEY* key, const Validity& validity) {
  X509Ptr certificate(X509_new());
  if (!certificate) return nullptr;
  // 63 random bits: positive, and unique without a register of what was issued.
  const std::uint64_t serial = (random_u64() >> 1) | 1;
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  const bool ok =
      X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
      ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial) == 1 &&
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()),
                    std::chrono::system_clock::to_time_t(validity.not_before)) != nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()),
                    std::chrono::system_clock::to_time_t(validity.not_after)) != nullptr &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) == 1 &&
      X509_set_pubkey(certificate.get(), key) == 1;
  return ok ? std::move(certificate) : nullptr;
}

Result<CertifiedKey> to_pem(X509* certificate, EVP_PKEY* key) {
  const BioPtr certificate_out(BIO_new(BIO_s_mem()));
  const BioPtr key_out(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_out.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return openssl_failure("writing PEM");
  }
  const auto text = [](BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return std::string(data, static_cast<std::size_t>(size));
  };
  return CertifiedKey{text(certificate_out.get()), text(key_out.get())};
}

}  // namespace

Validity Validity::for_next(std::chrono::hours duration) {
  const auto now = std::chrono::system_clock::now();
  return {now - std::chrono::hours(1), now + duration};
}

Result<CertifiedKey> make_ca(const std::string& name, Validity validity) {
  if (name.empty() || name.size() > kMaxCommonName) {
    return fail(Errc::kInvalid, "a CA's name has 1 to 64 bytes");
  }
  if (validity.not_after <= validity.not_before) {
    return fail(Errc::kInvalid, "validity ends before it begins");
  }
  const PkeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failure("making a key");
  const X509Ptr certificate = new_certificate(name, key.get(), validity);
  if (!certificate) return openssl_failure("making a certificate");
  X509* ca = certificate.get();
  if (X509_set_issuer_name(ca, X509_get_subject_name(ca)) != 1 ||
      !add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(ca, ca, NID_subject_key_identifier, "hash") ||
      X509_sign(ca, key.get(), EVP_sha256()) == 0) {
    return openssl_failure("making a CA");
  }
  return to_pem(ca, key.get());
}

Result<CertifiedKey> issue_certificate(const CertifiedKey& ca, const Identity& identity,
                                       const std::vector<std::string>& names, Validity validity) {
  const BioPtr ca_bio = memory_bio(ca.certificate);
  const X509Ptr issuer(PEM_read_bio_X509(ca_bio.get(), nullptr, no_password, nullptr));
  const BioPtr key_bio = memory_bio(ca.key);
  const PkeyPtr ca_key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_password, nullptr));
  if (!issuer || !ca_key) {
    return fail(Errc::kInvalid, "CA is not a PEM certificate and key: " + take_openssl_error());
  }
  if (X509_check_private_key(issuer.get(), ca_key.get()) != 1) {
    ERR_clear_error();
    return fail(Errc::kInvalid, "the CA's key does not belong to its certificate");
  }
  if (X509_check_ca(issuer.get()) != 1) return fail(Errc::kInvalid, "the issuer is not a CA");
  if (validity.not_after <= validity.not_before) {
    return fail(Errc::kInvalid, "validity ends before it begins");
  }
  if (identity.kind == Identity::Kind::kNode && !valid_node_id(identity.node)) {
    return fail(Errc::kInvalid, "not a node id: '" + identity.node + "'");
  }
  std::string alternative;
  if (identity.kind != Identity::Kind::kNone) alternative = "URI:" + identity.uri();
  for (const std::string& name : names) {
    if (!valid_name(name))
      return fail(Errc::kInvalid, "not a DNS name or IP address: '" + name + "'");
    if (!alternative.empty()) alternative += ',';
    alternative += (is_ip_address(name) ? "IP:" : "DNS:") + name;
  }
  if (alternative.empty()) return fail(Errc::kInvalid, "a certificate needs an identity or a name");

  std::string common_name = identity.kind == Identity::Kind::kNode      ? identity.node
                            : identity.kind == Identity::Kind::kTracker ? "shoal-tracker"
                                                                        : names.front();
  common_name.resize(std::min(common_name.size(), kMaxCommonName));
  const PkeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failure("making a key");
  const X509Ptr certificate = new_certificate(common_name, key.get(), validity);
  if (!certificate) return openssl_failure("making a certificate");
  X509* own = certificate.get();
  if (X509_set_issuer_name(own, X509_get_subject_name(issuer.get())) != 1 ||
      !add_extension(own, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(own, issuer.get(), NID_key_usage, "critical,digitalSignature") ||
      !add_extension(own, issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(own, issuer.get(), NID_subject_key_identifier, "hash") ||
      !add_extension(own, issuer.get(), NID_authority_key_identifier, "keyid:always") ||
      !add_extension(own, issuer.get(), NID_subject_alt_name, alternative) ||
      X509_sign(own, ca_key.get(), EVP_sha256()) == 0) {
    return openssl_failure("making a certificate");
  }
  return to_pem(own, key.get());
}

}  // namespace shoal::http
