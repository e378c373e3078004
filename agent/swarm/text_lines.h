// Lines of the texts that nodes sign: "NAME VALUE\n", one spelling of each. Internal to statements
// and hash claims.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shoal::agent {

// No line is longer.
inline constexpr std::size_t kMaxTextLine = 8 * 1024;

// Takes "NAME VALUE\n" from the front of `rest`; none if something else is there.
std::optional<std::string_view> take_line(std::string_view& rest, std::string_view name);
// The same for a number as we write it: decimal, no sign, no leading zero.
std::optional<std::uint64_t> take_number(std::string_view& rest, std::string_view name);
// The same for raw bytes in lower-case hex, at least one. False if something else is there.
bool take_hex(std::string_view& rest, std::string_view name, std::string& out);

std::string hex_of(const std::string& bytes);

}  // namespace shoal::agent
