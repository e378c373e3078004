// HTTP requests and responses: no input crashes the parsers, and a message fed byte by byte means
// the same as one fed at once.
#include <cstdlib>
#include <string>

#include "core/http/parser.h"

namespace {

using shoal::http::IncomingRequest;
using shoal::http::MessageLimits;
using shoal::http::RequestParser;
using shoal::http::ResponseParser;

constexpr MessageLimits kLimits{.max_head = 512, .max_body = 256};

template <typename Parser>
void feed(Parser& parser, std::span<const std::byte> data, std::size_t step) {
  std::size_t begin = 0;
  for (std::size_t end = step; parser.state() == Parser::State::kMore; end += step) {
    end = std::min(end, data.size());
    if (end > begin) begin += parser.feed(data.subspan(begin, end - begin));
    if (end == data.size()) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  if (bytes.empty()) return 0;
  RequestParser whole(kLimits);
  feed(whole, bytes, bytes.size());
  RequestParser slow(kLimits);
  feed(slow, bytes, 1);
  if (whole.state() == RequestParser::State::kDone) {
    const IncomingRequest a = whole.take();
    if (slow.state() != RequestParser::State::kDone) std::abort();
    const IncomingRequest b = slow.take();
    if (a.request->target() != b.request->target() || a.request->body != b.request->body) {
      std::abort();
    }
  }
  for (auto part : {ResponseParser::Part::kHead, ResponseParser::Part::kWhole,
                    ResponseParser::Part::kHeadOfNoBody}) {
    ResponseParser response(kLimits, part);
    feed(response, bytes, bytes.size());
    if (response.state() == ResponseParser::State::kDone) response.take_head();
  }
  return 0;
}
