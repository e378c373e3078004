// Models and folders for the tracker's tests.
#pragma once

#include <stdlib.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/base/check.h"
#include "core/content/manifest.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"

namespace shoal::tracker {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "shoal-tracker-XXXXXX").string();
    SHOAL_CHECK(::mkdtemp(pattern.data()) != nullptr, "cannot make a temporary folder");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct TestFile {
  std::string path;
  std::string bytes;
};

struct TestModel {
  content::ModelDocuments documents;
  std::vector<content::PieceTable> tables;

  const content::Digest& digest() const { return documents.manifest_digest; }
  std::string_view manifest() const { return documents.manifest_json; }
};

inline std::string bytes_of(const content::PieceTable& table) {
  std::vector<std::byte> bytes = table.serialise();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

inline TestModel make_test_model(const std::string& title, const std::vector<TestFile>& files) {
  TestModel model;
  std::vector<content::ModelFile> entries;
  for (const TestFile& file : files) {
    content::BlobHasher hasher{content::BlobLayout(file.bytes.size())};
    SHOAL_CHECK(hasher.update(std::as_bytes(std::span(file.bytes))).has_value(), "hashing");
    auto hashes = hasher.finish();
    SHOAL_CHECK(hashes.has_value(), "hashing");
    auto path = content::RelativePath::parse(file.path);
    SHOAL_CHECK(path.has_value(), "a bad path");
    entries.push_back({*path, hashes->digest, file.bytes.size(), hashes->pieces_root, ""});
    model.tables.push_back(content::PieceTable::make(*std::move(hashes)));
  }
  auto documents = content::make_model(title, entries, std::nullopt);
  SHOAL_CHECK(documents.has_value(), documents.error().message());
  model.documents = *std::move(documents);
  return model;
}

// The same while it is being read: nothing is known but paths and sizes, and where it comes from.
inline TestModel make_unread_model(const std::string& title, const std::vector<TestFile>& files) {
  std::vector<content::ModelFile> entries;
  for (const TestFile& file : files) {
    auto path = content::RelativePath::parse(file.path);
    SHOAL_CHECK(path.has_value(), "a bad path");
    const content::Digest name = content::ingest_name(
        "http://models.example/" + title + "/" + file.path, "v1", file.bytes.size());
    entries.push_back({*path, name, file.bytes.size(), std::nullopt, ""});
  }
  auto documents = content::make_provisional_model(title, entries);
  SHOAL_CHECK(documents.has_value(), documents.error().message());
  return {*std::move(documents), {}};
}

}  // namespace shoal::tracker
