#include "agent/origin/origin.h"

#include <algorithm>

#include "agent/origin/text.h"

namespace shoal::agent {

std::string_view scheme_of(std::string_view url) {
  auto colon = url.find(':');
  return colon == std::string_view::npos ? std::string_view() : url.substr(0, colon);
}

bool OriginQuery::wants(std::string_view path) const {
  auto matches = [&](const std::string& pattern) { return matches_glob(pattern, path); };
  const bool included = include.empty() || std::any_of(include.begin(), include.end(), matches);
  return included && std::none_of(exclude.begin(), exclude.end(), matches);
}

}  // namespace shoal::agent
