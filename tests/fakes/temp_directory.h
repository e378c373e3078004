// A directory of a test's own, removed with everything in it at the end.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "core/base/check.h"

namespace shoal::fakes {

class TempDirectory {
 public:
  explicit TempDirectory(const std::string& parent = std::filesystem::temp_directory_path())
      : path_(parent + "/shoal-test-XXXXXX") {
    SHOAL_CHECK(::mkdtemp(path_.data()) != nullptr, "mkdtemp");
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace shoal::fakes
