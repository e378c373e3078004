// The path of a file inside a model. It becomes a path on every node's disk, so nothing that could
// leave the directory or confuse a terminal, a log or a script gets through.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/result.h"

namespace shoal::content {

inline constexpr std::size_t kMaxPathLength = 4096;
inline constexpr std::size_t kMaxPathComponent = 255;

// `text` for an error message: control characters, quotes, backslashes and bytes outside of
// well-formed UTF-8 as \xNN, and cut after `limit` bytes of input with "...".
std::string escape_for_message(std::string_view text, std::size_t limit = 80);

// Well-formed UTF-8 (Unicode 15, table 3-7) without control characters (U+0000 to U+001F, U+007F to
// U+009F): safe to show in a terminal or on one line of a log.
bool is_plain_text(std::string_view text);

// Components joined by '/'. Each is 1 to kMaxPathComponent bytes, not "." or "..", of well-formed
// UTF-8 without control characters and without '\\'. In all at
// most kMaxPathLength bytes.
//
// Thread: a value.
class RelativePath {
 public:
  // Errors: invalid; the message says which rule and shows the path escaped.
  static Result<RelativePath> parse(std::string_view text);

  const std::string& str() const { return text_; }

  friend auto operator<=>(const RelativePath&, const RelativePath&) = default;

 private:
  explicit RelativePath(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

// Whether the paths can exist together in one directory tree: none twice, none that is also the
// directory of another. Errors: invalid, naming both.
Status check_paths_coexist(std::span<const RelativePath> paths);

}  // namespace shoal::content
