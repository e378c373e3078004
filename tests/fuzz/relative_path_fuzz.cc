// An accepted path stays below the directory it is joined to; messages are printable.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "core/content/relative_path.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal::content;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!is_plain_text(escape_for_message(text))) std::abort();
  shoal::Result<RelativePath> path = RelativePath::parse(text);
  if (!path) return is_plain_text(path.error().message()) ? 0 : (std::abort(), 0);
  if (path->str() != text || !is_plain_text(text)) std::abort();
  std::filesystem::path joined = std::filesystem::path("/base") / path->str();
  if (joined.lexically_normal() != joined) std::abort();
  return 0;
}
