#include "core/swarm/peer_selection.h"

#include <algorithm>

namespace shoal::swarm {
namespace {

// A random few of a large group are looked at for the least connected one.
constexpr std::size_t kSample = 16;
// Enough to find one below the limit if there are some.
constexpr std::size_t kMostLooked = 256;
// A node takes at most this many times its wish.
constexpr std::size_t kMostLinks = 2;

std::string zone_path(const Topology& at) { return at.region + '/' + at.zone; }
std::string rack_path(const Topology& at) { return zone_path(at) + '/' + at.rack; }

void remove_member(std::map<std::string, std::vector<NodeId>>& groups, const std::string& name,
                   NodeId node) {
  auto it = groups.find(name);
  if (it == groups.end()) return;
  std::erase(it->second, node);
  if (it->second.empty()) groups.erase(it);
}

}  // namespace

PeerSelection::PeerSelection(Options options, std::uint64_t seed)
    : options_(options), random_(seed), seed_(seed) {}

void PeerSelection::join(NodeId node, const Topology& where, std::uint64_t key) {
  std::uint64_t ring_key = rank_hash(key, seed_, 0);
  if (auto it = nodes_.find(node); it != nodes_.end()) {
    if (it->second.where == where && it->second.ring_key == ring_key) return;
    leave(node);
  }
  Node& added = nodes_[node];
  added.where = where;
  added.ring_key = ring_key;
  all_.push_back(node);
  racks_[rack_path(where)].push_back(node);
  zones_[zone_path(where)].push_back(node);
  regions_[where.region].push_back(node);
  changed_.insert(node);
  join_ring(node);
  fill(node);
}

void PeerSelection::leave(NodeId node) {
  auto it = nodes_.find(node);
  if (it == nodes_.end()) return;
  leave_ring(node);
  std::vector<Link> lost = it->second.links;
  for (const Link& link : lost) drop_link(node, link.node);
  Topology where = it->second.where;
  nodes_.erase(it);
  changed_.erase(node);
  std::erase(all_, node);
  remove_member(racks_, rack_path(where), node);
  remove_member(zones_, zone_path(where), node);
  remove_member(regions_, where.region, node);
  for (const Link& link : lost) fill(link.node);
}

std::vector<Neighbour> PeerSelection::neighbours(NodeId node) const {
  std::vector<Neighbour> out;
  auto it = nodes_.find(node);
  if (it == nodes_.end()) return out;
  for (const Link& link : it->second.links) {
    out.push_back({link.node, locality_between(it->second.where, nodes_.at(link.node).where)});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Neighbour& a, const Neighbour& b) { return a.locality < b.locality; });
  return out;
}

std::vector<NodeId> PeerSelection::take_changed() {
  std::vector<NodeId> out(changed_.begin(), changed_.end());
  std::sort(out.begin(), out.end());
  changed_.clear();
  return out;
}

// Gives the node what it lacks: near links within its rack; as long as there are too few of those,
// wide ones from the nearest group that has a candidate; far links from everywhere beyond the rack.
void PeerSelection::fill(NodeId id) {
  if (!contains(id)) return;
  Topology where = nodes_.at(id).where;
  auto linked = [&](NodeId other) {
    const auto& links = nodes_.at(id).links;
    return std::any_of(links.begin(), links.end(), [&](const Link& l) { return l.node == other; });
  };
  auto anyone = [&](NodeId candidate) { return !linked(candidate); };
  auto beyond = [&](NodeId candidate) {
    return !linked(candidate) && !same_rack(locality_between(where, nodes_.at(candidate).where));
  };
  NodeId other;
  while (nodes_.at(id).near < options_.near &&
         pick(racks_[rack_path(where)], id, Kind::kNear, anyone, other)) {
    add_link(id, other, Kind::kNear);
    drop_spare_wide(other);
  }
  while (nodes_.at(id).near + nodes_.at(id).wide < options_.near) {
    if (!pick(zones_[zone_path(where)], id, Kind::kWide, beyond, other) &&
        !pick(regions_[where.region], id, Kind::kWide, beyond, other) &&
        !pick(all_, id, Kind::kWide, beyond, other)) {
      break;
    }
    add_link(id, other, Kind::kWide);
  }
  bool one_rack = racks_.size() == 1;
  while (nodes_.at(id).far < options_.far) {
    if (one_rack ? !pick(all_, id, Kind::kFar, anyone, other)
                 : !pick(all_, id, Kind::kFar, beyond, other)) {
      break;
    }
    add_link(id, other, Kind::kFar);
  }
  drop_spare_wide(id);
}

