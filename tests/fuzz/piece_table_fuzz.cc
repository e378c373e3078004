// A table that is accepted is written back byte for byte, copied or in place.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/content/piece_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using shoal::content::PieceTable;
  std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                               reinterpret_cast<const std::byte*>(data) + size);
  shoal::Result<PieceTable> copied = PieceTable::parse(bytes);
  shoal::Result<PieceTable> in_place = PieceTable::parse_in_place(bytes, nullptr);
  if (copied.has_value() != in_place.has_value()) std::abort();
  if (!copied) return 0;
  if (copied->serialise() != bytes || in_place->serialise() != bytes) std::abort();
  return 0;
}
