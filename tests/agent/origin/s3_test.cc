#include <gtest/gtest.h>

#include <atomic>

#include "agent/origin/s3_origin.h"
#include "agent/origin/s3_xml.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

TEST(S3Url, IsABucketAndAKey) {
  auto place = parse_s3_url("s3://models/llama%208b/config.json");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->bucket, "models");
  EXPECT_EQ(place->key, "llama 8b/config.json");
  EXPECT_EQ(s3_url(place->bucket, place->key), "s3://models/llama%208b/config.json");
  EXPECT_EQ(parse_s3_url("s3://models")->key, "");
  for (const char* bad :
       {"http://a/b", "s3:///key", "s3://ab/key", "s3://UPPER CASE/k", "s3://bucket/a?versionId=1",
        "s3://bucket/a#b", "s3://bucket/%zz", "s3://user@host/key", "s3://bucket/a%00b"}) {
    auto parsed = parse_s3_url(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
  }
}

TEST(S3Endpoint, TheBucketGoesIntoTheHostAtAwsAndIntoThePathElsewhere) {
  S3Settings aws;
  EXPECT_EQ(s3_endpoint_url(aws, "eu-west-1", "models", "a b/c:d"),
            "https://models.s3.eu-west-1.amazonaws.com/a%20b/c%3Ad");
  EXPECT_EQ(s3_endpoint_url(aws, "eu-west-1", "my.models", "k"),
            "https://s3.eu-west-1.amazonaws.com/my.models/k");
  EXPECT_EQ(s3_endpoint_url(aws, "cn-north-1", "models", "k"),
            "https://models.s3.cn-north-1.amazonaws.com.cn/k");
  S3Settings own;
  own.endpoint = "http://minio:9000";
  EXPECT_EQ(s3_endpoint_url(own, "us-east-1", "models", "k"), "http://minio:9000/models/k");
  EXPECT_EQ(s3_endpoint_url(own, "us-east-1", "models", ""), "http://minio:9000/models");
  own.addressing = S3Settings::Addressing::kVirtual;
  EXPECT_EQ(s3_endpoint_url(own, "us-east-1", "models", "k"), "http://models.minio:9000/k");
}

TEST(S3Page, HasObjectsAndAnEnd) {
  auto page = parse_s3_page(
      "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<IsTruncated>true</IsTruncated><NextContinuationToken>n&amp;1</NextContinuationToken>"
      "<EncodingType>url</EncodingType>"
      "<Contents><Key>a+b%2Fc</Key><Size>12</Size><ETag>&quot;e1&quot;</ETag></Contents>"
      "<Contents><Key>d</Key><Size>0</Size><ETag>e2</ETag></Contents></ListBucketResult>");
  ASSERT_TRUE(page) << page.error().str();
  EXPECT_EQ(page->next, "n&1");
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "a b/c");
  EXPECT_EQ(page->objects[0].size, 12u);
  EXPECT_EQ(page->objects[0].etag, "\"e1\"");
  EXPECT_EQ(page->objects[1].etag, "\"e2\"");
}

TEST(S3Page, RefusesWhatIsNoListing) {
  auto page_of = [](const std::string& inside) {
    return "<ListBucketResult>" + inside + "</ListBucketResult>";
  };
  std::string many;
  for (int i = 0; i < 1001; ++i) many += "<Contents><Key>k</Key><Size>1</Size></Contents>";
  for (const std::string& bad :
       {std::string(), std::string("no"), std::string("<html></html>"),
        std::string("<ListBucketResult><Contents>"), page_of("<Contents><Key>a</Key></Contents>"),
        page_of("<Contents><Key>a</Key><Size>-1</Size></Contents>"),
        page_of("<Contents><Key>a</Key><Size>99999999999999999999</Size></Contents>"),
        page_of("<Contents><Size>1</Size></Contents>"), page_of("<IsTruncated>true</IsTruncated>"),
        page_of(many)}) {
    auto page = parse_s3_page(bad);
    ASSERT_FALSE(page) << bad.substr(0, 100);
    EXPECT_EQ(page.error().code(), Errc::kInvalid);
  }
}

