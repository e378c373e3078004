// What is accepted has one spelling.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/content/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using shoal::content::Reference;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  shoal::Result<Reference> reference = Reference::parse(text);
  if (!reference) return 0;
  if (reference->str() != text) std::abort();
  if ((reference->tag() == nullptr) == (reference->digest() == nullptr)) std::abort();
  return 0;
}
