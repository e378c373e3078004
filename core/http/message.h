// Requests and responses as values, and how our errors look on the wire.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/http/identity.h"
#include "core/http/stream.h"
#include "core/http/url.h"

namespace shoal::http {

// Header fields in order; names compare without case.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  // The first field of that name; nothing if there is none.
  std::optional<std::string_view> get(std::string_view name) const;
  // "" if there is none.
  std::string_view value(std::string_view name) const;
  bool has(std::string_view name) const { return get(name).has_value(); }
  // Replaces all fields of that name.
  void set(std::string_view name, std::string value);
  void add(std::string name, std::string value);
  void remove(std::string_view name);

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  std::size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);

inline constexpr std::string_view kPullIdHeader = "Shoal-Pull-Id";
inline constexpr std::string_view kNodeHeader = "Shoal-Node";
inline constexpr std::string_view kRetryAfterMsHeader = "Shoal-Retry-After-Ms";

// Whom a request came from.
struct Peer {
  std::string address;  // Stream::peer_address()
  Identity identity;    // from the certificate
  std::optional<UnixPeer> unix_peer;
  std::uint64_t connection = 0;  // the same for all requests of one connection of one Server
};

struct Request {
  std::string method = "GET";
  std::string path = "/";  // decoded, without the query
  std::string raw_path;  // as it is on the wire; filled by readers. Not empty: sent instead of path
  Query query;
  std::string raw_query;  // see MessageLimits::raw_query; `query` is empty then
  Headers headers;
  std::string body;
  std::vector<UniqueFd> fds;  // descriptors that travel with it (unix sockets)

  // Filled by Server.
  std::map<std::string, std::string, std::less<>> params;  // "{name}" of the route, decoded
  Peer peer;

  std::string_view pull_id() const { return headers.value(kPullIdHeader); }
  // "" if the query or the route has no such name.
  std::string_view query_value(std::string_view name) const;
  std::string_view param(std::string_view name) const;
  // Path and query, encoded.
  std::string target() const;

  static Request get(std::string path, Query query = {});
  static Request post_json(std::string path, std::string json);
};

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  std::vector<UniqueFd> fds;  // sent with the first byte of the head (unix sockets)

  // Server only. Not empty: `body` is ignored; the head is sent with Content-Length `stream_length`
  // and the function then writes exactly that many bytes to the stream; the connection is closed if
  // it fails. The function, and what it refers to, lives until its task has ended. Not called for
  // HEAD.
  std::function<Task<Status>(Stream*)> stream_body;
  std::uint64_t stream_length = 0;

  bool ok() const { return status >= 200 && status < 300; }

  static Response json(std::string text, int status = 200);
  static Response text(std::string text, int status = 200);
  static Response empty(int status = 204);
  // Status of the code, body {"error":{"code":"not_found","message":"…"}}. With kOverloaded, and
  // whenever `retry_after` is given, Retry-After (whole seconds, rounded up) and
  // Shoal-Retry-After-Ms.
  static Response error(const Error& error,
                        std::optional<std::chrono::milliseconds> retry_after = {});
};

// One status for each code, see message.cc.
int status_of(Errc code);
// For answers of servers that do not send our error body. 2xx and 3xx are internal: not errors.
Errc errc_of_status(int status);
// "Not Found"; "Unknown" for a number without a name.
std::string_view reason_phrase(int status);

std::string error_body(const Error& error);
// The Error that a response with a status outside 2xx stands for: from our body if it has one, else
// from the status.
Error response_error(const Response& response);

// From Shoal-Retry-After-Ms or Retry-After in seconds; nothing for dates and nonsense.
std::optional<std::chrono::milliseconds> retry_after(const Headers& headers);

}  // namespace shoal::http
