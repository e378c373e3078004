#include "core/http/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace shoal::http {

Result<Endpoint> to_endpoint(const SocketAddress& address) {
  Endpoint endpoint;
  std::array<char, INET6_ADDRSTRLEN> text{};
  switch (address.family()) {
    case AF_UNIX: {
      const auto* a = reinterpret_cast<const sockaddr_un*>(&address.storage);
      const std::size_t head = offsetof(sockaddr_un, sun_path);
      endpoint.unix_path = address.size > head && a->sun_path[0] == '/' ? a->sun_path : "/";
      return endpoint;
    }
    case AF_INET: {
      const auto* a = reinterpret_cast<const sockaddr_in*>(&address.storage);
      ::inet_ntop(AF_INET, &a->sin_addr, text.data(), text.size());
      endpoint.tcp = {text.data(), ntohs(a->sin_port)};
      return endpoint;
    }
    case AF_INET6: {
      const auto* a = reinterpret_cast<const sockaddr_in6*>(&address.storage);
      ::inet_ntop(AF_INET6, &a->sin6_addr, text.data(), text.size());
      endpoint.tcp = {text.data(), ntohs(a->sin6_port)};
      return endpoint;
    }
    default:
      return fail(Errc::kInvalid, "socket is neither TCP nor unix");
  }
}

SocketAddress unix_address(const std::string& path) {
  SocketAddress address;
  auto* a = reinterpret_cast<sockaddr_un*>(&address.storage);
  a->sun_family = AF_UNIX;
  std::strncpy(a->sun_path, path.c_str(), sizeof(a->sun_path) - 1);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

Result<SocketAddress> numeric_address(const HostPort& address) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) !=
      0) {
    return fail(Errc::kInvalid, "not a numeric address: " + address.str());
  }
  SocketAddress result;
  std::memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  result.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return result;
}

namespace {

Result<Endpoint> endpoint_of(int fd, int (*call)(int, sockaddr*, socklen_t*), const char* what) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  if (call(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) {
    return fail(errno_error(what, errno));
  }
  return to_endpoint(address);
}

}  // namespace

Result<Endpoint> peer_endpoint(int fd) { return endpoint_of(fd, ::getpeername, "peer's address"); }
Result<Endpoint> local_endpoint(int fd) { return endpoint_of(fd, ::getsockname, "own address"); }

}  // namespace shoal::http
