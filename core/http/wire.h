// HTTP/1.1 on a Stream: reading and writing one message at a time. For programs that keep their own
// connections (the lane); everybody else uses Server and Client.
//
// Coroutines here borrow their pointers until they end.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/http/message.h"
#include "core/http/stream.h"

namespace shoal::http {

struct MessageLimits {
  std::size_t max_head = 16 * 1024;           // bytes of start line and fields
  std::uint64_t max_body = 16 * 1024 * 1024;  // bytes after decoding
  // Of requests read: the query is not decoded but left as it is on the wire, without its '?'. For
  // protocols whose values are bytes rather than text, or whose keys repeat.
  bool raw_query = false;
};

// Bytes that were received but not yet used. What a message's reader took beyond its end stays here
// for the next reader of the same connection.
class ReadBuffer {
 public:
  std::span<const std::byte> data() const { return {bytes_.data() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }
  // Drops the first `n` (at most data().size()) bytes.
  void consume(std::size_t n);
  // Moves up to out.size() bytes to `out`; returns how many. For bodies: first this, then the
  // stream.
  std::size_t take(std::span<std::byte> out);
  // Room for `n` more bytes behind data(); commit() what was written. Invalidates data().
  std::span<std::byte> prepare(std::size_t n);
  void commit(std::size_t n) { end_ += n; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

// What read_request found: a request, a reason to refuse, or (neither) a connection that the peer
// closed between two requests.
struct IncomingRequest {
  std::optional<Request> request;  // params and peer are empty
  bool keep_alive = false;         // the connection may carry another request

  int refusal = 0;  // status to answer with before closing: 400, 413, 417, 431, 501, 505
  std::string reason;
};

// Reads one request with its body. Waits for its first byte until `idle`, and for the rest at most
// `rest` longer. Answers "100-continue" by itself. Errors: those of Stream; timed_out with an empty
// buffer is an idle connection; unavailable when the peer closed in the middle.
Task<Result<IncomingRequest>> read_request(Stream* stream, ReadBuffer* buffer, MessageLimits limits,
                                           Deadline idle, std::chrono::milliseconds rest);

// Writes `request` to `host` (the Host header). Adds Content-Length where there is a body.
Task<Status> write_request(Stream* stream, const Request* request, std::string host,
                           Deadline deadline);
// The same as bytes, for callers that pipeline. Fields with line breaks lose them.
std::string serialise_request(const Request& request, std::string_view host);

// Writes `response` with its body and descriptors, or runs its stream_body. `head_only`: answer to
// a HEAD request.
Task<Status> write_response(Stream* stream, const Response* response, bool keep_alive,
                            bool head_only, Deadline deadline);
// Status line and fields up to and with the empty line; the body of `content_length` bytes follows.
std::string serialise_head(const Response& response, std::uint64_t content_length, bool keep_alive);

struct ResponseHead {
  int status = 0;
  Headers headers;
  std::uint64_t content_length = 0;
  bool keep_alive = false;
};

// Reads the head of a response whose body has a Content-Length, which the caller then reads (first
// from `buffer`, then from the stream). Errors: corrupt (not HTTP, over `max_head`, chunked or
// without a length), unavailable (end of the stream; "closed before" in an untouched buffer), and
// Stream's.
Task<Result<ResponseHead>> read_response_head(Stream* stream, ReadBuffer* buffer,
                                              std::size_t max_head, Deadline deadline);

// Reads a whole response with a Content-Length. `head_request`: answer to HEAD, no body follows.
// Interim 1xx answers are skipped. `keep_alive` says whether the connection can be used again.
// Errors: corrupt (not HTTP, larger than the limits), and as above.
struct IncomingResponse {
  Response response;
  bool keep_alive = false;
};
Task<Result<IncomingResponse>> read_response(Stream* stream, ReadBuffer* buffer,
                                             MessageLimits limits, bool head_request,
                                             Deadline deadline);

}  // namespace shoal::http
