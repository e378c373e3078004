// How deep and how large a JSON text is, found before it is parsed: a parsed value takes up to 30
// times as much memory as its text, and nesting costs stack wherever it is walked.
#pragma once

#include <cstddef>
#include <string_view>

namespace shoal {

struct JsonShape {
  std::size_t depth = 0;   // deepest nesting of arrays and objects
  std::size_t values = 0;  // at least as many as there are values of all kinds
};

// Of a text that may be anything; means something only if it turns out to be JSON.
JsonShape json_shape(std::string_view text);

}  // namespace shoal
