#include "core/store/eviction.h"

#include <algorithm>
#include <tuple>

#include "core/base/units.h"

namespace shoal::store {
namespace {

// Manifests and their like: the room that they take is nothing, and without one a model that is
// there whole is unknown. They go last.
constexpr std::uint64_t kSmall = 32 * kKiB;

std::uint64_t part_of(std::uint64_t whole, double share) {
  return static_cast<std::uint64_t>(static_cast<double>(whole) * share);
}

std::uint64_t above(std::uint64_t value, std::uint64_t limit) {
  return value > limit ? value - limit : 0;
}

}  // namespace

std::uint64_t bytes_to_free(const SpaceLimits& limits, const SpaceUse& use,
                            std::uint64_t incoming) {
  std::uint64_t need = 0;
  if (limits.capacity != 0) {
    const std::uint64_t after = use.used + incoming;
    if (after > part_of(limits.capacity, limits.high_watermark)) {
      need = above(after, part_of(limits.capacity, limits.low_watermark));
    }
  }
  const std::uint64_t floor = part_of(use.fs_total, limits.free_space_floor);
  if (use.fs_free < floor + incoming) {
    const std::uint64_t margin =
        part_of(use.fs_total, limits.high_watermark - limits.low_watermark);
    need = std::max(need, floor + incoming + margin - use.fs_free);
  }
  return need;
}

std::vector<content::Digest> choose_evictions(std::span<const EvictionCandidate> candidates,
                                              std::uint64_t bytes) {
  std::vector<const EvictionCandidate*> order;
  for (const EvictionCandidate& candidate : candidates) {
    if (!candidate.kept && candidate.bytes != 0) order.push_back(&candidate);
  }
  std::sort(order.begin(), order.end(), [](const EvictionCandidate* a, const EvictionCandidate* b) {
    const bool a_small = a->bytes < kSmall;
    const bool b_small = b->bytes < kSmall;
    return std::tie(a_small, a->last_used_ns, a->digest) <
           std::tie(b_small, b->last_used_ns, b->digest);
  });
  std::vector<content::Digest> chosen;
  for (const EvictionCandidate* candidate : order) {
    if (bytes == 0) break;
    chosen.push_back(candidate->digest);
    bytes -= std::min(bytes, candidate->bytes);
  }
  return chosen;
}

}  // namespace shoal::store
