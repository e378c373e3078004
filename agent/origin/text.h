// Small readings of text that several origins need.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shoal::agent {

// ASCII only.
std::string lower(std::string_view text);
// Without spaces, tabs and line breaks at both ends.
std::string_view trim(std::string_view text);
// All of the text must be decimal digits.
std::optional<std::uint64_t> to_number(std::string_view text);
// Does `text` match a shell pattern: '*' is any run of characters, '/' included, '?' is one.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace shoal::agent
