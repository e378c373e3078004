#include "core/daemon/address.h"

#include <charconv>

namespace shoal::daemon {

std::string Address::str() const {
  bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool is_loopback(const Address& address) {
  return address.host == "localhost" || address.host == "::1" || address.host.starts_with("127.");
}

Result<Address> parse_address(std::string_view text) {
  auto bad = [&] {
    return fail(Errc::kInvalid, "'" + std::string(text) +
                                    "' is not an address: write HOST:PORT, for example "
                                    "0.0.0.0:6970 or [::1]:6970");
  };
  std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  std::string_view port_text = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  if (host.empty() || host.find_first_of("[]/@ \t\n\r") != std::string_view::npos) return bad();
  unsigned port = 0;
  auto [end, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (ec != std::errc() || end != port_text.data() + port_text.size() || port > 65535) return bad();
  return Address{std::string(host), static_cast<std::uint16_t>(port)};
}

}  // namespace shoal::daemon
