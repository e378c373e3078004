// Addresses as people write them: URLs of http, https and unix sockets, host:port pairs, listen
// addresses. Strict: what is not certainly understood is refused. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::http {

struct HostPort {
  std::string host;  // name, IPv4 or IPv6 address; IPv6 without brackets
  std::uint16_t port = 0;

  // "gpu-17:6970", "10.0.0.7:6970", "[fe80::1]:6970"
  std::string str() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// The forms of HostPort::str(); the port is required. Errors: invalid.
Result<HostPort> parse_host_port(std::string_view text);

// Where to listen, or to connect to: a TCP address or the path of a unix socket.
struct Endpoint {
  HostPort tcp;
  std::string unix_path;  // not empty: a unix socket, and `tcp` means nothing

  bool is_unix() const { return !unix_path.empty(); }
  // "127.0.0.1:6969" or "unix:/run/shoal/agent.sock"
  std::string str() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// "host:port", "unix:/absolute/path" or "/absolute/path". Port 0 asks for any free one. Errors:
// invalid.
Result<Endpoint> parse_endpoint(std::string_view text);

struct Url {
  enum class Scheme { kHttp, kHttps, kUnix };

  Scheme scheme = Scheme::kHttp;
  Endpoint endpoint;   // port 80 or 443 when the text names none
  std::string target;  // path and query as written, percent-encoded; "/" when the text has none

  // unix URLs are shown without a target.
  std::string str() const;
  friend bool operator==(const Url&, const Url&) = default;
};

// "http://host[:port][/target]", "https://…", "unix:/absolute/path" (no target: the whole rest is
// the path of the socket). Refused: user information, fragments, spaces, control characters, empty
// hosts, longer than kMaxUrl. Errors: invalid.
Result<Url> parse_url(std::string_view text);
inline constexpr std::size_t kMaxUrl = 8192;

// Errors: invalid for '%' without two hex digits and for a NUL, encoded or not.
Result<std::string> percent_decode(std::string_view text);

// Leaves A–Z a–z 0–9 - . _ ~ and, for paths, "/" and ":" as they are.
std::string percent_encode(std::string_view text);
std::string percent_encode_path(std::string_view text);

// "a=1&b=two%20words": decoded ('+' is a space); a repeated key is refused, "a" means "a=".
// Errors: invalid.
using Query = std::map<std::string, std::string, std::less<>>;
Result<Query> parse_query(std::string_view text);
// "?a=1&b=two%20words"; empty for an empty map.
std::string format_query(const Query& query);

}  // namespace shoal::http
