// The first two bytes choose the size of the blob; the rest is the record. What is accepted is,
// byte for byte, what would be written.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/store/synced_record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal;
  if (size < 2) return 0;
  const content::BlobLayout layout((data[0] + 256u * data[1]) * content::kMinPieceLength / 2);
  const content::Digest digest = content::digest_of("a blob");
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  auto pieces = store::decode_synced(digest, layout, bytes);
  if (!pieces) return 0;
  const auto again = store::encode_synced(digest, layout, *pieces);
  if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  return 0;
}
