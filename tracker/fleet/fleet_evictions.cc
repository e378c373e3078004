// Which copies agents may give up.
#include <algorithm>
#include <vector>

#include "core/base/metrics.h"
#include "tracker/fleet/fleet.h"

namespace shoal::tracker {

void Fleet::set_named(const content::Digest& manifest, bool named) {
  if (named) {
    unnamed_.erase(manifest);
  } else {
    unnamed_.insert(manifest);
  }
}

// Whether somebody could miss the blob: a manifest that is still wanted needs it, and no origin
// that a node of the fleet can read has it. What was removed by its last reference need not stay.
bool Fleet::irreplaceable(const FleetBlob& blob) const {
  const bool wanted =
      std::any_of(blob.manifests.begin(), blob.manifests.end(),
                  [&](const content::Digest& manifest) { return !unnamed_.contains(manifest); });
  if (!wanted) return false;
  if (blob.origins.empty() || blob.origin_changed) return true;
  const bool open = std::any_of(
      blob.origins.begin(), blob.origins.end(),
      [](const api::Origin& origin) { return origin.nodes.empty() && origin.labels.empty(); });
  if (open) return false;
  return std::none_of(nodes_.by_id().begin(), nodes_.by_id().end(), [&](const auto& entry) {
    const Node& node = *nodes_.find(entry.second);
    return node.in_fleet() && can_read_origin(node, blob);
  });
}

Fleet::EvictionVerdict Fleet::may_evict(const Node& node, const content::Digest& digest,
                                        std::uint64_t replicas, swarm::Time now) const {
  std::optional<swarm::BlobId> id = blobs_.id(digest);
  // What no manifest names is nobody's loss; a manifest itself is in the catalogue.
  if (replicas == 0 || !id || !irreplaceable(blobs_.at(*id))) {
    return {{api::EvictionReason::kGranted, 0}, std::nullopt};
  }
  // Until the nodes have said what they hold, and while permits of an earlier tracker may be in
  // use.
  if (permits_.starting(now)) return {{api::EvictionReason::kStarting, 0}, std::nullopt};
  auto part = node.blobs.find(*id);
  const bool whole_here =
      part != node.blobs.end() && part->second.state == api::BlobState::kComplete;
  // A part is no copy, but while nobody has the whole its pieces may be the last ones.
  const std::uint64_t keep = whole_here ? replicas : 1;
  std::vector<swarm::NodeId> whole;
  const std::uint64_t enough = keep + permits_.held(*id) + 1;
  for (swarm::NodeId holder : blobs_.at(*id).holders) {
    if (whole.size() > enough) break;
    const Node& other = *nodes_.find(holder);
    if (other.blobs.at(*id).state == api::BlobState::kComplete) whole.push_back(holder);
  }
  const auto remaining = static_cast<std::uint32_t>(permits_.remaining(*id, whole, now));
  if (permits_.may(node.handle, *id, whole, keep, now)) {
    return {{api::EvictionReason::kGranted, remaining}, id};
  }
  return {{api::EvictionReason::kLastCopies, remaining}, std::nullopt};
}

Result<api::EvictionResponse> Fleet::evictions(std::string_view id,
                                               const api::EvictionRequest& request,
                                               swarm::Time now) {
  std::optional<Error> error;
  Node* node = registered_node(id, request.epoch, error);
  if (!node) return fail(*std::move(error));
  api::EvictionResponse response;
  response.tracker_epoch = tracker_epoch_;
  response.valid = permits_.options().valid;
  std::uint64_t freed = 0;
  for (const api::EvictionAsk& ask : request.blobs) {
    EvictionVerdict verdict{{api::EvictionReason::kNotNeeded, 0}, std::nullopt};
    if (freed < request.bytes) verdict = may_evict(*node, ask.blob, request.replicas, now);
    if (verdict.answer.reason == api::EvictionReason::kGranted) freed += ask.bytes;
    if (verdict.permit && !request.dry_run) permits_.grant(node->handle, *verdict.permit, now);
    metrics::counter("shoal_tracker_eviction_answers_total", "Answers to agents that make room.",
                     {{"reason", std::string(api::eviction_reason_name(verdict.answer.reason))}})
        .add();
    response.answers.push_back(verdict.answer);
  }
  return response;
}

}  // namespace shoal::tracker
