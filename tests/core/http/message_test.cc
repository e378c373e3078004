#include "core/http/message.h"

#include <gtest/gtest.h>

#include "core/http/identity.h"

namespace shoal::http {
namespace {

TEST(Headers, IgnoreCaseAndKeepOrder) {
  Headers headers;
  headers.add("Content-Type", "a");
  headers.add("X-One", "1");
  headers.add("x-one", "2");
  EXPECT_EQ(headers.value("CONTENT-TYPE"), "a");
  EXPECT_EQ(headers.value("X-ONE"), "1");
  EXPECT_FALSE(headers.get("Y"));
  headers.set("X-One", "3");
  EXPECT_EQ(headers.size(), 2u);
  EXPECT_EQ(headers.value("x-one"), "3");
}

TEST(ErrorOnTheWire, EveryCodeComesBackAsItself) {
  for (Errc code : kAllErrcs) {
    const Error error(code, "why \"it\" failed");
    const Response response = Response::error(error);
    EXPECT_GE(response.status, 400) << errc_name(code);
    EXPECT_NE(reason_phrase(response.status), "Unknown") << errc_name(code);
    EXPECT_EQ(response_error(response), error) << errc_name(code);
  }
}

TEST(ErrorOnTheWire, EveryCodeHasAStatusOfItsKind) {
  // Without our body only the status is left: what the caller does next must still be sensible.
  for (Errc code : kAllErrcs) {
    const Errc guessed = errc_of_status(status_of(code));
    if (code == Errc::kCancelled) {
      EXPECT_EQ(guessed, Errc::kOverloaded);
    } else if (code == Errc::kInternal) {
      EXPECT_EQ(guessed, Errc::kUnavailable);
    } else {
      EXPECT_EQ(guessed, code) << errc_name(code);
    }
  }
}

TEST(ErrorOnTheWire, ForeignBodiesFallBackToTheStatus) {
  for (const char* body : {"", "<html>", "[]", "{}", R"({"error":1})", R"({"error":{"code":5}})",
                           R"({"error":{"code":"invalid"}})", R"({"error":{"message":"x"}})"}) {
    Response response;
    response.status = 404;
    response.body = body;
    EXPECT_EQ(response_error(response).code(), Errc::kNotFound) << body;
  }
  EXPECT_EQ(errc_of_status(418), Errc::kInvalid);
  EXPECT_EQ(errc_of_status(599), Errc::kUnavailable);
  EXPECT_EQ(errc_of_status(302), Errc::kInternal);
}

TEST(ErrorOnTheWire, MessagesThatAreNotUtf8AreMadeSo) {
  const Error error(Errc::kInvalid, "bad \xff name");
  Response response = Response::error(error);
  EXPECT_EQ(response_error(response).message(), "bad \xEF\xBF\xBD name");
}

TEST(RetryAfter, IsSentInBothUnitsAndRead) {
  const Response response =
      Response::error(Error(Errc::kOverloaded, "busy"), std::chrono::milliseconds(1500));
  EXPECT_EQ(response.headers.value("Retry-After"), "2");
  EXPECT_EQ(retry_after(response.headers), std::chrono::milliseconds(1500));
  Headers headers;
  headers.set("Retry-After", "7");
  EXPECT_EQ(retry_after(headers), std::chrono::seconds(7));
  for (const char* bad :
       {"", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999", "1s"}) {
    headers.set("Retry-After", bad);
    EXPECT_EQ(retry_after(headers), std::nullopt) << bad;
  }
}

TEST(Request, TargetEncodesPathAndQuery) {
  Request request = Request::get("/v1/refs/org name", {{"wait", "5"}});
  EXPECT_EQ(request.target(), "/v1/refs/org%20name?wait=5");
  request.raw_path = "/v1/refs/org%2Fname";
  EXPECT_EQ(request.target(), "/v1/refs/org%2Fname?wait=5");
}

TEST(Identity, RoundTripsAndRefusesStrangers) {
  EXPECT_EQ(parse_identity("shoal://node/gpu-17").value(), node_identity("gpu-17"));
  EXPECT_EQ(parse_identity("shoal://tracker").value(), tracker_identity());
  for (const char* bad : {"", "shoal://", "shoal://node/", "shoal://node/a/b", "shoal://node/a b",
                          "shoal://tracker/", "https://x", "shoal://node/..", "shoal://node/-a"}) {
    EXPECT_FALSE(parse_identity(bad)) << bad;
  }
  EXPECT_FALSE(valid_node_id(std::string(129, 'a')));
  EXPECT_TRUE(node_identity("a").is_node("a"));
  EXPECT_FALSE(tracker_identity().is_node(""));
}

}  // namespace
}  // namespace shoal::http
