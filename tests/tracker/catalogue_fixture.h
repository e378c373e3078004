// A catalogue in a folder of its own, which can be opened again.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "tests/tracker/model_fixture.h"
#include "tracker/catalogue/catalogue.h"

namespace shoal::tracker {

inline constexpr std::int64_t kNow = 1'800'000'000'000;
inline constexpr const char* kType = "application/vnd.oci.image.manifest.v1+json";

inline content::Reference tag(std::string_view text) { return *content::Reference::parse(text); }

class CatalogueTest : public ::testing::Test {
 protected:
  void open() {
    catalogue_.reset();
    auto opened = Catalogue::open(folder_.path());
    ASSERT_TRUE(opened) << opened.error().str();
    catalogue_ = *std::move(opened);
  }
  void SetUp() override { open(); }

  void put_model(const TestModel& model) {
    auto status = catalogue_->put_manifest(model.digest(), kType, model.manifest(), kNow);
    ASSERT_TRUE(status) << status.error().str();
  }
  std::filesystem::path file() const { return folder_.path() / "catalogue.db"; }

  TempFolder folder_;
  std::unique_ptr<Catalogue> catalogue_;
  const TestModel model_ =
      make_test_model("m", {{"a.safetensors", std::string(300'000, 'a')}, {"b.json", "{}"}});
};

}  // namespace shoal::tracker
