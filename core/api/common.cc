#include "core/api/common.h"

#include <charconv>

namespace shoal::api {

bool valid_node_id(std::string_view text) {
  if (text.empty() || text.size() > kMaxNodeId || text[0] == '.' || text[0] == '-') return false;
  for (char c : text) {
    bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-';
    if (!ok) return false;
  }
  return true;
}

bool valid_epoch(std::string_view text) {
  return !text.empty() && text.size() <= kMaxEpoch &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool valid_address(std::string_view text, bool may_omit_host) {
  std::size_t colon = text.rfind(':');
  if (text.size() > kMaxAddress || colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  std::string_view port = text.substr(colon + 1);
  unsigned number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 1 || number > 65535) {
    return false;
  }
  if (host.empty()) return may_omit_host;
  if (host.front() == '[') {
    return host.size() > 2 && host.back() == ']' &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdefABCDEF:.%") ==
               std::string_view::npos;
  }
  for (char c : host) {
    bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-';
    if (!ok) return false;
  }
  return true;
}

}  // namespace shoal::api
