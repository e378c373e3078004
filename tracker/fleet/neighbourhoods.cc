#include "tracker/fleet/neighbourhoods.h"

#include <algorithm>
#include <iterator>

namespace shoal::tracker {

swarm::Topology swarm_topology(const api::Topology& topology) {
  return {topology.region, topology.zone, topology.rack, topology.host};
}

Neighbourhoods::Neighbourhoods(Options options, std::uint64_t seed, const NodeTable& nodes,
                               const BlobIndex& blobs)
    : options_(options), seed_(seed), nodes_(nodes), blobs_(blobs) {}

std::vector<content::Digest> Neighbourhoods::groups_of(swarm::BlobId blob) const {
  const FleetBlob& known = blobs_.at(blob);
  if (known.manifests.empty()) return {known.digest};
  return known.manifests;
}

void Neighbourhoods::mark(swarm::NodeId node, swarm::BlobId blob) {
  for (const content::Digest& group : groups_of(blob)) dirty_.emplace(node, group);
}

void Neighbourhoods::part_changed(swarm::NodeId node, swarm::BlobId blob) {
  mark(node, blob);
  retell_.insert(node);
  // Those who want it choose anew where it is, or was, rare among their neighbours: when it has few
  // holders, and when one of them is none any more.
  const FleetBlob& known = blobs_.at(blob);
  if (known.holders.size() <= options_.holders_added || !known.holders.contains(node)) {
    retell_.insert(known.wanters.begin(), known.wanters.end());
  }
}

void Neighbourhoods::group_changed(swarm::NodeId node, const content::Digest& manifest) {
  dirty_.emplace(node, manifest);
}

void Neighbourhoods::blob_moved(swarm::BlobId blob) {
  const FleetBlob& known = blobs_.at(blob);
  auto mark_all = [&](const std::set<swarm::NodeId>& nodes) {
    for (swarm::NodeId node : nodes) {
      mark(node, blob);
      dirty_.emplace(node, known.digest);  // its graph of its own, left or joined
      retell_.insert(node);
    }
  };
  mark_all(known.holders);
  mark_all(known.wanters);
}

void Neighbourhoods::node_left(swarm::NodeId node) {
  if (auto it = member_of_.find(node); it != member_of_.end()) {
    for (const content::Digest& group : std::set<content::Digest>(it->second)) leave(node, group);
  }
  auto first = dirty_.lower_bound({node, content::Digest()});
  auto last = std::find_if(first, dirty_.end(), [&](const auto& e) { return e.first != node; });
  dirty_.erase(first, last);
  told_.erase(node);
  retell_.erase(node);
  // Those who were told of it beside the graphs, as a holder.
  for (const auto& [other, told] : told_) {
    if (std::find(told.neighbours.begin(), told.neighbours.end(), node) != told.neighbours.end()) {
      retell_.insert(other);
    }
  }
}

bool Neighbourhoods::belongs(const Node& node, const content::Digest& group) const {
  if (!node.in_fleet()) return false;
  const BlobIndex::Manifest* manifest = blobs_.manifest(group);
  if (!manifest) {
    std::optional<swarm::BlobId> id = blobs_.id(group);
    if (!id || !blobs_.at(*id).manifests.empty()) return false;
    auto part = node.blobs.find(*id);
    return part != node.blobs.end() && (part->second.wanted || part->second.serves());
  }
  std::uint64_t held = 0;
  for (swarm::BlobId id : manifest->blobs) {
    auto part = node.blobs.find(id);
    if (part == node.blobs.end()) continue;
    if (part->second.wanted) return true;
    const FleetBlob& blob = blobs_.at(id);
    if (!part->second.serves() || !blob.layout) continue;
    std::uint64_t size = blob.layout->size();
    held += part->second.state == api::BlobState::kComplete
                ? size
                : std::min(size, part->second.pieces_have * blob.layout->piece_length());
  }
  return held > 0 && held >= manifest->bytes / 8;
}

void Neighbourhoods::update_membership(swarm::NodeId handle, const content::Digest& group) {
  const Node* node = nodes_.find(handle);
  if (node && belongs(*node, group)) {
    join(*node, group);
  } else {
    leave(handle, group);
  }
}

void Neighbourhoods::join(const Node& node, const content::Digest& group) {
  auto it = groups_.find(group);
  if (it == groups_.end()) {
    std::uint64_t seed = seed_ ^ std::hash<content::Digest>()(group);
    it = groups_.try_emplace(group, options_.graph, seed).first;
  }
  it->second.join(node.handle, swarm_topology(node.topology), swarm::node_key(node.id));
  member_of_[node.handle].insert(group);
}

void Neighbourhoods::leave(swarm::NodeId node, const content::Digest& group) {
  auto it = groups_.find(group);
  if (it == groups_.end() || !it->second.contains(node)) return;
  it->second.leave(node);
  for (swarm::NodeId changed : it->second.take_changed()) retell_.insert(changed);
  if (it->second.size() == 0) groups_.erase(it);
  auto member = member_of_.find(node);
  member->second.erase(group);
  if (member->second.empty()) member_of_.erase(member);
}

std::vector<swarm::NodeId> Neighbourhoods::refresh() {
  std::set<content::Digest> touched;
  for (const auto& [node, group] : std::exchange(dirty_, {})) {
    update_membership(node, group);
    touched.insert(group);
  }
  for (const content::Digest& group : touched) {
    auto it = groups_.find(group);
    if (it == groups_.end()) continue;
    for (swarm::NodeId changed : it->second.take_changed()) retell_.insert(changed);
  }
  std::vector<swarm::NodeId> changed;
  for (swarm::NodeId node : std::exchange(retell_, {})) {
    if (tell(node)) changed.push_back(node);
  }
  return changed;
}

// Whether there is news for the node. A blob it stopped wanting is none.
bool Neighbourhoods::tell(swarm::NodeId handle) {
  const Node* node = nodes_.find(handle);
  if (!node || !node->in_fleet()) {
    told_.erase(handle);
    return false;
  }
  Told now;
  now.neighbours = choose(*node);
  for (swarm::NodeId neighbour : now.neighbours) {
    now.epochs.push_back(nodes_.find(neighbour)->epoch);
  }
  for (const auto& [blob, part] : node->blobs) {
    if (part.wanted) now.wanted.insert(blob);
  }
  Told& before = told_[handle];
  bool news = before.neighbours != now.neighbours || before.epochs != now.epochs ||
              !std::includes(before.wanted.begin(), before.wanted.end(), now.wanted.begin(),
                             now.wanted.end());
  before = std::move(now);
  return news;
}

std::vector<swarm::NodeId> Neighbourhoods::choose(const Node& node) const {
  // By graph, nearest first in each.
  std::vector<std::vector<swarm::Neighbour>> lists;
  if (auto member = member_of_.find(node.handle); member != member_of_.end()) {
    for (const content::Digest& group : member->second) {
      lists.push_back(groups_.at(group).neighbours(node.handle));
    }
  }
  auto useful = [&](swarm::NodeId other) {
    return std::any_of(node.blobs.begin(), node.blobs.end(), [&](const auto& own) {
      if (!own.second.wanted) return false;
      const FleetBlob& blob = blobs_.at(own.first);
      return blob.holders.contains(other) || blob.wanters.contains(other);
    });
  };
  // In turn from each graph, so that one model's neighbours do not crowd out another's.
  std::vector<swarm::Neighbour> chosen;
  std::set<swarm::NodeId> seen;
  bool more = true;
  for (std::size_t place = 0; more && chosen.size() < options_.max_neighbours; ++place) {
    more = false;
    for (const auto& list : lists) {
      if (place >= list.size()) continue;
      more = true;
      if (chosen.size() < options_.max_neighbours && !seen.contains(list[place].node) &&
          useful(list[place].node)) {
        seen.insert(list[place].node);
        chosen.push_back(list[place]);
      }
    }
  }
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const auto& a, const auto& b) { return a.locality < b.locality; });
  std::vector<swarm::NodeId> out;
  for (const swarm::Neighbour& neighbour : chosen) out.push_back(neighbour.node);
  add_holders(node, out);
  return out;
}

