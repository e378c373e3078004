#include "core/base/json_shape.h"

#include <gtest/gtest.h>

#include <string>

namespace shoal {
namespace {

TEST(JsonShape, CountsWhatWillBeNested) {
  EXPECT_EQ(json_shape("1").depth, 0u);
  EXPECT_EQ(json_shape(R"({"a":[1,2,{"b":3}]})").depth, 3u);
  EXPECT_EQ(json_shape("[[],[],[[]]]").depth, 3u);
  EXPECT_EQ(json_shape(std::string(100'000, '[')).depth, 100'000u);
}

TEST(JsonShape, LooksNotIntoStrings) {
  EXPECT_EQ(json_shape(R"("[[[[")").depth, 0u);
  EXPECT_EQ(json_shape(R"(["\"[[[[", "\\"])").depth, 1u);
  EXPECT_EQ(json_shape("\"\\").depth, 0u);
}

TEST(JsonShape, CountsAtLeastAllValues) {
  EXPECT_GE(json_shape("[1,2,3]").values, 4u);
  EXPECT_GE(json_shape(R"({"a":1,"b":[2,3]})").values, 5u);
  EXPECT_GE(json_shape("[" + std::string(999, ',') + "]").values, 1000u);
}

TEST(JsonShape, StandsWhatIsNotJson) {
  EXPECT_EQ(json_shape("]]]}}}").depth, 0u);
  EXPECT_EQ(json_shape("").values, 0u);
}

}  // namespace
}  // namespace shoal
