#include "agent/swarm/text_lines.h"

#include <charconv>
#include <span>

#include "core/base/hex.h"

namespace shoal::agent {

std::optional<std::string_view> take_line(std::string_view& rest, std::string_view name) {
  if (!rest.starts_with(name) || rest.size() <= name.size() || rest[name.size()] != ' ') return {};
  const std::size_t end = rest.substr(0, kMaxTextLine).find('\n');
  if (end == std::string_view::npos) return {};
  std::string_view value = rest.substr(0, end).substr(name.size() + 1);
  rest.remove_prefix(end + 1);
  return value;
}

std::optional<std::uint64_t> take_number(std::string_view& rest, std::string_view name) {
  std::optional<std::string_view> text = take_line(rest, name);
  if (!text || text->empty() || (text->front() == '0' && text->size() > 1)) return {};
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return {};
  return value;
}

bool take_hex(std::string_view& rest, std::string_view name, std::string& out) {
  std::optional<std::string_view> text = take_line(rest, name);
  if (!text || text->empty() || text->size() % 2 != 0) return false;
  out.resize(text->size() / 2);
  return from_hex(*text, std::as_writable_bytes(std::span(out.data(), out.size())));
}

std::string hex_of(const std::string& bytes) {
  return to_hex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

}  // namespace shoal::agent