TEST(S3Page, ExpandsNoEntities) {
  auto page = parse_s3_page(
      "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>"
      "<ListBucketResult><Contents><Key>&b;</Key><Size>1</Size></Contents></ListBucketResult>");
  EXPECT_TRUE(!page || page->objects[0].key == "&b;");
}

class S3OriginTest : public OriginFixture {
 protected:
  S3OriginTest() {
    set("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
    set("AWS_SECRET_ACCESS_KEY", "a-very-secret-key");
  }
  std::unique_ptr<S3Origin> origin(const std::string& endpoint) {
    S3Settings settings;
    settings.endpoint = endpoint;
    return std::make_unique<S3Origin>(
        S3Settings::with(settings, environment()), client(),
        std::make_unique<AwsCredentialChain>(environment(), "", limits_, options()));
  }
  static ScriptedServer::Answer error(const std::string& status, const std::string& code,
                                      const std::string& more = "") {
    return {http_answer(
        status, "", "<Error><Code>" + code + "</Code><Message>why</Message>" + more + "</Error>")};
  }
  static std::string object(const std::string& key) {
    return "<Contents><Key>" + key + "</Key><Size>4</Size><ETag>\"" + key + "\"</ETag></Contents>";
  }
};

TEST_F(S3OriginTest, ListsAllPagesBelowAPrefix) {
  ScriptedServer server([&](const std::string& head) {
    EXPECT_NE(head.find("Authorization: AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"),
              std::string::npos);
    EXPECT_TRUE(
        head.starts_with("GET /models?encoding-type=url&list-type=2&max-keys=1000"
                         "&prefix=llama%2F"))
        << head;
    const bool second = head.find("continuation-token=t%201") != std::string::npos;
    return ScriptedServer::Answer{
        http_answer("200 OK", "",
                    "<ListBucketResult><EncodingType>url</EncodingType>" +
                        (second ? object("llama/a.json") + object("llama/sub/c.bin")
                                : object("llama/") + object("llama/z.bin") + object("llama/z.tmp") +
                                      "<IsTruncated>true</IsTruncated><NextContinuationToken>t 1"
                                      "</NextContinuationToken>") +
                        "</ListBucketResult>")};
  });
  OriginListing listing;
  OriginQuery query{"s3://models/llama", {}, {"*.tmp"}, ""};
  OriginStatus status = origin(server.url(""))->list(query, listing, cancel_);
  ASSERT_TRUE(status.status) << status.status.error().str();
  ASSERT_EQ(listing.files.size(), 3u);
  EXPECT_EQ(listing.files[0].path.str(), "a.json");
  EXPECT_EQ(listing.files[1].path.str(), "sub/c.bin");
  EXPECT_EQ(listing.files[2].path.str(), "z.bin");
  EXPECT_EQ(listing.files[2].file, (OriginFile{"s3://models/llama/z.bin", 4, "\"llama/z.bin\""}));
}

TEST_F(S3OriginTest, RefusesNamesThatCannotBeFiles) {
  ScriptedServer server([&](const std::string&) {
    return ScriptedServer::Answer{http_answer(
        "200 OK", "",
        "<ListBucketResult>" + object("llama/../../etc/passwd") + "</ListBucketResult>")};
  });
  OriginListing listing;
  OriginStatus status =
      origin(server.url(""))->list({"s3://models/llama", {}, {}, ""}, listing, cancel_);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kInvalid);
  EXPECT_NE(status.status.error().message().find("--exclude"), std::string::npos);
}

TEST_F(S3OriginTest, ReadsARangeOfTheVersionPinned) {
  ScriptedServer server([&](const std::string& head) {
    EXPECT_NE(head.find("GET /models/a%20b HTTP"), std::string::npos) << head;
    EXPECT_NE(head.find("If-Match: \"v1\""), std::string::npos) << head;
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", "ETag: \"v1\"\r\nContent-Range: bytes 2-5/10\r\n", "2345")};
  });
  ReadResult read = read_from(*origin(server.url("")), {"s3://models/a%20b", 10, "\"v1\""}, {2, 4});
  ASSERT_TRUE(read.status.status) << read.status.status.error().str();
  EXPECT_EQ(read.bytes, "2345");
}

