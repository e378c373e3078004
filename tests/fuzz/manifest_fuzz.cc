// An accepted manifest can be published again, and what is published reads back as itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/content/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace content = shoal::content;
  auto parsed = content::ModelManifest::parse(std::as_bytes(std::span(data, size)));
  if (!parsed) return 0;
  for (content::ModelFile& file : parsed->files) {
    if (file.size > 0 && !file.pieces_root) file.pieces_root.emplace();
  }
  auto made = content::make_model(parsed->title, parsed->files, parsed->origin);
  // Only the size may be wrong now: roots that were filled in make it larger.
  if (!made) return size > content::kMaxManifestSize / 4 ? 0 : (std::abort(), 0);
  auto again = content::ModelManifest::parse(made->manifest_json);
  if (!again || *again != made->manifest) std::abort();
  return 0;
}
