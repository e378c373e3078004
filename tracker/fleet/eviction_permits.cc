#include "tracker/fleet/eviction_permits.h"

#include <algorithm>

namespace shoal::tracker {

bool EvictionPermits::out(swarm::NodeId node, swarm::BlobId blob, swarm::Time now) const {
  auto permits = granted_.find(blob);
  if (permits == granted_.end()) return false;
  auto permit = permits->second.find(node);
  return permit != permits->second.end() && now < permit->second;
}

std::size_t EvictionPermits::remaining(swarm::BlobId blob, std::span<const swarm::NodeId> whole,
                                       swarm::Time now) const {
  return static_cast<std::size_t>(std::count_if(
      whole.begin(), whole.end(), [&](swarm::NodeId node) { return !out(node, blob, now); }));
}

bool EvictionPermits::may(swarm::NodeId node, swarm::BlobId blob,
                          std::span<const swarm::NodeId> whole, std::size_t keep,
                          swarm::Time now) const {
  const bool counted =
      std::find(whole.begin(), whole.end(), node) != whole.end() && !out(node, blob, now);
  return remaining(blob, whole, now) >= keep + (counted ? 1 : 0);
}

void EvictionPermits::grant(swarm::NodeId node, swarm::BlobId blob, swarm::Time now) {
  granted_[blob][node] = now + options_.hold;
}

void EvictionPermits::dropped(swarm::NodeId node, swarm::BlobId blob) {
  auto permits = granted_.find(blob);
  if (permits == granted_.end()) return;
  permits->second.erase(node);
  if (permits->second.empty()) granted_.erase(permits);
}

void EvictionPermits::tick(swarm::Time now) {
  for (auto it = granted_.begin(); it != granted_.end();) {
    std::erase_if(it->second, [&](const auto& permit) { return permit.second <= now; });
    it = it->second.empty() ? granted_.erase(it) : std::next(it);
  }
}

}  // namespace shoal::tracker
