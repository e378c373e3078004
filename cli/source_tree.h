// The files of a directory that is to be published: found, checked and opened so that nothing
// outside the directory is ever read.
//
// Everything in the directory is published, hidden files too. A symbolic link to a regular file
// inside the directory is published as that file; a link that leads outside, to a directory or
// nowhere is an error, and so is anything that is neither file, directory nor link. Directories
// without files disappear: a model is a list of files.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/relative_path.h"

namespace shoal::cli {

// Which bytes a file had when it was looked at: a change of any part means that they may differ.
struct FileStamp {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;

  static FileStamp of(const struct stat& status);
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

struct SourceFile {
  content::RelativePath path;
  FileStamp stamp;
};

struct OpenedFile {
  UniqueFd fd;
  // Absolute and free of links: another process can open the same file by it.
  std::filesystem::path real_path;
};

class SourceTree {
 public:
  // Finds the files, ascending by path. Errors: not_found or invalid (no such directory), invalid
  // (no file in it, more than content::kMaxModelFiles, a name that a model cannot have, links and
  // special files as above; all that is wrong is in the message, up to a few), denied (cannot be
  // read).
  static Result<SourceTree> scan(const std::filesystem::path& directory);

  const std::vector<SourceFile>& files() const { return files_; }
  std::uint64_t total_size() const;

  // Opens a file for reading. Errors: conflict if it is no longer the file that was found.
  Result<OpenedFile> open(const SourceFile& file) const;

  // Whether the open file still has the bytes it had when it was found. Errors: conflict, naming
  // it.
  static Status check_unchanged(const SourceFile& file, int fd);

 private:
  SourceTree() = default;

  UniqueFd root_;
  std::vector<SourceFile> files_;
};

}  // namespace shoal::cli
