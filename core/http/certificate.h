// Makes the certificates of a cluster: one CA, and certificates that name a node or the tracker
// (identity.h). EC P-256, SHA-256. Used by `shoal cert` and by tests.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/http/identity.h"

namespace shoal::http {

// PEM texts. The key is unencrypted PKCS#8: write it to a file of mode 0600.
struct CertifiedKey {
  std::string certificate;
  std::string key;
};

struct Validity {
  std::chrono::system_clock::time_point not_before;
  std::chrono::system_clock::time_point not_after;

  // From an hour ago (clocks differ) until `duration` from now.
  static Validity for_next(std::chrono::hours duration);
};

// A self-signed CA that may sign end certificates only. `name` becomes its common name.
// Errors: invalid (empty or overlong name, validity that ends before it begins), internal
// (OpenSSL).
Result<CertifiedKey> make_ca(const std::string& name, Validity validity);

// A certificate of `ca` for `identity`, usable as client and server. `names` are DNS names or IP
// addresses under which it is reached; without an identity of ours at least one name is needed.
// Errors: invalid (`ca` is not a PEM pair or not a CA, bad name or identity), internal.
Result<CertifiedKey> issue_certificate(const CertifiedKey& ca, const Identity& identity,
                                       const std::vector<std::string>& names, Validity validity);

}  // namespace shoal::http
