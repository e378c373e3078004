// The head of an HTTP/1.1 response: the little of RFC 9112 that the agent's socket speaks. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::agent_client {

inline constexpr std::size_t kMaxHead = 16 * 1024;
inline constexpr std::uint64_t kMaxBody = 64 * 1024 * 1024;

struct ResponseHead {
  int status = 0;
  std::uint64_t content_length = 0;  // 0 if the field is absent, which only 204 may do
  std::string content_type;
  bool close = false;  // the connection ends with this response
};

// `head` is everything up to and with the empty line. Errors: corrupt (not a response, no or an odd
// length, chunked, larger than kMaxBody).
Result<ResponseHead> parse_response_head(std::string_view head);

}  // namespace shoal::agent_client
