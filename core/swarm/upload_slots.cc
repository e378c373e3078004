#include "core/swarm/upload_slots.h"

#include <algorithm>

#include "core/base/check.h"

namespace shoal::swarm {
namespace {

constexpr Duration kFirstRetry = std::chrono::milliseconds(20);
constexpr std::size_t kMostSteps = 25;  // so at most half a second

}  // namespace

UploadSlots::UploadSlots(Options options) : options_(options) {}

UploadSlots::Answer UploadSlots::ask(PeerId peer, Class cls) {
  Use& use = peers_[peer];
  if (is_urgent(cls)) {
    if (urgent_in_use_ >= options_.urgent) return {false, kFirstRetry};
    ++use.urgent;
    ++urgent_in_use_;
    return {true, {}};
  }
  // Its fair part: an equal share of all slots among the peers that use any, at least one.
  std::size_t fair =
      std::max<std::size_t>(1, options_.bulk / std::max<std::size_t>(1, peers_.size()));
  bool scarce = bulk_in_use_ * 4 >= options_.bulk * 3;
  bool refused = bulk_in_use_ >= options_.bulk || use.bulk >= options_.per_peer ||
                 (scarce && use.bulk >= fair);
  if (refused) {
    refused_since_release_ = std::min(refused_since_release_ + 1, kMostSteps);
    if (use.bulk == 0 && use.urgent == 0) peers_.erase(peer);
    return {false, kFirstRetry * static_cast<int>(refused_since_release_)};
  }
  ++use.bulk;
  ++bulk_in_use_;
  return {true, {}};
}

void UploadSlots::release(PeerId peer, Class cls) {
  auto it = peers_.find(peer);
  if (it == peers_.end()) return;  // peer_down() released it
  Use& use = it->second;
  std::size_t& mine = is_urgent(cls) ? use.urgent : use.bulk;
  if (mine == 0) return;
  --mine;
  --(is_urgent(cls) ? urgent_in_use_ : bulk_in_use_);
  refused_since_release_ = 0;
  if (use.bulk == 0 && use.urgent == 0) peers_.erase(it);
}

void UploadSlots::peer_down(PeerId peer) {
  auto it = peers_.find(peer);
  if (it == peers_.end()) return;
  bulk_in_use_ -= it->second.bulk;
  urgent_in_use_ -= it->second.urgent;
  peers_.erase(it);
}

}  // namespace shoal::swarm
