// Which release of Shoal this is.
#pragma once

#include <string_view>

namespace shoal::daemon {

// "0.1.0", the version in the top CMakeLists.txt.
std::string_view version();

}  // namespace shoal::daemon
