#include "core/content/reference.h"

#include <gtest/gtest.h>

namespace shoal::content {
namespace {

const std::string hex(64, 'a');

TEST(Reference, ReadsWhatItWrites) {
  for (std::string text :
       {std::string("m:1"), std::string("org/all-minilm-l6-v2:v1.0_RC-2"),
        std::string("a.b_c__d---e/f:_"), "m@sha256:" + hex, "org/m@sha256:" + hex,
        std::string(255, 'n') + ":" + std::string(128, 'T')}) {
    Result<Reference> reference = Reference::parse(text);
    ASSERT_TRUE(reference) << text << ": " << reference.error().str();
    EXPECT_EQ(reference->str(), text);
    EXPECT_NE(reference->tag() == nullptr, reference->digest() == nullptr);
    EXPECT_EQ(*Reference::parse(reference->str()), *reference);
  }
}

TEST(Reference, SaysWhichPartIsWhich) {
  Result<Reference> tagged = Reference::parse("org/model:v1");
  ASSERT_TRUE(tagged);
  EXPECT_EQ(tagged->name(), "org/model");
  ASSERT_NE(tagged->tag(), nullptr);
  EXPECT_EQ(*tagged->tag(), "v1");
  Result<Reference> pinned = Reference::parse("m@sha256:" + hex);
  ASSERT_TRUE(pinned);
  ASSERT_NE(pinned->digest(), nullptr);
  EXPECT_EQ(pinned->digest()->hex(), hex);
}

TEST(Reference, RefusesWhatTheGrammarDoesNotAllow) {
  for (std::string text : {std::string(),
                           std::string("m"),
                           std::string(":"),
                           std::string("m:"),
                           std::string(":v"),
                           std::string("M:v"),
                           std::string("-m:v"),
                           std::string("m-:v"),
                           std::string("m..n:v"),
                           std::string("m___n:v"),
                           std::string("m._n:v"),
                           std::string("/m:v"),
                           std::string("m/:v"),
                           std::string("a//b:v"),
                           std::string("../b:v"),
                           std::string("m:.v"),
                           std::string("m:-v"),
                           std::string("m:v/w"),
                           std::string("host:5000/m:v"),
                           std::string("m:v\n"),
                           std::string("m v:1"),
                           std::string("m:") + std::string(129, 't'),
                           std::string(256, 'n') + ":v",
                           "m@" + hex,
                           "m@sha256:" + hex.substr(1),
                           "m:v@sha256:" + hex,
                           "@sha256:" + hex,
                           std::string("m\0:v", 4)}) {
    Result<Reference> reference = Reference::parse(text);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code(), Errc::kInvalid);
    EXPECT_NE(reference.error().message().find("NAME:TAG"), std::string::npos);
  }
}

TEST(Reference, CutAnywhereIsRefusedOrShorter) {
  std::string text = "org/m@sha256:" + hex;
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(Reference::parse(text.substr(0, length))) << length;
  }
}

TEST(Reference, IsMadeFromParts) {
  EXPECT_EQ(Reference::by_tag("m", "v")->str(), "m:v");
  EXPECT_EQ(Reference::by_digest("m", Digest())->str(), "m@" + Digest().str());
  EXPECT_FALSE(Reference::by_tag("M", "v"));
  EXPECT_FALSE(Reference::by_tag("m", "v v"));
  EXPECT_FALSE(Reference::by_digest("M", Digest()));
}

}  // namespace
}  // namespace shoal::content
