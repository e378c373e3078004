// host:port as a setting: what to listen on or where to connect.
#pragma once

#include <string_view>

#include "core/base/result.h"
#include "core/http/url.h"

namespace shoal::daemon {

using Address = http::HostPort;  // port 0 asks for any free one

// http::parse_host_port with an example in its error, which a person will read. Errors: invalid.
Result<Address> parse_address(std::string_view text);

// True if nothing outside this machine can reach the host: 127.0.0.0/8, ::1, "localhost".
bool is_loopback(const Address& address);

}  // namespace shoal::daemon
