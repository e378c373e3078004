// Tells the service manager how far the program is: the datagram protocol of sd_notify(3), without
// its library.
#pragma once

#include <string_view>

#include "core/base/result.h"

namespace shoal::daemon {

// Sends `state` ("READY=1", "STOPPING=1", "STATUS=…", several joined by newlines) to the socket
// that $NOTIFY_SOCKET names. Does nothing, successfully, if the variable is not set. Errors: those
// of sendto(2), and invalid if the variable does not name a unix socket.
Status notify_service_manager(std::string_view state);

}  // namespace shoal::daemon
