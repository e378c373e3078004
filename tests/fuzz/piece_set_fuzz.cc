// The first four bytes are the number of pieces, the rest is the map.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/content/piece_set.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using shoal::content::PieceSet;
  std::uint32_t pieces = 0;
  if (size < sizeof pieces) return 0;
  std::memcpy(&pieces, data, sizeof pieces);
  std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data) + sizeof pieces,
                               reinterpret_cast<const std::byte*>(data) + size);
  shoal::Result<PieceSet> set = PieceSet::from_bytes(pieces, bytes);
  if (!set) return 0;
  if (set->to_bytes() != bytes) std::abort();
  std::uint32_t count = 0;
  shoal::content::PieceIndex from;
  for (auto run = set->next_run(from); !run.empty(); run = set->next_run(run.end())) {
    count += run.count;
  }
  if (count != set->count()) std::abort();
  return 0;
}
