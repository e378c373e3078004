#include "core/content/reference.h"

#include "core/content/relative_path.h"

namespace shoal::content {
namespace {

constexpr std::string_view kAccepted =
    "write NAME:TAG or NAME@sha256:<64 hex digits>; a name is lower-case letters and digits, with "
    "single '.', '_', '__' or dashes between them and '/' between components (at most 255 bytes); "
    "a "
    "tag is 1 to 128 letters, digits, '_', '.' or '-' and does not start with '.' or '-'";

bool is_lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_name_component(std::string_view text) {
  std::size_t i = 0;
  auto skip_alnum = [&] {
    std::size_t start = i;
    while (i < text.size() && is_lower_alnum(text[i])) ++i;
    return i > start;
  };
  if (!skip_alnum()) return false;
  while (i < text.size()) {
    std::size_t start = i;
    while (i < text.size() && text[i] == text[start] && !is_lower_alnum(text[i])) ++i;
    std::size_t length = i - start;
    char separator = text[start];
    bool good =
        separator == '-' || (separator == '.' && length == 1) || (separator == '_' && length <= 2);
    if (!good || !skip_alnum()) return false;
  }
  return true;
}

bool is_name(std::string_view text) {
  if (text.size() > kMaxReferenceName) return false;
  for (;;) {
    std::size_t slash = text.find('/');
    if (!is_name_component(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > kMaxTag || !is_word(text[0])) return false;
  for (char c : text) {
    if (!is_word(c) && c != '.' && c != '-') return false;
  }
  return true;
}

auto refuse(std::string_view what, std::string_view text) {
  return fail(Errc::kInvalid, "'" + escape_for_message(text) + "' is not a " + std::string(what) +
                                  ": " + std::string(kAccepted));
}

}  // namespace

Result<Reference> Reference::parse(std::string_view text) {
  if (std::size_t at = text.find('@'); at != std::string_view::npos) {
    Result<Digest> digest = Digest::parse(text.substr(at + 1));
    if (!digest || !is_name(text.substr(0, at))) return refuse("reference", text);
    return Reference(std::string(text.substr(0, at)), *digest);
  }
  std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || !is_name(text.substr(0, colon)) ||
      !is_tag(text.substr(colon + 1))) {
    return refuse("reference", text);
  }
  return Reference(std::string(text.substr(0, colon)), std::string(text.substr(colon + 1)));
}

Result<Reference> Reference::by_tag(std::string_view name, std::string_view tag) {
  if (!is_name(name)) return refuse("name", name);
  if (!is_tag(tag)) return refuse("tag", tag);
  return Reference(std::string(name), std::string(tag));
}

Result<Reference> Reference::by_digest(std::string_view name, const Digest& digest) {
  if (!is_name(name)) return refuse("name", name);
  return Reference(std::string(name), digest);
}

std::string Reference::str() const {
  if (const std::string* by_tag = tag()) return name_ + ":" + *by_tag;
  return name_ + "@" + digest()->str();
}

}  // namespace shoal::content
