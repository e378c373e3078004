#include "core/http/identity.h"

namespace shoal::http {

namespace {
constexpr std::string_view kNodePrefix = "shoal://node/";
constexpr std::string_view kTrackerUri = "shoal://tracker";
}  // namespace

std::string Identity::uri() const {
  switch (kind) {
    case Kind::kNone:
      return {};
    case Kind::kNode:
      return std::string(kNodePrefix) + node;
    case Kind::kTracker:
      return std::string(kTrackerUri);
  }
  return {};
}

Identity node_identity(std::string node_id) { return {Identity::Kind::kNode, std::move(node_id)}; }
Identity tracker_identity() { return {Identity::Kind::kTracker, {}}; }

bool valid_node_id(std::string_view id) {
  if (id.empty() || id.size() > 128 || id[0] == '.' || id[0] == '-') return false;
  for (char c : id) {
    const bool allowed = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                         (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
    if (!allowed) return false;
  }
  return true;
}

Result<Identity> parse_identity(std::string_view uri) {
  if (uri == kTrackerUri) return tracker_identity();
  if (uri.starts_with(kNodePrefix) && valid_node_id(uri.substr(kNodePrefix.size()))) {
    return node_identity(std::string(uri.substr(kNodePrefix.size())));
  }
  return fail(Errc::kInvalid, "not an identity: " + std::string(uri.substr(0, 200)));
}

}  // namespace shoal::http
