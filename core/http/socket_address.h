// Socket addresses of the kernel as Endpoints. Internal to core/http.
#pragma once

#include <sys/socket.h>

#include "core/base/result.h"
#include "core/http/url.h"

namespace shoal::http {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// Unnamed unix sockets become "unix:/".
// Errors: invalid for families other than TCP and unix.
Result<Endpoint> to_endpoint(const SocketAddress& address);

// `path` has been checked by parse_endpoint.
SocketAddress unix_address(const std::string& path);

// Of IPv4 and IPv6 addresses, not names; invalid otherwise. Does not block.
Result<SocketAddress> numeric_address(const HostPort& address);

// getpeername and getsockname.
Result<Endpoint> peer_endpoint(int fd);
Result<Endpoint> local_endpoint(int fd);

}  // namespace shoal::http
