// What is accepted and can be written reads back as itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/store/blob_meta.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace store = shoal::store;
  auto meta = store::decode_meta({reinterpret_cast<const char*>(data), size});
  if (!meta) return 0;
  auto text = store::encode_meta(*meta);
  // Indentation can make a text longer than what was read.
  if (!text) return size > store::kMaxMetaSize / 8 ? 0 : (std::abort(), 0);
  auto again = store::decode_meta(*text);
  if (!again || *again != *meta) std::abort();
  return 0;
}
