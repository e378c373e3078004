// What an operator can set. docs/settings.md is made from declare().
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "core/daemon/address.h"
#include "core/daemon/settings.h"

namespace shoal::tracker {

struct Settings {
  daemon::Address listen{"0.0.0.0", 6969};
  daemon::Address admin_listen{"127.0.0.1", 6968};
  std::optional<daemon::Address> bt_listen;
  std::filesystem::path data;
  std::chrono::milliseconds heartbeat{2'000};
  std::filesystem::path tls_cert;
  std::filesystem::path tls_key;
  std::filesystem::path tls_ca;
  bool insecure = false;

  bool tls() const { return !tls_cert.empty(); }
};

// `settings` outlives `table`.
void declare(daemon::Settings& table, Settings& settings);

}  // namespace shoal::tracker
