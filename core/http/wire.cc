#include "core/http/wire.h"

#include <algorithm>
#include <cstring>

#include "core/base/check.h"
#include "core/http/parser.h"

namespace shoal::http {

namespace {

constexpr std::size_t kReadSize = 16 * 1024;

// Two headers injected by a value with a line break would be two too many.
void append_field(std::string* out, std::string_view name, std::string_view value) {
  out->append(name);
  out->append(": ");
  for (char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out->push_back(c);
  }
  out->append("\r\n");
}

bool is_framing(std::string_view name) {
  return equal_ignoring_case(name, "Content-Length") ||
         equal_ignoring_case(name, "Transfer-Encoding") || equal_ignoring_case(name, "Connection");
}

void append_fields(std::string* out, const Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (!is_framing(name)) append_field(out, name, value);
  }
}

bool status_has_no_body(int status) { return status == 204 || status == 304 || status < 200; }

// Reads what has arrived behind `buffer`; false at the end of the stream.
Task<Result<bool>> read_more(Stream* stream, ReadBuffer* buffer, Deadline deadline) {
  Result<std::size_t> n = co_await stream->read_some(buffer->prepare(kReadSize), deadline);
  if (!n) co_return fail(n.error());
  buffer->commit(*n);
  co_return *n > 0;
}

}  // namespace

void ReadBuffer::consume(std::size_t n) {
  SHOAL_CHECK(n <= end_ - begin_, "consuming more than there is");
  begin_ += n;
  if (begin_ == end_) begin_ = end_ = 0;
}

std::size_t ReadBuffer::take(std::span<std::byte> out) {
  const std::size_t n = std::min(out.size(), end_ - begin_);
  if (n > 0) std::memcpy(out.data(), bytes_.data() + begin_, n);
  consume(n);
  return n;
}

std::span<std::byte> ReadBuffer::prepare(std::size_t n) {
  if (bytes_.size() - end_ < n && begin_ > 0) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (bytes_.size() - end_ < n) bytes_.resize(end_ + n);
  return {bytes_.data() + end_, n};
}

// --- requests --------------------------------------------------------------------------------

Task<Result<IncomingRequest>> read_request(Stream* stream, ReadBuffer* buffer, MessageLimits limits,
                                           Deadline idle, std::chrono::milliseconds rest) {
  if (buffer->empty()) {
    Result<bool> more = co_await read_more(stream, buffer, idle);
    if (!more) co_return fail(more.error());
    if (!*more) co_return IncomingRequest{};
  }
  const Deadline deadline = Deadline::after(rest);
  RequestParser parser(limits);
  for (;;) {
    if (!buffer->empty()) buffer->consume(parser.feed(buffer->data()));
    if (parser.state() != RequestParser::State::kMore) break;
    if (parser.wants_continue()) {
      Status told = co_await stream->write_all("HTTP/1.1 100 Continue\r\n\r\n", deadline);
      if (!told) co_return fail(told.error());
    }
    Result<bool> more = co_await read_more(stream, buffer, deadline);
    if (!more) co_return fail(more.error().with_context("reading a request"));
    if (!*more) co_return fail(Errc::kUnavailable, "connection ended inside a request");
  }
  IncomingRequest incoming = parser.take();
  if (incoming.request) incoming.request->fds = stream->take_received_fds();
  co_return incoming;
}

std::string serialise_request(const Request& request, std::string_view host) {
  std::string out;
  out.reserve(256 + request.body.size());
  out += request.method;
  out += ' ';
  out += request.target();
  out += " HTTP/1.1\r\n";
  append_field(&out, "Host", host);
  append_fields(&out, request.headers);
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    append_field(&out, "Content-Length", std::to_string(request.body.size()));
  }
  out += "\r\n";
  out += request.body;
  return out;
}

Task<Status> write_request(Stream* stream, const Request* request, std::string host,
                           Deadline deadline) {
  const std::string bytes = serialise_request(*request, host);
  if (request->fds.empty()) co_return co_await stream->write_all(bytes, deadline);
  std::vector<int> fds;
  for (const UniqueFd& fd : request->fds) fds.push_back(fd.get());
  co_return co_await stream->write_with_fds(bytes, fds, deadline);
}

