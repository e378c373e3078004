// Text on its way to a terminal: names and messages come from files, peers and other programs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace shoal::cli {

// Control characters, and bytes outside of well-formed UTF-8, as \xNN: nothing that arrives from
// elsewhere may move the cursor or forge a line.
std::string printable(std::string_view text);

// How many columns well-formed UTF-8 takes, counting each code point as one.
std::size_t columns(std::string_view text);

// At most `width` columns; what is cut is shown by a final "…".
std::string shortened(std::string_view text, std::size_t width);

// Spaces added up to `width` columns, after or before the text.
std::string padded(std::string_view text, std::size_t width, bool right_aligned = false);

// "1 file", "2 files".
std::string counted(std::size_t count, std::string_view noun);

}  // namespace shoal::cli
