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

TEST(PublicationFields, AreReadInTheOrderOfThePaths) {
  auto read = publication_fields(
      *parse_json(R"({"reference":"m/x:1","title":"x","annotations":{"k":"v"},)"
                  R"("origin_nodes":["n2","n3"],"files":[)"
                  R"({"path":"b","url":"http://h/b","size":7,"version":"e","digest":""},)"
                  R"({"path":"a","url":"http://h/a","size":0}]})"),
      "n1");
  ASSERT_TRUE(read) << read.error().str();
  EXPECT_EQ(read->reference, "m/x:1");
  EXPECT_EQ(read->title, "x");
  EXPECT_EQ(read->annotations.at("k"), "v");
  EXPECT_EQ(read->readers.nodes, (std::vector<std::string>{"n2", "n3"}));
  ASSERT_EQ(read->files.size(), 2u);
  EXPECT_EQ(read->files[0].path.str(), "a");
  EXPECT_EQ(read->files[1].file, (OriginFile{"http://h/b", 7, "e"}));
  auto own = publication_fields(*parse_json(R"({"reference":"m/x:1","origin_nodes":"publisher",)"
                                            R"("files":[{"path":"a","url":"u","size":1}]})"),
                                "n1");
  EXPECT_EQ(own->readers.nodes, std::vector<std::string>{"n1"});
}

TEST(PublicationFields, AreRefusedWithTheReason) {
  const std::string file = R"({"path":"a","url":"u","size":1})";
  for (auto [because, text] : std::vector<std::pair<std::string, std::string>>{
           {"NAME:TAG", R"({"files":[)" + file + "]}"},
           {"NAME:TAG", R"({"reference":"m","files":[)" + file + "]}"},
           {"files", R"({"reference":"m:1"})"},
           {"files", R"({"reference":"m:1","files":[]})"},
           {"files", R"({"reference":"m:1","files":["a"]})"},
           {"..", R"({"reference":"m:1","files":[{"path":"../a","url":"u","size":1}]})"},
           {"size", R"({"reference":"m:1","files":[{"path":"a","url":"u"}]})"},
           {"size", R"({"reference":"m:1","files":[{"path":"a","url":"u","size":-1}]})"},
           {"digest",
            R"({"reference":"m:1","files":[{"path":"a","url":"u","size":1,"digest":"x"}]})"},
           {"annotations", R"({"reference":"m:1","annotations":{"k":1},"files":[)" + file + "]}"},
           {"origin_nodes", R"({"reference":"m:1","origin_nodes":7,"files":[)" + file + "]}"}}) {
    auto read = publication_fields(*parse_json(text), "n1");
    ASSERT_FALSE(read) << text;
    EXPECT_NE(read.error().str().find(because), std::string::npos) << read.error().str();
  }
}

}  // namespace
}  // namespace shoal::agent
