#include "core/agent_client/response_head.h"

#include <gtest/gtest.h>

namespace shoal::agent_client {
namespace {

constexpr std::string_view kGood =
    "HTTP/1.1 200 OK\r\ncontent-length:  12 \r\nContent-Type: application/json\r\nX-Other: "
    "y\r\n\r\n";

TEST(ResponseHead, ReadsWhatItNeeds) {
  Result<ResponseHead> head = parse_response_head(kGood);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->content_length, 12u);
  EXPECT_EQ(head->content_type, "application/json");
  EXPECT_FALSE(head->close);
}

TEST(ResponseHead, AnAnswerWithoutContentNeedsNoLength) {
  EXPECT_EQ(parse_response_head("HTTP/1.1 204 No Content\r\n\r\n")->content_length, 0u);
  EXPECT_FALSE(parse_response_head("HTTP/1.1 200 OK\r\n\r\n"));
}

TEST(ResponseHead, SeesThatTheConnectionEnds) {
  EXPECT_TRUE(parse_response_head("HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n")->close);
}

TEST(ResponseHead, EveryTruncationIsRefused) {
  for (std::size_t length = 0; length < kGood.size(); ++length) {
    EXPECT_FALSE(parse_response_head(kGood.substr(0, length))) << length;
  }
}

TEST(ResponseHead, RefusesWhatItDoesNotUnderstand) {
  for (const char* text : {
           "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
           "HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\n",
           "HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
           "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
           "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 1\r\n\r\n",
           "\r\n\r\n",
       }) {
    Result<ResponseHead> head = parse_response_head(text);
    ASSERT_FALSE(head) << text;
    EXPECT_EQ(head.error().code(), Errc::kCorrupt);
  }
}

}  // namespace
}  // namespace shoal::agent_client
