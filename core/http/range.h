// The one form of HTTP ranges that Shoal speaks: a single range of bytes (RFC 9110, 14.1.2
// and 14.4). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/base/units.h"

namespace shoal::http {

// A parsed Range header, before the size of the blob is known.
struct RangeRequest {
  std::optional<std::uint64_t> first;  // nothing: the last `*last` bytes
  std::optional<std::uint64_t> last;   // inclusive; nothing: to the end

  friend bool operator==(const RangeRequest&, const RangeRequest&) = default;
};

// "bytes=a-b", "bytes=a-", "bytes=-n". Errors: invalid for everything else: other units, several
// ranges, a > b, n == 0, numbers of 2^63 and more.
Result<RangeRequest> parse_range(std::string_view header);

// What `request` means for `size` bytes. A last byte past the end is cut to the end, as RFC 9110
// says. Nothing when no byte of the range exists: 416.
std::optional<ByteRange> resolve_range(const RangeRequest& request, std::uint64_t size);

// "bytes=a-b"; `range` is not empty.
std::string format_range(ByteRange range);

struct ContentRange {
  std::optional<ByteRange> range;     // nothing: "bytes */size", the answer of a 416
  std::optional<std::uint64_t> size;  // nothing: "bytes a-b/*"

  friend bool operator==(const ContentRange&, const ContentRange&) = default;
};

// "bytes a-b/size", "bytes a-b/*", "bytes */size". Errors: corrupt for everything else, also when
// the range does not lie inside the size.
Result<ContentRange> parse_content_range(std::string_view header);
std::string format_content_range(const ContentRange& value);

}  // namespace shoal::http
