#include "core/http/range.h"

#include <algorithm>
#include <charconv>

#include "core/base/check.h"

namespace shoal::http {

namespace {

constexpr std::uint64_t kMaxOffset = (1ULL << 63) - 1;

// A number of nothing but digits, at most kMaxOffset.
std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value > kMaxOffset) return std::nullopt;
  return value;
}

}  // namespace

Result<RangeRequest> parse_range(std::string_view header) {
  if (!header.starts_with("bytes=")) return fail(Errc::kInvalid, "range unit is not bytes");
  header.remove_prefix(6);
  if (header.find(',') != std::string_view::npos) {
    return fail(Errc::kInvalid, "several ranges in one request");
  }
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return fail(Errc::kInvalid, "range without '-'");
  const std::string_view left = header.substr(0, dash);
  const std::string_view right = header.substr(dash + 1);
  RangeRequest request;
  request.first = parse_number(left);
  request.last = parse_number(right);
  if (request.first.has_value() == left.empty() || request.last.has_value() == right.empty()) {
    return fail(Errc::kInvalid, "range bounds are not numbers");
  }
  if (!request.first && !request.last) return fail(Errc::kInvalid, "range without bounds");
  if (!request.first && *request.last == 0)
    return fail(Errc::kInvalid, "range of the last 0 bytes");
  if (request.first && request.last && *request.first > *request.last) {
    return fail(Errc::kInvalid, "range ends before it begins");
  }
  return request;
}

std::optional<ByteRange> resolve_range(const RangeRequest& request, std::uint64_t size) {
  if (size == 0) return std::nullopt;
  if (!request.first) {
    const std::uint64_t length = std::min(request.last.value_or(size), size);
    return ByteRange{size - length, length};
  }
  if (*request.first >= size) return std::nullopt;
  const std::uint64_t last = std::min(request.last.value_or(size - 1), size - 1);
  return ByteRange{*request.first, last - *request.first + 1};
}

std::string format_range(ByteRange range) {
  SHOAL_CHECK(!range.empty(), "HTTP cannot name an empty range");
  return "bytes=" + std::to_string(range.offset) + "-" + std::to_string(range.end() - 1);
}

Result<ContentRange> parse_content_range(std::string_view header) {
  const auto bad = [] { return fail(Errc::kCorrupt, "Content-Range is not of bytes"); };
  if (!header.starts_with("bytes ")) return bad();
  header.remove_prefix(6);
  const std::size_t slash = header.find('/');
  if (slash == std::string_view::npos) return bad();
  const std::string_view span = header.substr(0, slash);
  const std::string_view total = header.substr(slash + 1);
  ContentRange result;
  if (total != "*") {
    result.size = parse_number(total);
    if (!result.size) return bad();
  }
  if (span == "*") {
    if (!result.size) return bad();
    return result;
  }
  const std::size_t dash = span.find('-');
  if (dash == std::string_view::npos) return bad();
  const std::optional<std::uint64_t> first = parse_number(span.substr(0, dash));
  const std::optional<std::uint64_t> last = parse_number(span.substr(dash + 1));
  if (!first || !last || *first > *last) return bad();
  if (result.size && *last >= *result.size) {
    return fail(Errc::kCorrupt, "Content-Range lies outside its size");
  }
  result.range = ByteRange{*first, *last - *first + 1};
  return result;
}

std::string format_content_range(const ContentRange& value) {
  std::string text = "bytes ";
  if (value.range) {
    text += std::to_string(value.range->offset) + "-" + std::to_string(value.range->end() - 1);
  } else {
    text += '*';
  }
  return text + "/" + (value.size ? std::to_string(*value.size) : "*");
}

}  // namespace shoal::http
