// Manifests and indices of registries: read without harm, and a platform chosen from what is there.
#include <cstdlib>
#include <string_view>

#include "core/content/image.h"

using namespace shoal::content;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto platform = Platform::parse(text)) {
    if (Platform::parse(platform->str()) != platform) std::abort();
  }
  const auto document = parse_image_document(text);
  if (!document) return 0;
  if (const auto* index = std::get_if<ImageIndex>(&*document)) {
    for (const ImageIndex::Entry& entry : index->entries) {
      if (entry.platform && !index->choose(*entry.platform)) std::abort();
    }
  }
  return 0;
}
