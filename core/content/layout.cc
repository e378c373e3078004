#include "core/content/layout.h"

#include <string>

namespace shoal::content {

Result<BlobLayout> BlobLayout::of_size(std::uint64_t size) {
  if (size > kMaxBlobSize) {
    return fail(Errc::kInvalid, "a blob of " + std::to_string(size) +
                                    " bytes is above the limit of " + format_bytes(kMaxBlobSize));
  }
  return BlobLayout(size);
}

}  // namespace shoal::content
