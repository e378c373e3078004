// Opening paths that must stay inside a directory (openat2(2)).
#pragma once

#include <cstdint>
#include <string>

#include "core/base/unique_fd.h"

namespace shoal::cli {

enum class Links { kInside, kNever };  // symbolic links that stay inside are followed, or none are

// `path` relative to `directory`; `flags` and `mode` as for open(2), O_CLOEXEC is added. An invalid
// descriptor and errno on failure: EXDEV when the path leads outside, ELOOP for a link that is not
// allowed.
UniqueFd open_beneath(int directory, const std::string& path, int flags, Links links,
                      std::uint64_t mode = 0);

}  // namespace shoal::cli