TEST_F(S3OriginTest, GoesWhereTheBucketIs) {
  ScriptedServer server([&](const std::string& head) {
    if (head.find("/eu-west-3/s3/aws4_request") == std::string::npos) {
      return error("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>");
    }
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", "ETag: \"v1\"\r\nContent-Range: bytes 0-3/4\r\n", "0123")};
  });
  auto s3 = origin(server.url(""));
  for (int i = 0; i < 2; ++i) {
    ReadResult read = read_from(*s3, {"s3://models/a", 4, "\"v1\""}, {0, 4});
    ASSERT_TRUE(read.status.status) << read.status.status.error().str();
    EXPECT_EQ(read.bytes, "0123");
  }
  EXPECT_EQ(server.requests(), 3) << "it is remembered";
}

TEST_F(S3OriginTest, SaysWhatToDoAboutARefusal) {
  struct Case {
    const char* status;
    const char* code;
    Errc expected;
    const char* advice;
  };
  for (const Case& one :
       {Case{"403 Forbidden", "SignatureDoesNotMatch", Errc::kDenied, "secret key"},
        Case{"403 Forbidden", "InvalidAccessKeyId", Errc::kDenied, "AWS_ACCESS_KEY_ID"},
        Case{"400 Bad Request", "ExpiredToken", Errc::kDenied, "renew"},
        Case{"403 Forbidden", "RequestTimeTooSkewed", Errc::kDenied, "clock"},
        Case{"404 Not Found", "NoSuchKey", Errc::kNotFound, "NoSuchKey"},
        Case{"404 Not Found", "NoSuchBucket", Errc::kNotFound, "NoSuchBucket"},
        Case{"503 Slow Down", "SlowDown", Errc::kOverloaded, "SlowDown"}}) {
    ScriptedServer server([&](const std::string&) { return error(one.status, one.code); });
    ReadResult read = read_from(*origin(server.url("")), {"s3://models/a", 4, ""}, {0, 4});
    ASSERT_FALSE(read.status.status) << one.code;
    const Error& why = read.status.status.error();
    EXPECT_EQ(why.code(), one.expected) << one.code;
    EXPECT_NE(why.message().find(one.advice), std::string::npos) << why.message();
    EXPECT_EQ(why.message().find("a-very-secret-key"), std::string::npos);
  }
}

TEST_F(S3OriginTest, TriesAListingAgainWhenItIsAskedToSlowDown) {
  std::atomic<int> asked{0};
  ScriptedServer server([&](const std::string&) {
    if (++asked < 3) return error("503 Slow Down", "SlowDown");
    return ScriptedServer::Answer{
        http_answer("200 OK", "", "<ListBucketResult>" + object("m/a") + "</ListBucketResult>")};
  });
  OriginListing listing;
  OriginStatus status =
      origin(server.url(""))->list({"s3://models/m", {}, {}, ""}, listing, cancel_);
  ASSERT_TRUE(status.status) << status.status.error().str();
  EXPECT_EQ(asked, 3);
}

TEST_F(S3OriginTest, WithoutCredentialsItAsksUnsigned) {
  set("AWS_ACCESS_KEY_ID", "");
  set("AWS_SECRET_ACCESS_KEY", "");
  set("AWS_EC2_METADATA_DISABLED", "true");
  ScriptedServer server([&](const std::string& head) {
    EXPECT_EQ(head.find("Authorization"), std::string::npos);
    return error("403 Forbidden", "AccessDenied");
  });
  ReadResult read = read_from(*origin(server.url("")), {"s3://models/a", 4, ""}, {0, 4});
  ASSERT_FALSE(read.status.status);
  EXPECT_NE(read.status.status.error().message().find("no AWS credentials"), std::string::npos);
}

}  // namespace
}  // namespace shoal::agent