// --- responses -------------------------------------------------------------------------------

std::string serialise_head(const Response& response, std::uint64_t content_length,
                           bool keep_alive) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " ";
  out += reason_phrase(response.status);
  out += "\r\n";
  append_fields(&out, response.headers);
  if (!status_has_no_body(response.status)) {
    append_field(&out, "Content-Length", std::to_string(content_length));
  }
  if (!keep_alive) append_field(&out, "Connection", "close");
  out += "\r\n";
  return out;
}

Task<Status> write_response(Stream* stream, const Response* response, bool keep_alive,
                            bool head_only, Deadline deadline) {
  const bool streamed = static_cast<bool>(response->stream_body);
  const std::uint64_t length = streamed ? response->stream_length : response->body.size();
  std::string bytes = serialise_head(*response, length, keep_alive);
  const bool with_body = !head_only && !status_has_no_body(response->status);
  if (with_body && !streamed) bytes += response->body;
  Status written;
  if (response->fds.empty()) {
    written = co_await stream->write_all(bytes, deadline);
  } else {
    std::vector<int> fds;
    for (const UniqueFd& fd : response->fds) fds.push_back(fd.get());
    written = co_await stream->write_with_fds(bytes, fds, deadline);
  }
  if (!written || !with_body || !streamed) co_return written;
  const std::uint64_t before = stream->bytes_written();
  Status body = co_await response->stream_body(stream);
  if (body && stream->bytes_written() - before != length) {
    co_return fail(Errc::kInternal, "a streamed body has another length than its head said");
  }
  co_return body;
}

namespace {

Task<Status> feed_response(Stream* stream, ReadBuffer* buffer, ResponseParser* parser,
                           Deadline deadline) {
  bool begun = !buffer->empty();
  for (;;) {
    if (!buffer->empty()) buffer->consume(parser->feed(buffer->data()));
    if (parser->state() == ResponseParser::State::kCorrupt) co_return fail(parser->error());
    if (parser->state() == ResponseParser::State::kDone) co_return Status();
    Result<bool> more = co_await read_more(stream, buffer, deadline);
    if (!more) co_return fail(more.error());
    if (!*more) {
      co_return fail(Errc::kUnavailable, begun ? "connection ended inside a response"
                                               : "connection closed before a response");
    }
    begun = true;
  }
}

}  // namespace

Task<Result<ResponseHead>> read_response_head(Stream* stream, ReadBuffer* buffer,
                                              std::size_t max_head, Deadline deadline) {
  ResponseParser parser({.max_head = max_head}, ResponseParser::Part::kHead);
  Status fed = co_await feed_response(stream, buffer, &parser, deadline);
  if (!fed) co_return fail(fed.error());
  co_return parser.take_head();
}

Task<Result<IncomingResponse>> read_response(Stream* stream, ReadBuffer* buffer,
                                             MessageLimits limits, bool head_request,
                                             Deadline deadline) {
  // Servers send at most one interim answer to what we ask; more is an attempt to keep us busy.
  for (int interim = 0; interim < 8; ++interim) {
    ResponseParser parser(
        limits, head_request ? ResponseParser::Part::kHeadOfNoBody : ResponseParser::Part::kWhole);
    Status fed = co_await feed_response(stream, buffer, &parser, deadline);
    if (!fed) co_return fail(fed.error());
    ResponseHead head = parser.take_head();
    if (head.status < 200 && head.status != 101) continue;
    IncomingResponse incoming;
    incoming.keep_alive = head.keep_alive;
    incoming.response.status = head.status;
    incoming.response.headers = std::move(head.headers);
    incoming.response.body = parser.take_body();
    incoming.response.fds = stream->take_received_fds();
    co_return incoming;
  }
  co_return fail(Errc::kCorrupt, "HTTP response: too many interim answers");
}

}  // namespace shoal::http
