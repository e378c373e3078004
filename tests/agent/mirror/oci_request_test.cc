#include "agent/mirror/oci_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "agent/mirror/oci_answer.h"

namespace shoal::agent {
namespace {

const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;

TEST(OciRequest, ReadsThePathsOfTheSpec) {
  using Kind = OciRequest::Kind;
  struct Case {
    std::string rest;
    Kind kind;
    std::string name;
    std::string tag;
    bool digest;
  };
  const std::vector<Case> cases = {
      {"", Kind::kBase, "", "", false},
      {"_catalog", Kind::kCatalog, "", "", false},
      {"m/tags/list", Kind::kTags, "m", "", false},
      {"org/team/m/tags/list", Kind::kTags, "org/team/m", "", false},
      {"m/manifests/v1", Kind::kManifest, "m", "v1", false},
      {"org/m/manifests/" + kDigest, Kind::kManifest, "org/m", "", true},
      {"org/m/manifests/sha256%3A" + kHex, Kind::kManifest, "org/m", "", true},
      {"org%2Fm/blobs/" + kDigest, Kind::kBlob, "org/m", "", true},
      {"org/m/referrers/" + kDigest, Kind::kReferrers, "org/m", "", true},
      // Names that look like the paths around them.
      {"manifests/manifests/manifests", Kind::kManifest, "manifests", "manifests", false},
      {"a/blobs/b/blobs/" + kDigest, Kind::kBlob, "a/blobs/b", "", true},
      {"tags/tags/list", Kind::kTags, "tags", "", false},
      {"tags/list/manifests/list", Kind::kManifest, "tags/list", "list", false},
  };
  for (const Case& c : cases) {
    ParsedOciRequest parsed = parse_oci_request(c.rest);
    ASSERT_TRUE(parsed.request) << c.rest << ": " << parsed.error.message;
    EXPECT_EQ(parsed.request->kind, c.kind) << c.rest;
    EXPECT_EQ(parsed.request->name, c.name) << c.rest;
    EXPECT_EQ(parsed.request->tag, c.tag) << c.rest;
    EXPECT_EQ(parsed.request->digest.has_value(), c.digest) << c.rest;
    if (c.digest) {
      EXPECT_EQ(parsed.request->digest->str(), kDigest);
    }
  }
}

TEST(OciRequest, RefusesWhatIsNoneWithTheSpecsCodes) {
  struct Case {
    std::string rest;
    int status;
    std::string_view code;
  };
  const std::vector<Case> cases = {
      {"m", 404, kNameUnknown},
      {"m/manifests", 404, kNameUnknown},
      {"/manifests/v1", 404, kNameUnknown},
      {"//v1", 404, kNameUnknown},
      {"m//manifests/v1", 400, kNameInvalid},
      {"../m/manifests/v1", 400, kNameInvalid},
      {"..%2Fm/manifests/v1", 400, kNameInvalid},
      {"Org/m/manifests/v1", 400, kNameInvalid},
      {"org/m:x/manifests/v1", 400, kNameInvalid},
      {"host:5000/m/manifests/v1", 400, kNameInvalid},
      {"org/m%00/manifests/v1", 400, kNameInvalid},
      {"org/m%zz/manifests/v1", 400, kNameInvalid},
      {"org/m%0a/manifests/v1", 400, kNameInvalid},
      {"org/\xff/manifests/v1", 400, kNameInvalid},
      {std::string(256, 'a') + "/manifests/v1", 400, kNameInvalid},
      {std::string(2000, 'a') + "/manifests/v1", 400, kNameInvalid},
      {"m/manifests/", 404, kManifestUnknown},
      {"m/manifests/.v1", 404, kManifestUnknown},
      {"m/manifests/" + std::string(129, 'v'), 404, kManifestUnknown},
      {"m/manifests/v%201", 404, kManifestUnknown},
      {"m/manifests/sha256:", 400, kDigestInvalid},
      {"m/manifests/sha256:" + std::string(63, 'a'), 400, kDigestInvalid},
      {"m/manifests/sha256:" + std::string(64, 'A'), 400, kDigestInvalid},
      {"m/manifests/sha512:" + std::string(128, 'a'), 404, kManifestUnknown},
      {"m/blobs/", 400, kDigestInvalid},
      {"m/blobs/v1", 400, kDigestInvalid},
      {"m/blobs/sha256:" + std::string(64, 'g'), 400, kDigestInvalid},
      {"m/blobs/sha256:" + kHex + "0", 400, kDigestInvalid},
      {"m/blobs/:" + kHex, 400, kDigestInvalid},
      {"m/blobs/sha512:..%2f..%2fetc", 404, kUnsupported},
      {"m/blobs/sha512:" + std::string(128, 'a'), 404, kBlobUnknown},
      {"m/blobs/uploads/", 404, kUnsupported},
      {"m/tags/other", 404, kUnsupported},
      {"_catalog/x/y", 404, kUnsupported},
  };
  for (const Case& c : cases) {
    ParsedOciRequest parsed = parse_oci_request(c.rest);
    EXPECT_FALSE(parsed.request) << c.rest;
    EXPECT_EQ(parsed.error.status, c.status) << c.rest;
    EXPECT_EQ(parsed.error.code, c.code) << c.rest;
    EXPECT_FALSE(parsed.error.message.empty()) << c.rest;
    EXPECT_LT(parsed.error.message.size(), 800u) << c.rest.size();
  }
}

TEST(OciRequest, CutAtEveryByteIsNeverMisread) {
  const std::string whole = "org/m/blobs/" + kDigest;
  for (std::size_t length = 1; length < whole.size(); ++length) {
    ParsedOciRequest parsed = parse_oci_request(std::string_view(whole).substr(0, length));
    EXPECT_FALSE(parsed.request) << length;
  }
}

TEST(OciNamespace, IsOursIfEmptyOrAskedForByThatNameOrOneOfTheSettings) {
  const std::vector<std::string> own = {"models.example.org", "other.example:5000"};
  EXPECT_TRUE(is_own_namespace("", "127.0.0.1:6972", own));
  EXPECT_TRUE(is_own_namespace("127.0.0.1:6972", "127.0.0.1:6972", own));
  EXPECT_TRUE(is_own_namespace("Models.Example.ORG", "127.0.0.1:6972", own));
  EXPECT_TRUE(is_own_namespace("other.example:5000", "", own));
  EXPECT_FALSE(is_own_namespace("other.example", "127.0.0.1:6972", own));
  EXPECT_FALSE(is_own_namespace("docker.io", "127.0.0.1:6972", own));
  EXPECT_FALSE(is_own_namespace("docker.io", "", {}));
}

TEST(OciSelection, FollowsRangesAndConditions) {
  const content::Digest digest = *content::Digest::parse(kDigest);
  const std::string etag = oci_etag(digest);
  using Fields = std::vector<std::pair<std::string, std::string>>;
  struct Case {
    Fields fields;
    std::uint64_t size;
    int status;
    ByteRange range;
  };
  const std::vector<Case> cases = {
      {{}, 1000, 200, {0, 1000}},
      {{}, 0, 200, {0, 0}},
      {{{"Range", "bytes=0-"}}, 1000, 206, {0, 1000}},
      {{{"Range", "bytes=10-19"}}, 1000, 206, {10, 10}},
      {{{"range", "bytes=999-5000"}}, 1000, 206, {999, 1}},
      {{{"Range", "bytes=-1"}}, 1000, 206, {999, 1}},
      {{{"Range", "bytes=-5000"}}, 1000, 206, {0, 1000}},
      {{{"Range", "bytes=1000-"}}, 1000, 416, {}},
      {{{"Range", "bytes=0-"}}, 0, 416, {}},
      {{{"Range", "bytes=-0"}}, 1000, 416, {}},
      {{{"Range", "bytes=5-2"}}, 1000, 416, {}},
      {{{"Range", "bytes="}}, 1000, 416, {}},
      {{{"Range", "bytes=a-b"}}, 1000, 416, {}},
      {{{"Range", "bytes=99999999999999999999-"}}, 1000, 416, {}},
      {{{"Range", "bytes=0-99999999999999999999"}}, 1000, 416, {}},
      // Ignored: other units, several ranges.
      {{{"Range", "pieces=1-2"}}, 1000, 200, {0, 1000}},
      {{{"Range", "bytes=0-1,5-6"}}, 1000, 200, {0, 1000}},
      {{{"Range", ""}}, 1000, 200, {0, 1000}},
      // Conditions.
      {{{"If-None-Match", etag}}, 1000, 304, {}},
      {{{"If-None-Match", "\"x\", " + etag}}, 1000, 304, {}},
      {{{"If-None-Match", "*"}}, 1000, 304, {}},
      {{{"If-None-Match", "\"x\""}}, 1000, 200, {0, 1000}},
      {{{"If-Range", etag}, {"Range", "bytes=1-2"}}, 1000, 206, {1, 2}},
      {{{"If-Range", "\"x\""}, {"Range", "bytes=1-2"}}, 1000, 200, {0, 1000}},
      {{{"If-Range", "\"x\""}, {"Range", "bytes=2000-"}}, 1000, 200, {0, 1000}},
  };
  for (const Case& c : cases) {
    http::Headers headers;
    std::string shown;
    for (const auto& [name, value] : c.fields) {
      headers.add(name, value);
      shown += name + ": " + value + "; ";
    }
    const Selection got = select_bytes(headers, digest, c.size);
    EXPECT_EQ(got.status, c.status) << shown;
    EXPECT_EQ(got.range, c.range) << shown;
  }
}

TEST(OciPage, LimitsTheNumberAndRefusesNonsense) {
  EXPECT_EQ(parse_page({}, 100)->n, 100u);
  EXPECT_EQ(parse_page({{"n", "7"}, {"last", "v1"}}, 100)->n, 7u);
  EXPECT_EQ(parse_page({{"n", "7"}, {"last", "v1"}}, 100)->last, "v1");
  EXPECT_EQ(parse_page({{"n", "0"}}, 100)->n, 0u);
  EXPECT_EQ(parse_page({{"n", "5000"}}, 100)->n, 100u);
  for (const char* bad : {"", "x", "-1", "1x", "99999999999999999999999"}) {
    EXPECT_FALSE(parse_page({{"n", bad}}, 100)) << bad;
  }
  EXPECT_FALSE(parse_page({{"last", std::string(256, 'a')}}, 100));
}

TEST(OciAnswer, ErrorsAreTheSpecsJson) {
  http::Response response = oci_error({404, kBlobUnknown, "none \xff"}, std::chrono::seconds(2));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.headers.value("Content-Type"), "application/json");
  EXPECT_EQ(response.headers.value("Docker-Distribution-API-Version"), "registry/2.0");
  EXPECT_EQ(response.headers.value("Retry-After"), "2");
  EXPECT_EQ(response.body,
            "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"none \xEF\xBF\xBD\"}]}");
  EXPECT_EQ(oci_error({405, kUnsupported, ""}).headers.value("Allow"), "GET, HEAD");
}

TEST(OciAnswer, ContentCarriesItsDigestAndItsRange) {
  const content::Digest digest = *content::Digest::parse(kDigest);
  http::Response part = oci_content(digest, "a/b", {206, {10, 5}}, 100);
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.headers.value("Docker-Content-Digest"), kDigest);
  EXPECT_EQ(part.headers.value("ETag"), '"' + kDigest + '"');
  EXPECT_EQ(part.headers.value("Content-Type"), "a/b");
  EXPECT_EQ(part.headers.value("Content-Range"), "bytes 10-14/100");
  EXPECT_EQ(part.headers.value("Accept-Ranges"), "bytes");
  http::Response outside = oci_content(digest, "a/b", {416, {}}, 100);
  EXPECT_EQ(outside.status, 416);
  EXPECT_EQ(outside.headers.value("Content-Range"), "bytes */100");
  EXPECT_NE(outside.body.find("SIZE_INVALID"), std::string::npos);
  EXPECT_FALSE(oci_content(digest, "a/b", {304, {}}, 100).headers.has("Content-Type"));
}

TEST(OciAnswer, ListsNameTheNextPage) {
  EXPECT_EQ(tags_body("org/m", {"v1", "v2"}), R"({"name":"org/m","tags":["v1","v2"]})");
  EXPECT_EQ(tags_body("org/m", {}), R"({"name":"org/m","tags":[]})");
  EXPECT_EQ(catalog_body({"a"}), R"({"repositories":["a"]})");
  EXPECT_EQ(next_page("/v2/org/m/tags/list", 2, "v1"),
            "</v2/org/m/tags/list?last=v1&n=2>; rel=\"next\"");
}

}  // namespace
}  // namespace shoal::agent