void Neighbourhoods::add_holders(const Node& node, std::vector<swarm::NodeId>& chosen) const {
  constexpr std::size_t kLookedAt = 64;  // holders of one blob
  std::set<swarm::NodeId> seen(chosen.begin(), chosen.end());
  const swarm::Topology here = swarm_topology(node.topology);
  for (const auto& [id, part] : node.blobs) {
    if (!part.wanted) continue;
    const FleetBlob& blob = blobs_.at(id);
    bool has_source = std::any_of(seen.begin(), seen.end(), [&](swarm::NodeId other) {
      return blob.holders.contains(other);
    });
    if (has_source || blob.holders.empty()) continue;
    // From a place of the node's own, so that not everybody gets the same ones.
    auto start = blob.holders.lower_bound(swarm::NodeId(static_cast<std::uint32_t>(
        swarm::node_key(node.id) % (blob.holders.rbegin()->value() + std::uint64_t{1}))));
    std::vector<std::pair<swarm::Locality, swarm::NodeId>> near;
    auto it = start;
    for (std::size_t n = std::min(kLookedAt, blob.holders.size()); n > 0; --n) {
      if (it == blob.holders.end()) it = blob.holders.begin();
      const Node* holder = nodes_.find(*it);
      if (*it != node.handle && holder) {
        near.emplace_back(locality_between(here, swarm_topology(holder->topology)), *it);
      }
      ++it;
    }
    std::stable_sort(near.begin(), near.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < std::min(options_.holders_added, near.size()); ++i) {
      if (chosen.size() >= api::kMaxNeighbours) return;
      if (seen.insert(near[i].second).second) chosen.push_back(near[i].second);
    }
  }
}

const std::vector<swarm::NodeId>& Neighbourhoods::of(swarm::NodeId node) const {
  static const std::vector<swarm::NodeId> kNone;
  auto it = told_.find(node);
  return it == told_.end() ? kNone : it->second.neighbours;
}

}  // namespace shoal::tracker
