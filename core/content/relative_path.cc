#include "core/content/relative_path.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace shoal::content {
namespace {

// The length of the well-formed UTF-8 sequence at the start of `text` (Unicode 15, table 3-7), 0 if
// there is none.
std::size_t utf8_length(std::string_view text) {
  auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  auto continues = [&](std::size_t first, std::size_t count) {
    for (std::size_t i = first; i < first + count; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return false;
    }
    return true;
  };
  unsigned lead = byte(0), second = byte(1);
  if (text.empty()) return 0;
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return continues(1, 1) ? 2 : 0;
  if (lead < 0xf0) {
    if (lead == 0xe0 && second < 0xa0) return 0;
    if (lead == 0xed && second > 0x9f) return 0;  // surrogates
    return continues(1, 2) ? 3 : 0;
  }
  if (lead > 0xf4) return 0;
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second > 0x8f) return 0;
  return continues(1, 3) ? 4 : 0;
}

// C0, DEL and, as two bytes of UTF-8, C1.
bool is_control(std::string_view sequence) {
  auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return sequence.size() == 2 && first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

// Null when `component` is acceptable, else what is wrong with it.
const char* component_fault(std::string_view component) {
  if (component.empty()) return "has an empty component";
  if (component == "." || component == "..") return "has a '.' or '..' component";
  if (component.size() > kMaxPathComponent) return "has a component of more than 255 bytes";
  while (!component.empty()) {
    std::size_t length = utf8_length(component);
    if (length == 0) return "is not UTF-8";
    if (is_control(component.substr(0, length))) return "has a control character";
    if (component[0] == '\\') return "has a backslash";
    component.remove_prefix(length);
  }
  return nullptr;
}

}  // namespace

bool is_plain_text(std::string_view text) {
  while (!text.empty()) {
    std::size_t length = utf8_length(text);
    if (length == 0 || is_control(text.substr(0, length))) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string escape_for_message(std::string_view text, std::size_t limit) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  std::size_t used = 0;
  while (used < text.size() && used < limit) {
    std::string_view rest = text.substr(used);
    std::size_t length = utf8_length(rest);
    bool plain = length != 0 && !is_control(rest.substr(0, length)) && rest[0] != '\\' &&
                 rest[0] != '\'' && rest[0] != '"';
    if (plain) {
      out += rest.substr(0, length);
      used += length;
    } else {
      auto value = static_cast<unsigned char>(rest[0]);
      out += "\\x";
      out += kDigits[value >> 4];
      out += kDigits[value & 15];
      ++used;
    }
  }
  if (used < text.size()) out += "...";
  return out;
}

Result<RelativePath> RelativePath::parse(std::string_view text) {
  auto bad = [&](const char* fault) {
    return fail(Errc::kInvalid, "path '" + escape_for_message(text) + "' " + fault);
  };
  if (text.empty()) return bad("is empty");
  if (text.size() > kMaxPathLength) return bad("is longer than 4096 bytes");
  if (text.front() == '/') return bad("is absolute");
  for (std::string_view rest = text;;) {
    std::size_t slash = rest.find('/');
    if (const char* fault = component_fault(rest.substr(0, slash))) return bad(fault);
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  return RelativePath(std::string(text));
}

Status check_paths_coexist(std::span<const RelativePath> paths) {
  // Sorted with '/' below every other byte, a directory's name is directly followed by what is in
  // it.
  std::vector<std::string_view> sorted;
  sorted.reserve(paths.size());
  for (const RelativePath& path : paths) sorted.push_back(path.str());
  auto rank = [](char c) { return c == '/' ? 0u : static_cast<unsigned char>(c) + 1u; };
  std::sort(sorted.begin(), sorted.end(), [&](std::string_view a, std::string_view b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [&](char x, char y) { return rank(x) < rank(y); });
  });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    std::string_view before = sorted[i - 1], path = sorted[i];
    if (before == path) {
      return fail(Errc::kInvalid, "path '" + escape_for_message(path) + "' is there twice");
    }
    if (path.starts_with(before) && path[before.size()] == '/') {
      return fail(Errc::kInvalid, "path '" + escape_for_message(before) +
                                      "' is a file and the directory of '" +
                                      escape_for_message(path) + "'");
    }
  }
  return {};
}

}  // namespace shoal::content
