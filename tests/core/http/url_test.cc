#include "core/http/url.h"

#include <gtest/gtest.h>

namespace shoal::http {
namespace {

TEST(HostPort, ParsesNamesAndAddresses) {
  EXPECT_EQ(parse_host_port("gpu-17:6970").value(), (HostPort{"gpu-17", 6970}));
  EXPECT_EQ(parse_host_port("10.0.0.7:0").value(), (HostPort{"10.0.0.7", 0}));
  EXPECT_EQ(parse_host_port("[fe80::1]:65535").value(), (HostPort{"fe80::1", 65535}));
  EXPECT_EQ((HostPort{"fe80::1", 1}).str(), "[fe80::1]:1");
}

TEST(HostPort, RefusesWhatIsNotCertain) {
  for (const char* text :
       {"", ":1", "host", "host:", "host:65536", "host:-1", "host:+1", "host:1x", "ho st:1",
        "fe80::1:80", "[fe80::1]", "[fe80::1]80", "[]:80", "[host]:80", "[fe80::1:80", "a/b:1",
        "user@host:1", "host:1 ", "host:0x10"}) {
    EXPECT_EQ(parse_host_port(text).error().code(), Errc::kInvalid) << text;
  }
}

TEST(Endpoint, IsTcpOrAnAbsoluteSocketPath) {
  EXPECT_EQ(parse_endpoint("unix:/run/a.sock").value().unix_path, "/run/a.sock");
  EXPECT_EQ(parse_endpoint("/run/a.sock").value().str(), "unix:/run/a.sock");
  EXPECT_EQ(parse_endpoint("0.0.0.0:80").value().str(), "0.0.0.0:80");
  EXPECT_FALSE(parse_endpoint("unix:run/a.sock"));
  EXPECT_FALSE(parse_endpoint("unix:/"));
  EXPECT_FALSE(parse_endpoint("/" + std::string(107, 'x')));
  EXPECT_TRUE(parse_endpoint("/" + std::string(106, 'x')));
}

TEST(Url, ParsesEachScheme) {
  const Url url = parse_url("https://tracker.shoal.svc/v1/x?a=b").value();
  EXPECT_EQ(url.scheme, Url::Scheme::kHttps);
  EXPECT_EQ(url.endpoint.tcp, (HostPort{"tracker.shoal.svc", 443}));
  EXPECT_EQ(url.target, "/v1/x?a=b");
  EXPECT_EQ(parse_url("http://h").value().target, "/");
  EXPECT_EQ(parse_url("http://h?q").value().target, "/?q");
  EXPECT_EQ(parse_url("http://[::1]:8080/").value().str(), "http://[::1]:8080/");
  EXPECT_EQ(parse_url("unix:/run/shoal/agent.sock").value().endpoint.unix_path,
            "/run/shoal/agent.sock");
}

TEST(Url, RefusesWhatIsNotCertain) {
  for (const std::string& text :
       {std::string("ftp://h/"), std::string("http:/h"), std::string("http://"),
        std::string("http://u:p@h/"), std::string("http://h/#f"), std::string("http://h/ x"),
        std::string("http://h/\n"), std::string("http://h:99999/"), std::string("HTTP//h"),
        std::string("http://h/") + std::string(kMaxUrl, 'a'), std::string("http://h\0/", 10)}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
}

TEST(Percent, DecodeInvertsEncode) {
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(percent_decode(percent_encode(all)).value(), all);
  EXPECT_EQ(percent_decode(percent_encode_path(all)).value(), all);
  EXPECT_EQ(percent_encode("org/name:1 ü"), "org%2Fname%3A1%20%C3%BC");
  EXPECT_EQ(percent_encode_path("sha256:ab/c"), "sha256:ab/c");
}

TEST(Percent, RefusesBrokenEscapes) {
  for (const char* text : {"%", "%4", "%4g", "a%", "%00", "%%41"}) {
    EXPECT_FALSE(percent_decode(text)) << text;
  }
  EXPECT_FALSE(percent_decode(std::string_view("a\0b", 3)));
  EXPECT_EQ(percent_decode("%41").value(), "A");
}

TEST(Query, RoundTripsAndRefusesRepeatedKeys) {
  const Query query = parse_query("a=1&b=two+words&c&d=%26").value();
  EXPECT_EQ(query, (Query{{"a", "1"}, {"b", "two words"}, {"c", ""}, {"d", "&"}}));
  EXPECT_EQ(format_query(query), "?a=1&b=two%20words&c=&d=%26");
  EXPECT_EQ(format_query({}), "");
  EXPECT_FALSE(parse_query("a=1&a=2"));
  EXPECT_FALSE(parse_query("a=%zz"));
}

}  // namespace
}  // namespace shoal::http
