#include "core/api/common.h"

#include <charconv>

#include "core/api/json_fields.h"
#include "core/base/hex.h"

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

int http_status(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return 404;
    case Errc::kTimedOut:
      return 504;
    case Errc::kOverloaded:
      return 503;
    case Errc::kUnavailable:
      return 502;
    case Errc::kCorrupt:
      return 422;
    case Errc::kInvalid:
      return 400;
    case Errc::kDenied:
      return 403;
    case Errc::kConflict:
      return 409;
    case Errc::kNoSpace:
      return 507;
    case Errc::kCancelled:
      return 499;
    case Errc::kInternal:
      return 500;
  }
  return 500;
}

Errc errc_from_status(int status) {
  for (Errc code : kAllErrcs) {
    if (http_status(code) == status) return code;
  }
  if (status == 413 || status == 414 || status == 431) return Errc::kInvalid;
  if (status == 408) return Errc::kTimedOut;
  if (status == 429) return Errc::kOverloaded;
  if (status == 401) return Errc::kDenied;
  return status >= 400 && status < 500 ? Errc::kInvalid : Errc::kUnavailable;
}

template <class V>
void visit(V& v, ErrorBody& m) {
  v.error("error", m.error);
}

SHOAL_API_MESSAGE(ErrorBody)

Error error_from_response(int status, std::string_view body) {
  if (body.size() <= kMaxRequestBody) {
    if (Result<ErrorBody> decoded = decode<ErrorBody>(body)) return decoded->error;
  }
  return Error(errc_from_status(status), "HTTP status " + std::to_string(status));
}

}  // namespace shoal::api
