#include "agent/control/json.h"

#include <gtest/gtest.h>

#include "core/api/limits.h"

namespace shoal::agent {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

// What becomes of one origin of a publication.
api::Origin origin_of(const Json& fields) {
  Json entry = fields;
  entry["blob"] = kDigest;
  auto origins = origins_field({{"origins", Json::array({entry})}}, "n1");
  EXPECT_TRUE(origins) << origins.error().str();
  if (!origins || origins->size() != 1 || origins->front().second.size() != 1) return {};
  return origins->front().second.front();
}

TEST(OriginsField, TheVersionThatWasReadIsWhatReadersWillAskFor) {
  for (const char* url : {"http://h/a", "s3://b/a", "hf://o/r@c/a", "oci://r/m@sha256:0"}) {
    EXPECT_EQ(origin_of({{"url", url}, {"version", "\"v1\""}}).etag, "\"v1\"") << url;
    EXPECT_EQ(origin_of({{"url", url}}).etag, "") << url;
  }
}

TEST(OriginsField, TheVersionOfAFileInADirectoryIsForItsOwnNodeAlone) {
  api::Origin origin = origin_of({{"url", "file:///srv/a"}, {"version", "10-17.5-99"}});
  EXPECT_EQ(origin.kind, "dir");
  EXPECT_EQ(origin.etag, "");
}

TEST(OriginsField, AVersionThatTheTrackerWouldNotTakeIsLeftOut) {
  const std::string longest(api::kMaxEtag, 'v');
  EXPECT_EQ(origin_of({{"url", "http://h/a"}, {"version", longest}}).etag, longest);
  EXPECT_EQ(origin_of({{"url", "http://h/a"}, {"version", longest + "v"}}).etag, "");
}

}  // namespace
}  // namespace shoal::agent
