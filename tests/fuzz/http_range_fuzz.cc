// Range and Content-Range: what is accepted lies inside the size, and is written as it was read.
#include <cstdlib>
#include <string_view>

#include "core/http/range.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto request = shoal::http::parse_range(text)) {
    constexpr std::uint64_t kSize = 1000;
    const auto range = shoal::http::resolve_range(*request, kSize);
    if (range && (range->empty() || range->end() > kSize)) std::abort();
    if (range && !shoal::http::parse_range(shoal::http::format_range(*range))) std::abort();
  }
  if (const auto content = shoal::http::parse_content_range(text)) {
    if (content->range && content->size && content->range->end() > *content->size) std::abort();
    const auto again =
        shoal::http::parse_content_range(shoal::http::format_content_range(*content));
    if (!again || *again != *content) std::abort();
  }
  return 0;
}
