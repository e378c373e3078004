#include "core/daemon/version.h"

namespace shoal::daemon {

std::string_view version() { return SHOAL_VERSION; }

}  // namespace shoal::daemon
