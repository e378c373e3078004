// A throw-away cluster CA and certificates on disk, for tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/http/certificate.h"
#include "core/http/tls.h"

namespace shoal::http {

class TempDir {
 public:
  TempDir() : path_(std::filesystem::temp_directory_path() / ("shoal-http-" + random_hex(8))) {
    std::filesystem::create_directory(path_);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary | std::ios::trunc) << text;
    return file(name);
  }

 private:
  const std::filesystem::path path_;
};

class TestCa {
 public:
  explicit TestCa(const std::string& name = "test CA")
      : ca_(make_ca(name, Validity::for_next(std::chrono::hours(24))).value()) {}

  const CertifiedKey& ca() const { return ca_; }

  CertifiedKey issue(const Identity& identity, const std::vector<std::string>& names = {},
                     Validity validity = Validity::for_next(std::chrono::hours(24))) const {
    return issue_certificate(ca_, identity, names, validity).value();
  }

  // Writes the pair and this CA as `stem`.crt, .key and .ca.
  TlsFiles write(const TempDir& dir, const std::string& stem, const CertifiedKey& pair) const {
    return {dir.write(stem + ".crt", pair.certificate), dir.write(stem + ".key", pair.key),
            dir.write(stem + ".ca", ca_.certificate)};
  }

  std::shared_ptr<TlsContext> context(const Identity& identity,
                                      const std::vector<std::string>& names = {},
                                      TlsOptions options = {}) const {
    const TempDir dir;
    return TlsContext::load(write(dir, "it", issue(identity, names)), options).value();
  }

 private:
  const CertifiedKey ca_;
};

}  // namespace shoal::http
