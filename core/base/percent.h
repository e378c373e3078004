// Percent-encoding of bytes (RFC 3986, section 2.1).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace shoal {

// Everything but the unreserved characters (RFC 3986, section 2.3) and those in `also_plain`.
std::string percent_encode(std::string_view text, std::string_view also_plain = {});

// Any bytes. None for a '%' without two hex digits after it.
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace shoal
