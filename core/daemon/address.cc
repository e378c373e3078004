#include "core/daemon/address.h"

#include <string>

namespace shoal::daemon {

Result<Address> parse_address(std::string_view text) {
  Result<Address> parsed = http::parse_host_port(text);
  if (parsed) return parsed;
  return fail(Errc::kInvalid, "'" + std::string(text) +
                                  "' is not an address: write HOST:PORT, for example 0.0.0.0:6970 "
                                  "or [::1]:6970");
}

bool is_loopback(const Address& address) {
  return address.host == "localhost" || address.host == "::1" || address.host.starts_with("127.");
}

}  // namespace shoal::daemon
