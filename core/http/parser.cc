#include "core/http/parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <limits>

#include "core/base/check.h"

namespace shoal::http {

namespace bh = boost::beast::http;

namespace {

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

template <typename Fields>
Headers copy_headers(const Fields& fields) {
  Headers headers;
  for (const auto& field : fields) {
    headers.add(std::string(view(field.name_string())), std::string(view(field.value())));
  }
  return headers;
}

// Bodies have a Content-Length. Nobody we talk to sends chunks, and Beast 1.74 asserts on some bad
// ones, so that a peer could end the process.
template <typename Parser>
bool framing_is_clear(const Parser& parser) {
  return parser.get().count(bh::field::transfer_encoding) == 0;
}

int refusal_of(boost::beast::error_code error) {
  if (error == bh::error::header_limit) return 431;
  if (error == bh::error::body_limit) return 413;
  if (error == bh::error::bad_version) return 505;
  return 400;
}

// Beast counts a head that arrives in portions a few bytes differently from one that arrives at
// once. So we count, and its own limit, so much larger, is never reached.
constexpr std::size_t kHeadSlack = 256;

asio::const_buffer buffer_of(std::span<const std::byte> data) { return {data.data(), data.size()}; }

}  // namespace

// --- requests --------------------------------------------------------------------------------

struct RequestParser::Impl {
  bh::request_parser<bh::string_body> parser;
  State state = State::kMore;
  bool head_seen = false;
  bool continue_wanted = false;
  bool raw_query = false;
  std::size_t max_head = 0;
  std::size_t head = 0;  // bytes of it that were taken
  IncomingRequest result;

  void refuse(int status, std::string reason) {
    state = State::kRefused;
    result.request.reset();
    result.refusal = status;
    result.reason = std::move(reason);
  }

  void look_at_head() {
    head_seen = true;
    if (head > max_head) return refuse(431, "the head is too long");
    if (!framing_is_clear(parser)) {
      return refuse(parser.get().count(bh::field::content_length) > 0 ? 400 : 501,
                    "transfer codings are not supported");
    }
    const std::string_view expect = view(parser.get()[bh::field::expect]);
    if (expect.empty()) return;
    if (!equal_ignoring_case(expect, "100-continue")) return refuse(417, "unknown expectation");
    continue_wanted = true;
  }

  void finish() {
    auto& message = parser.get();
    Request request;
    request.method = view(message.method_string());
    const std::string_view target = view(message.target());
    if (!target.starts_with('/')) return refuse(400, "request target is not a path");
    const std::size_t question = target.find('?');
    request.raw_path = target.substr(0, question);
    Result<std::string> path = percent_decode(request.raw_path);
    if (!path) return refuse(400, "path: " + path.error().message());
    request.path = std::move(*path);
    if (question != std::string_view::npos && raw_query) {
      request.raw_query = target.substr(question + 1);
    } else if (question != std::string_view::npos) {
      Result<Query> query = parse_query(target.substr(question + 1));
      if (!query) return refuse(400, "query: " + query.error().message());
      request.query = std::move(*query);
    }
    request.headers = copy_headers(message);
    request.body = std::move(message.body());
    result.keep_alive = parser.keep_alive();
    result.request = std::move(request);
    state = State::kDone;
  }
};

RequestParser::RequestParser(MessageLimits limits) : impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<std::uint32_t>(limits.max_head + kHeadSlack));
  impl_->parser.body_limit(limits.max_body);
  impl_->max_head = limits.max_head;
  impl_->raw_query = limits.raw_query;
}

RequestParser::~RequestParser() = default;

