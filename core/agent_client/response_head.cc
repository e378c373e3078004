#include "core/agent_client/response_head.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace shoal::agent_client {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

tl::unexpected<Error> bad(std::string_view what) {
  return fail(Errc::kCorrupt, "the agent's answer is not understood: " + std::string(what));
}

}  // namespace

Result<ResponseHead> parse_response_head(std::string_view head) {
  if (head.size() > kMaxHead) return bad("its head is too long");
  if (!head.ends_with("\r\n\r\n")) return bad("its head has no end");
  head.remove_suffix(2);
  ResponseHead out;
  std::optional<std::uint64_t> length;
  bool first = true;
  while (!head.empty()) {
    std::size_t end = head.find("\r\n");
    std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (first) {
      first = false;
      if (!line.starts_with("HTTP/1.1 ") || line.size() < 12) return bad("no status line");
      std::optional<int> status = number<int>(line.substr(9, 3));
      if (!status || *status < 100 || *status > 599) return bad("no status");
      if (line.size() > 12 && line[12] != ' ') return bad("no status");
      out.status = *status;
      continue;
    }
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return bad("a field without a name");
    std::string_view name = line.substr(0, colon);
    std::string_view value = trim(line.substr(colon + 1));
    if (equal_ignoring_case(name, "Content-Length")) {
      std::optional<std::uint64_t> given = number<std::uint64_t>(value);
      if (!given || (length && length != given)) return bad("an odd Content-Length");
      if (*given > kMaxBody) return bad("its body is too long");
      length = given;
    } else if (equal_ignoring_case(name, "Transfer-Encoding")) {
      return bad("a transfer encoding");
    } else if (equal_ignoring_case(name, "Content-Type")) {
      out.content_type = value;
    } else if (equal_ignoring_case(name, "Connection")) {
      out.close = equal_ignoring_case(value, "close");
    }
  }
  if (first) return bad("no status line");
  if (!length && out.status != 204) return bad("no Content-Length");
  out.content_length = out.status == 204 ? 0 : *length;
  return out;
}

}  // namespace shoal::agent_client
