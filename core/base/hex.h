// Lower-case hexadecimal.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace shoal {

std::string to_hex(std::span<const std::byte> bytes);

// Fills `out` from exactly 2 * out.size() lower-case digits; false (and `out` unspecified)
// otherwise. Upper case is refused: digests are compared as text elsewhere, so they have one
// spelling.
bool from_hex(std::string_view text, std::span<std::byte> out);

}  // namespace shoal
