// host:port as written in settings: what to listen on or where to connect.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::daemon {

// A value. The host is a name or a numeric address without brackets, e.g. "0.0.0.0", "::1",
// "gpu-17".
struct Address {
  std::string host;
  std::uint16_t port = 0;  // 0 asks the kernel for a free port; only meaningful for listeners

  // "127.0.0.1:6970", "[::1]:6970": the form parse_address accepts.
  std::string str() const;

  friend auto operator<=>(const Address&, const Address&) = default;
};

// True if nothing outside this machine can reach the host: 127.0.0.0/8, ::1, "localhost".
bool is_loopback(const Address& address);

// "host:port" or "[v6 address]:port". Errors: invalid (no port, port above 65535, empty host, an
// IPv6 address without brackets).
Result<Address> parse_address(std::string_view text);

}  // namespace shoal::daemon