// Links that stood in for near ones, unless the other end still needs them.
void PeerSelection::drop_spare_wide(NodeId id) {
  Node& node = nodes_.at(id);
  for (std::size_t i = 0; i < node.links.size() && node.wide > 0;) {
    if (node.near + node.wide <= options_.near) return;
    Link link = node.links[i];
    const Node& other = nodes_.at(link.node);
    if (link.kind == Kind::kWide && other.near + other.wide > options_.near) {
      drop_link(id, link.node);
    } else {
      ++i;
    }
  }
}

// The least connected of a sample of `from`, or of a larger part when the sample has none; those
// that have twice their wish are passed over as long as there is another.
template <typename Accept>
bool PeerSelection::pick(const Members& from, NodeId node, Kind kind, Accept accept, NodeId& out) {
  std::size_t cap = kMostLinks * (kind == Kind::kFar ? options_.far : options_.near);
  bool found = false;
  std::size_t fewest = 0;
  auto look = [&](NodeId candidate) {
    if (candidate == node) return;
    Node& other = nodes_.at(candidate);
    std::size_t links = other.count(kind);
    if (found && links >= fewest) return;
    if (!accept(candidate)) return;
    found = true;
    fewest = links;
    out = candidate;
  };
  if (from.size() > kSample * 4) {
    for (std::size_t i = 0; i < kSample; ++i) look(from[random_.below(from.size())]);
    if (found && fewest < cap) return true;
  }
  std::size_t begin = from.empty() ? 0 : random_.below(from.size());
  // In a large fleet in which nearly everybody has that many, looking on would cost a join as much
  // as there are nodes.
  for (std::size_t i = 0; i < from.size() && !(found && i >= kMostLooked); ++i) {
    look(from[(begin + i) % from.size()]);
  }
  return found;
}

bool PeerSelection::add_link(NodeId a, NodeId b, Kind kind) {
  Node& left = nodes_.at(a);
  Node& right = nodes_.at(b);
  for (const Link& link : left.links) {
    if (link.node == b) return false;
  }
  left.links.push_back({b, kind});
  right.links.push_back({a, kind});
  if (kind != Kind::kRing) ++left.count(kind), ++right.count(kind);
  changed_.insert(a);
  changed_.insert(b);
  return true;
}

void PeerSelection::drop_link(NodeId a, NodeId b) {
  for (auto [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    Node& node = nodes_.at(from);
    auto it = std::find_if(node.links.begin(), node.links.end(),
                           [to = to](const Link& link) { return link.node == to; });
    if (it == node.links.end()) continue;
    if (it->kind != Kind::kRing) --node.count(it->kind);
    node.links.erase(it);
    changed_.insert(from);
  }
}

NodeId PeerSelection::ring_next(
    std::map<std::pair<std::uint64_t, std::uint32_t>, NodeId>::const_iterator it) const {
  ++it;
  return it == ring_.end() ? ring_.begin()->second : it->second;
}

void PeerSelection::join_ring(NodeId node) {
  auto [it, fresh] = ring_.emplace(std::pair(nodes_.at(node).ring_key, node.value()), node);
  if (ring_.size() == 1) return;
  NodeId before = it == ring_.begin() ? std::prev(ring_.end())->second : std::prev(it)->second;
  NodeId after = ring_next(it);
  // The link that closed the ring between the two is no longer needed.
  const auto& links = nodes_.at(before).links;
  bool closing = before != after && ring_.size() > 3 &&
                 std::any_of(links.begin(), links.end(), [&](const Link& link) {
                   return link.node == after && link.kind == Kind::kRing;
                 });
  if (closing) drop_link(before, after);
  add_link(before, node, Kind::kRing);
  if (after != before) add_link(node, after, Kind::kRing);
  if (closing) fill(before), fill(after);
}

void PeerSelection::leave_ring(NodeId node) {
  auto it = ring_.find(std::pair(nodes_.at(node).ring_key, node.value()));
  NodeId before = it == ring_.begin() ? std::prev(ring_.end())->second : std::prev(it)->second;
  NodeId after = ring_next(it);
  ring_.erase(it);
  if (before != after) add_link(before, after, Kind::kRing);
}

}  // namespace shoal::swarm
