// Who may read one origin, how long that usually takes, and what becomes of leases whose holders
// take longer.

#include <algorithm>
#include <tuple>
#include <utility>

#include "core/swarm/lease_table.h"

namespace shoal::swarm {
namespace {

using content::PieceRange;

// So many pieces that were read make up what is usual.
constexpr std::uint32_t kUsualMemory = 64;

}  // namespace

std::size_t LeaseTable::lessees(OriginId origin) const {
  auto it = readers_.find(origin);
  return it == readers_.end() ? 0 : it->second.leases.size();
}

// `pieces` pieces of the part are there now.
void LeaseTable::note_time(const Node& node, OriginId origin, const Part& part,
                           std::uint32_t pieces, Time now) {
  const Duration took = now - part.since;
  if (took >= fair_time(origin, part)) late_[node.id] = now + options_.late_pause;
  Duration& usual = readers_[origin].usual;
  const Duration each = took / part.depth;
  if (usual == Duration::zero()) usual = each;
  usual += (each - usual) * std::min(pieces, kUsualMemory) / kUsualMemory;
}

Duration LeaseTable::fair_time(OriginId origin, const Part& part) const {
  auto readers = readers_.find(origin);
  if (readers == readers_.end()) return options_.fair_time;
  return std::max(options_.fair_time, options_.fair_factor * readers->second.usual * part.depth);
}

// A node that reads already goes on; another begins while there is room, for the origin and for its
// rack's part.
bool LeaseTable::may_read_origin(const Node& node, OriginId origin) const {
  auto it = readers_.find(origin);
  if (it == readers_.end()) return true;
  const Readers& readers = it->second;
  if (readers.leases.contains(node.id)) return true;
  auto in_rack = readers.nodes.find(node.rack);
  std::size_t racks = rack_members_.size();
  std::size_t part = (options_.lessees_per_origin + racks - 1) / racks;
  return readers.leases.size() < options_.lessees_per_origin &&
         (in_rack == readers.nodes.end() || in_rack->second < part);
}

// Whether the node has shown that others read sooner, and there are such others. Where most nodes
// are late it is the origin, and who of them asks next is as good as any.
bool LeaseTable::leave_to_others(const Node& node, OriginId origin, Time now) {
  std::erase_if(late_, [&](const auto& entry) { return now >= entry.second; });
  auto readers = readers_.find(origin);
  if (!late_.contains(node.id) || 2 * late_.size() > nodes_.size()) return false;
  return readers != readers_.end() &&
         std::any_of(readers->second.leases.begin(), readers->second.leases.end(),
                     [&](const auto& reader) { return !late_.contains(reader.first); });
}

// Grants what others have held for longer than is fair, the oldest first. They may still read it:
// so only a small part of a blob is granted like that.
void LeaseTable::take_over(Grant& grant, Blob& blob, std::span<const PieceRange> candidates) {
  struct Late {
    Time since;
    NodeId holder;
    PieceRange pieces;
  };
  std::vector<Late> late;
  auto readers = readers_.find(*blob.origin);
  if (readers == readers_.end()) return;
  for (const auto& [holder, leases] : readers->second.leases) {
    if (holder == grant.node->id) continue;
    Node& other = nodes_.at(holder);
    auto lease = other.leases.find({grant.blob_id, LeaseKind::kOrigin});
    if (lease == other.leases.end()) continue;
    for (const Part& part : lease->second.parts) {
      if (grant.now - part.since < fair_time(*blob.origin, part)) continue;
      for (PieceRange candidate : candidates) {
        PieceRange pieces = overlap(part.range, candidate);
        if (!pieces.empty()) late.push_back({part.since, holder, pieces});
      }
    }
  }
  std::sort(late.begin(), late.end(), [](const Late& a, const Late& b) {
    return std::tie(a.since, a.pieces.first, a.holder) <
           std::tie(b.since, b.pieces.first, b.holder);
  });
  auto budget =
      static_cast<std::uint64_t>(options_.moved_share * static_cast<double>(blob.granted));
  budget = std::max<std::uint64_t>(budget, 1);
  for (Late& from : late) {
    std::uint64_t most = std::min(grant.left, budget - std::min(budget, blob.moved));
    if (most == 0) return;
    from.pieces.count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(from.pieces.count, most));
    Node& other = nodes_.at(from.holder);
    auto lease = other.leases.find({grant.blob_id, LeaseKind::kOrigin});
    if (lease == other.leases.end() || subtract(lease->second.parts, from.pieces) == 0) continue;
    late_[other.id] = grant.now + options_.late_pause;
    if (lease->second.parts.empty()) close_lease(other, blob, lease);
    rack_scope(blob, other.rack).leased.reset_range(from.pieces);
    rack_scope(blob, grant.node->rack).leased.set_range(from.pieces);
    lease_out(grant, blob, from.pieces);
    grant.left -= from.pieces.count;
    blob.moved += from.pieces.count;
  }
}

}  // namespace shoal::swarm
