#include "core/content/image.h"

#include <gtest/gtest.h>

#include "core/content/digest.h"
#include "core/content/manifest.h"

namespace shoal::content {
namespace {

const std::string kA = digest_of("a").str();
const std::string kB = digest_of("b").str();

std::string descriptor(const std::string& digest, const std::string& more = "") {
  return R"({"mediaType":"x","digest":")" + digest + R"(","size":1)" + more + "}";
}
std::string image(const std::string& layers, const std::string& more = "") {
  return R"({"schemaVersion":2,"config":)" + descriptor(kA) + R"(,"layers":[)" + layers + "]" +
         more + "}";
}
std::string index(const std::string& manifests, const std::string& more = "") {
  return R"({"schemaVersion":2,"manifests":[)" + manifests + "]" + more + "}";
}
std::string for_platform(const std::string& digest, const std::string& os, const std::string& arch,
                         const std::string& variant = "") {
  return descriptor(digest, R"(,"platform":{"os":")" + os + R"(","architecture":")" + arch +
                                R"(","variant":")" + variant + R"("})");
}

TEST(ImageDocument, AnImageHasAConfigAndLayers) {
  auto document = parse_image_document(image(
      descriptor(kB), R"(,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",)"
                      R"("annotations":{"k":"v"})"));
  ASSERT_TRUE(document) << document.error().str();
  const auto& manifest = std::get<ImageManifest>(*document);
  EXPECT_EQ(manifest.config.digest.str(), kA);
  ASSERT_EQ(manifest.layers.size(), 1u);
  EXPECT_EQ(manifest.layers[0].digest.str(), kB);
  EXPECT_EQ(manifest.annotations.at("k"), "v");
}

TEST(ImageDocument, AnIndexIsChosenFromByPlatform) {
  auto document =
      parse_image_document(index(for_platform(kA, "linux", "arm64", "v8") + "," +
                                 for_platform(kB, "linux", "amd64") + "," + descriptor(kA)));
  ASSERT_TRUE(document) << document.error().str();
  const auto& found = std::get<ImageIndex>(*document);
  EXPECT_EQ(found.choose({"linux", "amd64", ""})->digest.str(), kB);
  EXPECT_EQ(found.choose({"linux", "arm64", ""})->digest.str(), kA);
  EXPECT_EQ(found.choose({"linux", "arm64", "v8"})->digest.str(), kA);
  auto none = found.choose({"linux", "arm64", "v9"});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Errc::kNotFound);
  EXPECT_NE(none.error().message().find("linux/arm64/v8, linux/amd64"), std::string::npos);
}

TEST(ImageDocument, TheSameVariantGoesBeforeNone) {
  auto document = parse_image_document(
      index(for_platform(kA, "linux", "arm") + "," + for_platform(kB, "linux", "arm", "v7")));
  ASSERT_TRUE(document);
  EXPECT_EQ(std::get<ImageIndex>(*document).choose({"linux", "arm", "v7"})->digest.str(), kB);
}

TEST(ImageDocument, RefusesWhatIsNeitherOrBoth) {
  std::string many = descriptor(kA);
  for (std::size_t i = 0; i < kMaxIndexEntries; ++i) many += "," + descriptor(kA);
  for (const std::string& bad :
       {std::string(""), std::string("[]"), std::string("{}"),
        std::string(R"({"schemaVersion":1})"), std::string(R"({"schemaVersion":2})"),
        std::string(R"({"schemaVersion":2,"layers":[]})"), image(descriptor("sha256:12")),
        image("1"), image("", R"(,"manifests":[])"), index(descriptor(kA, R"(,"size":-1)")),
        index(many), image("", R"(,"mediaType":"text/html")"),
        index("", R"(,"mediaType":"application/vnd.oci.image.manifest.v1+json")"),
        std::string(100'000, '[')}) {
    auto document = parse_image_document(bad);
    ASSERT_FALSE(document) << bad.substr(0, 200);
    EXPECT_EQ(document.error().code(), Errc::kInvalid);
  }
}

TEST(Platform, IsWrittenWithSlashes) {
  EXPECT_EQ(*Platform::parse("linux/amd64"), (Platform{"linux", "amd64", ""}));
  EXPECT_EQ(Platform::parse("linux/arm64/v8")->str(), "linux/arm64/v8");
  for (const char* bad : {"", "linux", "linux/", "/amd64", "a/b/c/d", "Linux/amd64", "linux/a b"}) {
    EXPECT_FALSE(Platform::parse(bad)) << bad;
  }
  EXPECT_EQ(Platform::of_this_machine().os, "linux");
}

}  // namespace
}  // namespace shoal::content
