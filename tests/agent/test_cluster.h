// A throw-away cluster: a CA and TLS contexts of its nodes.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "core/base/random.h"
#include "core/http/certificate.h"
#include "core/http/tls.h"

namespace shoal::agent {

class TestCluster {
 public:
  TestCluster() : ca_(http::make_ca("test cluster", day()).value()) {}

  std::shared_ptr<http::TlsContext> node(const std::string& name) const {
    namespace fs = std::filesystem;
    const fs::path dir = fs::temp_directory_path() / ("shoal-agent-tls-" + random_hex(8));
    fs::create_directory(dir);
    auto pair = http::issue_certificate(ca_, http::node_identity(name), {}, day()).value();
    auto write = [&dir](const char* file, const std::string& text) {
      std::ofstream(dir / file) << text;
      return (dir / file).string();
    };
    auto context = http::TlsContext::load(
        {write("crt", pair.certificate), write("key", pair.key), write("ca", ca_.certificate)});
    fs::remove_all(dir);
    return context.value();
  }

 private:
  static http::Validity day() { return http::Validity::for_next(std::chrono::hours(24)); }

  const http::CertifiedKey ca_;
};

}  // namespace shoal::agent
