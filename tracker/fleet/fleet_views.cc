// What the fleet shows: neighbours for agents, lists for operators.
#include <algorithm>

#include "tracker/fleet/fleet.h"

namespace shoal::tracker {
namespace {

std::int64_t ms_ago(swarm::Time then, swarm::Time now) {
  return std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::milliseconds>(now - then).count());
}

api::NodePhase phase_of(api::PullState state) {
  switch (state) {
    case api::PullState::kQueued:
      return api::NodePhase::kQueued;
    case api::PullState::kRunning:
      return api::NodePhase::kRunning;
    case api::PullState::kComplete:
      return api::NodePhase::kComplete;
    case api::PullState::kFailed:
      return api::NodePhase::kFailed;
    case api::PullState::kCancelled:
      return api::NodePhase::kCancelled;
  }
  return api::NodePhase::kQueued;
}

bool unfinished(const api::PullReport& pull) {
  return pull.state == api::PullState::kQueued || pull.state == api::PullState::kRunning;
}

}  // namespace

std::vector<api::Neighbour> Fleet::neighbours(std::string_view id) const {
  std::vector<api::Neighbour> out;
  const Node* node = nodes_.find(id);
  if (!node || !node->in_fleet()) return out;
  for (swarm::NodeId handle : neighbourhoods_.of(node->handle)) {
    const Node* other = nodes_.find(handle);
    if (!other || !other->in_fleet()) continue;
    api::Neighbour neighbour{.node = other->id,
                             .epoch = other->epoch,
                             .address = other->address,
                             .topology = other->topology};
    for (const auto& [blob, part] : node->blobs) {
      if (!part.wanted) continue;
      auto theirs = other->blobs.find(blob);
      if (theirs == other->blobs.end()) continue;
      if (theirs->second.state == api::BlobState::kComplete) {
        neighbour.holds.push_back(blobs_.at(blob).digest);
      } else if (theirs->second.wanted || theirs->second.serves()) {
        neighbour.wants.push_back(blobs_.at(blob).digest);
      }
    }
    out.push_back(std::move(neighbour));
  }
  return out;
}

std::vector<api::NodeInfo> Fleet::list(swarm::Time now) const {
  std::vector<api::NodeInfo> out;
  for (const auto& [id, handle] : nodes_.by_id()) {
    const Node& node = *nodes_.find(handle);
    api::NodeInfo info{.node = node.id,
                       .epoch = node.epoch,
                       .state = !node.live        ? "dead"
                                : node.distrusted ? "distrusted"
                                                  : "live",
                       .address = node.address,
                       .admin = node.admin,
                       .topology = node.topology,
                       .labels = node.labels,
                       .version = node.version,
                       .last_heard_ms_ago = ms_ago(node.heard, now),
                       .blobs = node.blobs.size()};
    info.complete = static_cast<std::uint64_t>(std::count_if(
        node.blobs.begin(), node.blobs.end(),
        [](const auto& blob) { return blob.second.state == api::BlobState::kComplete; }));
    info.pulls = static_cast<std::uint64_t>(
        std::count_if(node.pulls.begin(), node.pulls.end(),
                      [](const auto& pull) { return unfinished(pull.second); }));
    info.store = node.store;
    out.push_back(std::move(info));
  }
  return out;
}

std::vector<api::NodeProgress> Fleet::progress(const content::Digest& manifest,
                                               swarm::Time now) const {
  std::vector<api::NodeProgress> out;
  const BlobIndex::Manifest* wanted = blobs_.manifest(manifest);
  if (!wanted) return out;
  for (const auto& [id, handle] : nodes_.by_id()) {
    const Node& node = *nodes_.find(handle);
    if (!node.live) continue;
    api::NodeProgress progress{.node = node.id};
    progress.bytes_total = wanted->bytes;
    progress.last_heard_ms_ago = ms_ago(node.heard, now);
    bool all = true;
    for (swarm::BlobId blob : wanted->blobs) {
      auto part = node.blobs.find(blob);
      const auto& layout = blobs_.at(blob).layout;
      bool complete = part != node.blobs.end() && part->second.state == api::BlobState::kComplete;
      all = all && complete;
      if (part == node.blobs.end() || !part->second.serves() || !layout) continue;
      progress.bytes_done +=
          complete ? layout->size()
                   : std::min(layout->size(), part->second.pieces_have * layout->piece_length());
    }
    // The unfinished pull of it, else the last one that ended.
    const api::PullReport* pull = nullptr;
    for (const auto& [pull_id, report] : node.pulls) {
      if (report.manifest == manifest && (!pull || unfinished(report))) pull = &report;
    }
    if (progress.bytes_done == 0 && !pull && !all) continue;
    progress.state = all ? api::NodePhase::kComplete : api::NodePhase::kPartial;
    if (pull) {
      if (!all) progress.state = phase_of(pull->state);
      progress.by_source = pull->by_source;
      progress.rate = pull->rate;
      progress.waiting_for = pull->waiting_for;
      progress.error = pull->error;
      progress.sources = pull->sources;
      progress.waits = pull->waits;
      progress.last_errors = pull->last_errors;
    }
    out.push_back(std::move(progress));
  }
  return out;
}

}  // namespace shoal::tracker
