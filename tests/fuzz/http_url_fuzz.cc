// URLs, addresses, queries and percent encoding: what is accepted is written so that it is read as
// the same again.
#include <cstdlib>
#include <string_view>

#include "core/http/identity.h"
#include "core/http/url.h"

using namespace shoal::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto url = parse_url(text)) {
    const auto again = parse_url(url->str());
    if (!again || *again != *url) std::abort();
  }
  if (const auto endpoint = parse_endpoint(text)) {
    const auto again = parse_endpoint(endpoint->str());
    if (!again || *again != *endpoint) std::abort();
  }
  if (const auto query = parse_query(text)) {
    const std::string written = format_query(*query);
    if (!query->empty() && parse_query(written.substr(1)) != query) std::abort();
  }
  if (const auto decoded = percent_decode(text)) {
    if (percent_decode(percent_encode(*decoded)) != decoded) std::abort();
  }
  if (const auto identity = parse_identity(text)) {
    if (identity->uri() != text) std::abort();
  }
  return 0;
}
