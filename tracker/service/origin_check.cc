#include "tracker/service/origin_check.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/api/limits.h"

namespace shoal::tracker {

Status check_origin(const api::Origin& origin) {
  auto refuse = [](std::string_view why) {
    return fail(Errc::kInvalid, "an origin's " + std::string(why));
  };
  auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (origin.kind.empty() || !std::all_of(origin.kind.begin(), origin.kind.end(), word)) {
    return refuse("kind is a word of a-z, 0-9 and -");
  }
  const std::string_view url = origin.url;
  for (char c : url) {
    auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f) return refuse("URL is printable ASCII, percent-encoded");
  }
  const std::size_t scheme_end = url.find("://");
  if (scheme_end == std::string_view::npos || scheme_end == 0 ||
      !std::all_of(url.begin(), url.begin() + static_cast<std::ptrdiff_t>(scheme_end), word)) {
    return refuse("URL begins with a scheme, as in https://");
  }
  if (url.find_first_of("?#") != std::string_view::npos) {
    return refuse("URL has neither query nor fragment: it would carry secrets to every node");
  }
  const std::string_view scheme = url.substr(0, scheme_end);
  const std::string_view rest = url.substr(scheme_end + 3);
  const std::string_view authority = rest.substr(0, rest.find('/'));
  // On the Hub a name is followed by its revision.
  if (scheme != "hf" && authority.find('@') != std::string_view::npos) {
    return refuse("URL has no user part: the catalogue holds no credentials");
  }
  if ((scheme == "file") != (origin.kind == "dir")) {
    return refuse("kind \"dir\" has a file:// URL, and no other kind has one");
  }
  if (scheme == "file") {
    if (!authority.empty() || !rest.starts_with('/')) return refuse("file URL is file:///absolute");
    for (std::size_t at = 0; at != std::string_view::npos; at = rest.find('/', at + 1)) {
      std::string_view part = rest.substr(at + 1, rest.find('/', at + 1) - at - 1);
      if (part == "..") return refuse("file URL contains no ..");
    }
  } else if (authority.empty()) {
    return refuse("URL names a server");
  }
  if (!std::all_of(origin.nodes.begin(), origin.nodes.end(), api::valid_node_id)) {
    return refuse("nodes are node ids");
  }
  return {};
}

}  // namespace shoal::tracker
