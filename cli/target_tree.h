// The directory that `pull` writes: files appear in it whole or not at all, and no name leads out
// of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/relative_path.h"

namespace shoal::cli {

enum class Written { kReflink, kCopy, kKept };

class TargetTree {
 public:
  // Called with the bytes handled since the last call; false asks to stop (then cancelled).
  using Advance = std::function<bool(std::uint64_t bytes)>;

  // The directory, made if it does not exist. Errors: those of mkdir(2) and open(2).
  static Result<TargetTree> open(const std::filesystem::path& directory);

  enum class Present { kAbsent, kSame, kDifferent, kObstacle };
  // What is at `path` already: a file with exactly the `size` bytes of `source`, another file or a
  // link, or something that cannot be replaced (a directory; a component of the path that is no
  // directory). Links are not followed. Errors: cancelled, those of reading.
  Result<Present> compare(const content::RelativePath& path, int source, std::uint64_t size,
                          const Advance& advance) const;

  // Puts the `size` bytes of `source` at `path`, replacing a file or link that is there: first
  // under a temporary name beside it, as reflink where the file system can, else copied; then
  // renamed. The mode is 0644 less the umask. After an error `path` is as it was and the temporary
  // file is gone. Errors: conflict (a component is no directory of this tree, or `path` is a
  // directory), corrupt
  // (`source` has fewer bytes), no_space, cancelled, those of writing.
  Result<Written> write(const content::RelativePath& path, int source, std::uint64_t size,
                        const Advance& advance) const;

 private:
  explicit TargetTree(UniqueFd root) : root_(std::move(root)) {}

  // The directory that holds the last component; made if `create`.
  Result<UniqueFd> parent(const content::RelativePath& path, bool create) const;

  UniqueFd root_;
};

}  // namespace shoal::cli