std::size_t RequestParser::feed(std::span<const std::byte> data) {
  SHOAL_CHECK(impl_->state == State::kMore && !data.empty(), "parser is not waiting for bytes");
  std::size_t taken = 0;
  // Head and body are two steps, so that what the head promises can be refused before the body
  // comes.
  while (taken < data.size() && impl_->state == State::kMore) {
    boost::beast::error_code error;
    impl_->parser.eager(impl_->head_seen);
    const std::size_t n = impl_->parser.put(buffer_of(data.subspan(taken)), error);
    taken += n;
    if (!impl_->head_seen) impl_->head += n;
    if (error && error != bh::error::need_more) {
      impl_->refuse(refusal_of(error), error.message());
      break;
    }
    if (!impl_->head_seen && impl_->parser.is_header_done()) {
      impl_->look_at_head();
      if (impl_->state != State::kMore) break;
    }
    if (impl_->parser.is_done()) {
      impl_->finish();
      break;
    }
    if (n == 0) break;
  }
  const bool within_head = impl_->state == State::kMore && !impl_->head_seen;
  if (within_head && impl_->head + (data.size() - taken) > impl_->max_head) {
    impl_->refuse(431, "the head is too long");
  }
  return taken;
}

RequestParser::State RequestParser::state() const { return impl_->state; }

bool RequestParser::wants_continue() {
  return impl_->state == State::kMore && std::exchange(impl_->continue_wanted, false);
}

IncomingRequest RequestParser::take() {
  SHOAL_CHECK(impl_->state != State::kMore, "no message yet");
  return std::move(impl_->result);
}

// --- responses -------------------------------------------------------------------------------

struct ResponseParser::Impl {
  bh::response_parser<bh::string_body> parser;
  Part part = Part::kWhole;
  State state = State::kMore;
  bool head_seen = false;
  Error error{Errc::kInternal, "no error"};

  void refuse(std::string reason) {
    state = State::kCorrupt;
    error = Error(Errc::kCorrupt, "HTTP response: " + std::move(reason));
  }

  void look_at_head() {
    head_seen = true;
    if (!framing_is_clear(parser)) return refuse("transfer codings are not supported");
    if (part == Part::kHeadOfNoBody) {
      state = State::kDone;
      return;
    }
    // A body that ends with the connection cannot be told from one that was cut off.
    if (parser.need_eof()) return refuse("no length of the body");
    if (part == Part::kHead) state = State::kDone;
  }
};

ResponseParser::ResponseParser(MessageLimits limits, Part part) : impl_(std::make_unique<Impl>()) {
  impl_->part = part;
  impl_->parser.header_limit(static_cast<std::uint32_t>(limits.max_head));
  if (part == Part::kWhole) {
    impl_->parser.body_limit(limits.max_body);
  } else {
    impl_->parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  }
  impl_->parser.skip(part == Part::kHeadOfNoBody);
}

ResponseParser::~ResponseParser() = default;

std::size_t ResponseParser::feed(std::span<const std::byte> data) {
  SHOAL_CHECK(impl_->state == State::kMore && !data.empty(), "parser is not waiting for bytes");
  std::size_t taken = 0;
  while (taken < data.size() && impl_->state == State::kMore) {
    boost::beast::error_code error;
    impl_->parser.eager(impl_->head_seen);
    const std::size_t n = impl_->parser.put(buffer_of(data.subspan(taken)), error);
    taken += n;
    if (error && error != bh::error::need_more) {
      impl_->refuse(error.message());
      break;
    }
    if (!impl_->head_seen && impl_->parser.is_header_done()) {
      impl_->look_at_head();
      if (impl_->state != State::kMore) break;
    }
    if (impl_->parser.is_done()) {
      impl_->state = State::kDone;
      break;
    }
    if (n == 0) break;
  }
  return taken;
}

ResponseParser::State ResponseParser::state() const { return impl_->state; }
const Error& ResponseParser::error() const { return impl_->error; }

ResponseHead ResponseParser::take_head() {
  SHOAL_CHECK(impl_->state == State::kDone, "no message yet");
  const auto& message = impl_->parser.get();
  ResponseHead head;
  head.status = static_cast<int>(message.result_int());
  head.headers = copy_headers(message);
  if (impl_->parser.content_length()) head.content_length = *impl_->parser.content_length();
  head.keep_alive = impl_->parser.keep_alive();
  return head;
}

std::string ResponseParser::take_body() { return std::move(impl_->parser.get().body()); }

}  // namespace shoal::http
