#include "core/http/parser.h"

#include <gtest/gtest.h>

#include <string>

namespace shoal::http {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Feeds `text` at once; returns how much was taken.
IncomingRequest parse_whole(std::string_view text, MessageLimits limits = {},
                            std::size_t* taken = nullptr) {
  RequestParser parser(limits);
  const std::size_t n = parser.feed(bytes(text));
  if (taken != nullptr) *taken = n;
  if (parser.state() == RequestParser::State::kMore) return {};
  return parser.take();
}

constexpr std::string_view kPost =
    "POST /v1/a%20b?x=1&y=z HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nShoal-Pull-Id: "
    "p1\r\n\r\nhello";

TEST(RequestParser, SplitsARequestIntoItsParts) {
  const IncomingRequest incoming = parse_whole(kPost);
  ASSERT_TRUE(incoming.request);
  EXPECT_EQ(incoming.request->method, "POST");
  EXPECT_EQ(incoming.request->path, "/v1/a b");
  EXPECT_EQ(incoming.request->raw_path, "/v1/a%20b");
  EXPECT_EQ(incoming.request->query_value("y"), "z");
  EXPECT_EQ(incoming.request->body, "hello");
  EXPECT_EQ(incoming.request->pull_id(), "p1");
  EXPECT_TRUE(incoming.keep_alive);
}

TEST(RequestParser, LeavesAQueryAloneThatIsNotText) {
  const std::string text = "GET /a%20b?h=%00+%ff&h=%zz?&&x HTTP/1.1\r\n\r\n";
  EXPECT_EQ(parse_whole(text).refusal, 400);
  const IncomingRequest incoming = parse_whole(text, {.raw_query = true});
  ASSERT_TRUE(incoming.request);
  EXPECT_EQ(incoming.request->path, "/a b");
  EXPECT_EQ(incoming.request->raw_query, "h=%00+%ff&h=%zz?&&x");
  EXPECT_TRUE(incoming.request->query.empty());
  EXPECT_EQ(incoming.request->target(), "/a%20b?h=%00+%ff&h=%zz?&&x");
  EXPECT_EQ(parse_whole("GET /a?b=c HTTP/1.1\r\n\r\n").request->raw_query, "");
}

TEST(RequestParser, GivesTheSameForEverySplit) {
  for (std::size_t cut = 1; cut < kPost.size(); ++cut) {
    RequestParser parser({});
    std::string pending(kPost.substr(0, cut));
    pending.erase(0, parser.feed(bytes(pending)));
    EXPECT_EQ(parser.state(), RequestParser::State::kMore) << cut;
    pending += kPost.substr(cut);
    pending.erase(0, parser.feed(bytes(pending)));
    ASSERT_EQ(parser.state(), RequestParser::State::kDone) << cut;
    EXPECT_TRUE(pending.empty());
    EXPECT_EQ(parser.take().request->body, "hello");
  }
}

TEST(RequestParser, AHeadIsTooLongOrNotHoweverItArrives) {
  const std::size_t head = kPost.find("hello");
  for (std::size_t limit : {head - 1, head, head + 1}) {
    for (std::size_t step = 1; step <= kPost.size(); ++step) {
      RequestParser parser({.max_head = limit});
      std::string pending;
      for (std::size_t at = 0; at < kPost.size(); at += step) {
        if (parser.state() != RequestParser::State::kMore) break;
        pending += kPost.substr(at, step);
        pending.erase(0, parser.feed(bytes(pending)));
      }
      ASSERT_EQ(parser.state() == RequestParser::State::kDone, limit >= head)
          << limit << " " << step;
      EXPECT_EQ(parser.take().refusal, limit < head ? 431 : 0);
    }
  }
}

TEST(RequestParser, LeavesThePipelinedNextRequestAlone) {
  std::size_t taken = 0;
  const std::string two = std::string(kPost) + "GET /next HTTP/1.1\r\n\r\n";
  ASSERT_TRUE(parse_whole(two, {}, &taken).request);
  EXPECT_EQ(taken, kPost.size());
}

TEST(RequestParser, RefusesChunkedBodiesBeforeTheyAreRead) {
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(parse_whole(head + "3\r\nabc\r\n0\r\n\r\n").refusal, 501);
  EXPECT_EQ(parse_whole(head + "0\r\nabc\r\n0,\xf5\xf2\xf5").refusal, 501);
}

TEST(RequestParser, RefusesWithTheRightStatus) {
  const MessageLimits limits{.max_head = 256, .max_body = 4};
  const auto status = [&](const std::string& text) { return parse_whole(text, limits).refusal; };
  EXPECT_EQ(status(std::string(kPost)), 413);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nA: " + std::string(300, 'a') + "\r\n\r\n"), 431);
  EXPECT_EQ(status("GET /" + std::string(300, 'a')), 431);
  EXPECT_EQ(status("\x16\x03\x01 garbage garbage\r\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/3.0\r\n\r\n"), 505);
  EXPECT_EQ(status("GET http://h/ HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /%zz HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /%00 HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /?a=1&a=2 HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status("GET / HTTP/1.1\r\nExpect: miracles\r\n\r\n"), 417);
}

TEST(RequestParser, RefusesUnclearLengths) {
  for (const char* fields :
       {"Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked", "Content-Length: 3\r\nContent-Length: 4",
        "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Content-Length: -1",
        "Content-Length: 1x", "Content-Length: 99999999999999999999"}) {
    const IncomingRequest incoming =
        parse_whole("POST / HTTP/1.1\r\n" + std::string(fields) + "\r\n\r\n0\r\n\r\n");
    EXPECT_FALSE(incoming.request) << fields;
    EXPECT_NE(incoming.refusal, 0) << fields;
  }
}

TEST(RequestParser, SaysWhenTheBodyIsWaitedFor) {
  RequestParser parser({});
  const std::string_view head =
      "POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
  EXPECT_EQ(parser.feed(bytes(head)), head.size());
  EXPECT_TRUE(parser.wants_continue());
  EXPECT_FALSE(parser.wants_continue());
  EXPECT_EQ(parser.feed(bytes("ok")), 2u);
  EXPECT_EQ(parser.take().request->body, "ok");
}

TEST(RequestParser, OldAndClosingRequestsEndTheConnection) {
  EXPECT_FALSE(parse_whole("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_FALSE(parse_whole("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").keep_alive);
}

ResponseParser::State response_state(std::string_view text, ResponseParser::Part part,
                                     MessageLimits limits = {}) {
  ResponseParser parser(limits, part);
  parser.feed(bytes(text));
  return parser.state();
}

TEST(ResponseParser, StopsAfterTheHeadWhenAsked) {
  const std::string_view text = "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello";
  ResponseParser parser({}, ResponseParser::Part::kHead);
  EXPECT_EQ(parser.feed(bytes(text)), text.size() - 5);
  ASSERT_EQ(parser.state(), ResponseParser::State::kDone);
  const ResponseHead head = parser.take_head();
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(head.content_length, 5u);
  EXPECT_TRUE(head.keep_alive);
}

TEST(ResponseParser, AHugeLengthIsTheReadersBusinessInAHeadOnly) {
  const std::string_view text = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
  EXPECT_EQ(response_state(text, ResponseParser::Part::kHead), ResponseParser::State::kDone);
  EXPECT_EQ(response_state(text, ResponseParser::Part::kWhole), ResponseParser::State::kCorrupt);
}

TEST(ResponseParser, RefusesBodiesWithoutALengthAndGarbage) {
  using State = ResponseParser::State;
  using Part = ResponseParser::Part;
  EXPECT_EQ(response_state("HTTP/1.1 200 OK\r\n\r\n", Part::kWhole), State::kCorrupt);
  EXPECT_EQ(response_state("HTTP/1.1 200 OK\r\n\r\n", Part::kHead), State::kCorrupt);
  EXPECT_EQ(response_state("SSH-2.0-OpenSSH_9.2\r\n", Part::kWhole), State::kCorrupt);
  for (const Part part : {Part::kHead, Part::kWhole}) {
    EXPECT_EQ(response_state("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", part),
              State::kCorrupt);
  }
  EXPECT_EQ(response_state("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Part::kHeadOfNoBody),
            State::kDone);
  EXPECT_EQ(response_state("HTTP/1.1 204 No Content\r\n\r\n", Part::kWhole), State::kDone);
  EXPECT_EQ(response_state("HTTP/1.1 200 OK\r\nA: " + std::string(300, 'a'), Part::kWhole,
                           {.max_head = 256}),
            State::kCorrupt);
}

TEST(ResponseParser, IsPatientAtEveryTruncation) {
  const std::string_view text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    EXPECT_EQ(response_state(text.substr(0, cut), ResponseParser::Part::kWhole),
              ResponseParser::State::kMore)
        << cut;
  }
}

}  // namespace
}  // namespace shoal::http
