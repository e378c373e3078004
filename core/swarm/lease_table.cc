#include "core/swarm/lease_table.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace shoal::swarm {
namespace {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

constexpr Duration kRetryFirst = std::chrono::milliseconds(250);
constexpr Duration kRetryMost = std::chrono::seconds(5);
// Refused askers come back so much later that together they ask at a bounded rate.
constexpr std::size_t kNodesPerRetryStep = 100;
// A grant at the end of a blob is at least this part of what was asked for.
constexpr std::uint64_t kLeastPart = 8;

PieceRange clip(const content::BlobLayout& layout, PieceRange pieces) {
  std::uint32_t total = layout.piece_count();
  if (pieces.first.value() >= total) return {};
  return {pieces.first, std::min(pieces.count, total - pieces.first.value())};
}

}  // namespace

LeaseTable::LeaseTable(Options options, Time start) : options_(options), start_(start) {}

LeaseTable::Node* LeaseTable::find(NodeId node) {
  auto it = nodes_.find(node);
  return it == nodes_.end() ? nullptr : &it->second;
}

LeaseTable::Blob* LeaseTable::find(BlobId blob) {
  auto it = blobs_.find(blob);
  return it == blobs_.end() ? nullptr : &it->second;
}

LeaseTable::Scope& LeaseTable::rack_scope(Blob& blob, RackId rack) {
  auto [it, fresh] = blob.racks.try_emplace(rack);
  if (fresh) {
    it->second.present = PieceSet(blob.layout.piece_count());
    it->second.leased = PieceSet(blob.layout.piece_count());
  }
  return it->second;
}

// Takes `gone` out of the list; returns how many pieces that were.
std::uint32_t LeaseTable::subtract(std::vector<Part>& from, PieceRange gone) {
  std::uint32_t removed = 0;
  for (std::size_t i = 0; i < from.size();) {
    PieceRange range = from[i].range;
    PieceRange common = overlap(range, gone);
    if (common.empty()) {
      ++i;
      continue;
    }
    removed += common.count;
    PieceRange head{range.first, common.first - range.first};
    PieceRange tail{common.end(), range.end() - common.end()};
    if (head.empty() && tail.empty()) {
      from.erase(from.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    from[i].range = head.empty() ? tail : head;
    ++i;
    if (!head.empty() && !tail.empty()) {
      from.insert(from.begin() + static_cast<std::ptrdiff_t>(i),
                  Part{tail, from[i - 1].since, from[i - 1].depth});
      ++i;
    }
  }
  return removed;
}

// --- Fleet and content ---------------------------------------------------------------------------

void LeaseTable::node_up(NodeId id, RackId rack) {
  if (find(id)) node_down(id);
  Node& node = nodes_[id];
  node.id = id;
  node.rack = rack;
  rack_members_[rack].push_back(id);
}

void LeaseTable::node_down(NodeId id) {
  auto it = nodes_.find(id);
  if (it == nodes_.end()) return;
  Node node = std::move(it->second);
  nodes_.erase(it);
  std::vector<NodeId>& members = rack_members_[node.rack];
  std::erase(members, id);
  if (members.empty()) rack_members_.erase(node.rack);
  while (!node.leases.empty()) {
    auto [blob_id, kind] = node.leases.begin()->first;
    end_lease(node, blob_id, *find(blob_id), kind);
  }
  for (const auto& [blob_id, has] : node.has) {
    Blob* blob = find(blob_id);
    if (blob) withdraw(blob_id, *blob, node.rack, has);
  }
}

void LeaseTable::distrust(NodeId id) {
  Node* node = find(id);
  if (!node || node->distrusted) return;
  node->distrusted = true;
  while (!node->leases.empty()) {
    auto [blob_id, kind] = node->leases.begin()->first;
    end_lease(*node, blob_id, *find(blob_id), kind);
  }
  auto has = std::exchange(node->has, {});
  for (const auto& [blob_id, pieces] : has) {
    if (Blob* blob = find(blob_id)) withdraw(blob_id, *blob, node->rack, pieces);
  }
}

void LeaseTable::add_blob(BlobId id, const content::BlobLayout& layout,
                          std::optional<OriginId> origin) {
  auto [it, fresh] = blobs_.try_emplace(id);
  Blob& blob = it->second;
  if (!fresh && blob.origin != origin) {
    // Those who read from the other place must ask anew.
    for (auto& [node_id, node] : nodes_) end_lease(node, id, blob, LeaseKind::kOrigin);
    blob.etag.clear();
  }
  blob.origin = origin;
  if (!fresh) return;
  blob.layout = layout;
  blob.fleet.present = PieceSet(layout.piece_count());
  blob.fleet.leased = PieceSet(layout.piece_count());
}

void LeaseTable::remove_blob(BlobId id) {
  Blob* blob = find(id);
  if (!blob) return;
  for (auto& [node_id, node] : nodes_) {
    node.has.erase(id);
    end_lease(node, id, *blob, LeaseKind::kOrigin);
    end_lease(node, id, *blob, LeaseKind::kRack);
  }
  blobs_.erase(id);
}

// A node of `rack` has these pieces no more: those that nobody else has are not there now. Most
// often the first few neighbours have them all.
void LeaseTable::withdraw(BlobId id, Blob& blob, RackId rack, const RunSet& gone) {
  if (gone.count() == 0) return;
  PieceSet alone = gone.pieces(blob.layout);
  auto leave_out = [&](const Node& node) {
    auto it = node.has.find(id);
    if (it != node.has.end() && it->second.count() != 0) alone -= it->second.pieces(blob.layout);
  };
  auto forget = [&](PieceSet& present) {
    for (auto run = alone.next_run(PieceIndex(0)); !run.empty(); run = alone.next_run(run.end())) {
      present.reset_range(run);
    }
  };
  if (auto members = rack_members_.find(rack); members != rack_members_.end()) {
    for (NodeId member : members->second) {
      if (alone.none()) return;
      leave_out(nodes_.at(member));
    }
  }
  forget(rack_scope(blob, rack).present);
  for (const auto& [node_id, node] : nodes_) {
    if (alone.none()) return;
    if (node.rack != rack) leave_out(node);
  }
  forget(blob.fleet.present);
  if (auto first = alone.first_set()) {
    blob.next_run = std::min(blob.next_run, blob.layout.run_of(*first).value());
  }
}

void LeaseTable::node_has(NodeId id, BlobId blob_id, PieceRange pieces, Time now) {
  Node* node = find(id);
  Blob* blob = find(blob_id);
  if (!node || !blob || node->distrusted) return;
  pieces = clip(blob->layout, pieces);
  if (pieces.empty()) return;
  auto [it, fresh] = node->has.try_emplace(blob_id, blob->layout);
  it->second.add(blob->layout, pieces);
  blob->fleet.present.set_range(pieces);
  rack_scope(*blob, node->rack).present.set_range(pieces);
  finish(*node, blob_id, *blob, pieces, now);
}

void LeaseTable::node_has_all(NodeId id, BlobId blob_id, Time now) {
  if (Blob* blob = find(blob_id)) node_has(id, blob_id, blob->layout.all_pieces(), now);
}

void LeaseTable::node_lost(NodeId id, BlobId blob_id) {
  Node* node = find(id);
  Blob* blob = find(blob_id);
  if (!node || !blob) return;
  auto it = node->has.find(blob_id);
  if (it == node->has.end()) return;
  RunSet gone = std::move(it->second);
  node->has.erase(it);
  withdraw(blob_id, *blob, node->rack, gone);
}

void LeaseTable::node_active(NodeId id, BlobId blob_id, Time now) {
  Node* node = find(id);
  if (!node) return;
  for (LeaseKind kind : {LeaseKind::kOrigin, LeaseKind::kRack}) {
    auto it = node->leases.find({blob_id, kind});
    if (it != node->leases.end()) it->second.progress = std::max(it->second.progress, now);
  }
}

// --- Leases --------------------------------------------------------------------------------------

// The leased pieces among `pieces` are there now.
void LeaseTable::finish(Node& node, BlobId id, Blob& blob, PieceRange pieces, Time now) {
  for (LeaseKind kind : {LeaseKind::kOrigin, LeaseKind::kRack}) {
    auto it = node.leases.find({id, kind});
    if (it == node.leases.end()) continue;
    Lease& lease = it->second;
    // The node's own pieces leave both sets: they are present now, which forbids as well.
    std::vector<Part> before = lease.parts;
    if (subtract(lease.parts, pieces) == 0) continue;
    lease.progress = std::max(lease.progress, now);
    for (const Part& part : before) {
      PieceRange done = overlap(part.range, pieces);
      if (done.empty()) continue;
      if (kind == LeaseKind::kOrigin) {
        blob.fleet.leased.reset_range(done);
        if (blob.origin) note_time(node, *blob.origin, part, done.count, now);
      }
      rack_scope(blob, node.rack).leased.reset_range(done);
    }
    if (lease.parts.empty()) close_lease(node, blob, it);
  }
}

void LeaseTable::end_lease(Node& node, BlobId id, Blob& blob, LeaseKind kind) {
  auto it = node.leases.find({id, kind});
  if (it == node.leases.end()) return;
  for (const Part& part : it->second.parts) {
    if (kind == LeaseKind::kOrigin) {
      blob.fleet.leased.reset_range(part.range);
      blob.next_run = std::min(blob.next_run, blob.layout.run_of(part.range.first).value());
    }
    rack_scope(blob, node.rack).leased.reset_range(part.range);
  }
  close_lease(node, blob, it);
}

LeaseTable::Lease& LeaseTable::open_lease(Node& node, BlobId id, const Blob& blob, LeaseKind kind,
                                          Time now) {
  auto [it, fresh] = node.leases.try_emplace({id, kind});
  it->second.progress = now;
  holders_.insert(node.id);
  if (fresh && kind == LeaseKind::kOrigin && blob.origin) {
    Readers& readers = readers_[*blob.origin];
    if (readers.leases[node.id]++ == 0) ++readers.nodes[node.rack];
  }
  return it->second;
}

void LeaseTable::lease_out(Grant& grant, Blob& blob, PieceRange pieces) {
  Lease& lease = open_lease(*grant.node, grant.blob_id, blob, grant.kind, grant.now);
  std::uint32_t depth = pieces.count;
  for (const Part& part : lease.parts) depth += part.range.count;
  lease.parts.push_back({pieces, grant.now, depth});
  grant.out->push_back(pieces);
}

LeaseTable::Leases::iterator LeaseTable::close_lease(Node& node, const Blob& blob,
                                                     Leases::iterator it) {
  if (it->first.second == LeaseKind::kOrigin && blob.origin) {
    Readers& readers = readers_[*blob.origin];
    auto reader = readers.leases.find(node.id);
    if (--reader->second == 0) {
      readers.leases.erase(reader);
      if (--readers.nodes[node.rack] == 0) readers.nodes.erase(node.rack);
    }
  }
  if (node.leases.size() == 1) holders_.erase(node.id);
  return node.leases.erase(it);
}

std::uint32_t LeaseTable::present(BlobId id) const {
  auto it = blobs_.find(id);
  return it == blobs_.end() ? 0 : it->second.fleet.present.count();
}

Duration LeaseTable::retry_after(NodeId node) const {
  Duration wait = kRetryFirst * static_cast<int>(1 + nodes_.size() / kNodesPerRetryStep);
  wait = std::min(wait, kRetryMost);
  // Spread by node, so that those refused together do not come back together.
  return wait + wait * static_cast<int>(rank_hash(node.value(), 0, 0) % 16) / 16;
}

LeaseTable::Answer LeaseTable::ask(NodeId id, const LeaseAsk& ask, Time now) {
  Answer answer;
  Node* node = find(id);
  Blob* blob = find(ask.blob);
  auto refuse = [&](LeaseRefusal refusal, Duration retry) {
    answer.refusal = refusal;
    answer.retry_after = retry;
    return answer;
  };
  bool origin = ask.kind == LeaseKind::kOrigin;
  if (!node || !blob || node->distrusted || (origin && !blob->origin)) {
    return refuse(LeaseRefusal::kNoOrigin, kRetryMost);
  }
  if (now - start_ < options_.quiet_start) {
    return refuse(LeaseRefusal::kStarting, options_.quiet_start - (now - start_));
  }
  if (origin && !ask.urgent &&
      (!may_read_origin(*node, *blob->origin) || leave_to_others(*node, *blob->origin, now))) {
    return refuse(LeaseRefusal::kBusy, retry_after(id));
  }
  std::uint64_t bytes = std::min(ask.bytes, options_.max_grant);
  if (origin) {
    std::uint64_t total = blob->layout.piece_count();
    std::uint64_t taken = std::uint64_t{blob->fleet.present.count()} + blob->fleet.leased.count();
    std::uint64_t open = (total - std::min(total, taken)) * blob->layout.piece_length();
    std::uint64_t readers = std::max<std::uint64_t>(1, lessees(*blob->origin));
    std::uint64_t least = std::max(options_.min_grant, ask.bytes / kLeastPart);
    bytes = std::min(bytes, std::max(least, open / (2 * readers)));
  }
  std::uint64_t pieces = std::max<std::uint64_t>(1, bytes / blob->layout.piece_length());
  // A run whose parts lie in two racks is not passed on as a whole by either: whoever reads one
  // soon gets all of it.
  bool whole_runs = ask.bytes >= content::kRunLength;
  Grant grant{node, ask.blob, ask.kind, pieces, now, ask.starved, whole_runs, &answer.granted};
  if (origin && ask.candidates.empty()) take_in_order(grant, *blob);
  for (PieceRange candidate : ask.candidates) {
    candidate = clip(blob->layout, candidate);
    if (!candidate.empty()) take(grant, *blob, candidate);
  }
  if (origin && answer.granted.empty()) take_over(grant, *blob, ask.candidates);
  if (origin && !answer.granted.empty()) node->reads_on[ask.blob] = answer.granted.back().end();
  if (answer.granted.empty()) {
    Duration retry = origin ? retry_after(id) : kRetryFirst;
    return refuse(LeaseRefusal::kTaken, retry);
  }
  answer.etag = blob->etag;
  return answer;
}

// Grants what is free of `from`, in order.
void LeaseTable::take(Grant& grant, Blob& blob, PieceRange from) {
  const std::uint32_t per_run = blob.layout.pieces_per_run();
  if (grant.whole_runs && grant.left != 0 && grant.left < per_run) grant.left = per_run;
  Scope& rack = rack_scope(blob, grant.node->rack);
  bool origin = grant.kind == LeaseKind::kOrigin;
  Scope& scope = origin ? blob.fleet : rack;
  PieceIndex at = from.first;
  while (grant.left != 0 && at < from.end()) {
    PieceRange open = scope.leased.next_gap(at);
    if (open.empty() || open.first >= from.end()) return;
    PieceRange absent = grant.even_if_present ? open : scope.present.next_gap(open.first);
    if (absent.empty() || absent.first >= from.end()) return;
    if (absent.first >= open.end()) {
      at = absent.first;
      continue;
    }
    PieceIndex first = absent.first;
    PieceIndex end = std::min({open.end(), absent.end(), from.end()});
    auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(end - first, grant.left));
    PieceRange granted{first, count};
    grant.left -= count;
    at = granted.end();
    scope.leased.set_range(granted);
    if (origin) {
      rack.leased.set_range(granted);
      blob.granted += granted.count;
    }
    lease_out(grant, blob, granted);
  }
}

// Grants from anywhere. A node first goes on in the run in which its last lease ended, then begins
// runs that nobody began; only when there are none left it shares the runs of others. So a run
// comes into one rack as a whole, and the others can pass it on as a whole.
void LeaseTable::take_in_order(Grant& grant, Blob& blob) {
  const content::BlobLayout& layout = blob.layout;
  if (auto it = grant.node->reads_on.find(grant.blob_id); it != grant.node->reads_on.end()) {
    PieceIndex at = it->second;
    if (at < layout.all_pieces().end() && at.value() % layout.pieces_per_run() != 0) {
      PieceRange run = layout.pieces_of_run(layout.run_of(at));
      take(grant, blob, {at, run.end() - at});
    }
  }
  bool behind_all = true;
  for (std::uint32_t run = blob.next_run; grant.left != 0 && run < layout.run_count(); ++run) {
    PieceRange pieces = layout.pieces_of_run(content::RunIndex(run));
    bool begun = blob.fleet.leased.count(pieces) != 0 || blob.fleet.present.count(pieces) != 0;
    if (!begun) {
      take(grant, blob, pieces);
    }
    if (behind_all) blob.next_run = run + 1;
    behind_all = behind_all && (begun || grant.left != 0);
  }
  if (grant.out->empty()) take(grant, blob, layout.all_pieces());
}

std::vector<PieceRange> LeaseTable::announce_lease(NodeId id, LeaseKind kind, BlobId blob_id,
                                                   std::span<const PieceRange> pieces, Time now) {
  std::vector<PieceRange> out;
  Node* node = find(id);
  Blob* blob = find(blob_id);
  if (!node || !blob) return out;
  auto own = node->leases.find({blob_id, kind});
  if (own != node->leases.end()) {
    // What it still holds here is its own; grant() takes the rest.
    for (const Part& part : own->second.parts) {
      for (PieceRange named : pieces) {
        PieceRange common = overlap(part.range, named);
        if (!common.empty()) out.push_back(common);
      }
    }
    own->second.progress = std::max(own->second.progress, now);
  }
  Grant grant{node, blob_id, kind, blob->layout.piece_count(), now, false, false, &out};
  for (PieceRange named : pieces) {
    named = clip(blob->layout, named);
    if (!named.empty()) take(grant, *blob, named);
  }
  return out;
}

void LeaseTable::release(NodeId id, LeaseKind kind, BlobId blob_id,
                         std::span<const PieceRange> pieces) {
  Node* node = find(id);
  Blob* blob = find(blob_id);
  if (!node || !blob) return;
  auto it = node->leases.find({blob_id, kind});
  if (it == node->leases.end()) return;
  for (PieceRange given : pieces) {
    for (const Part& held : std::vector<Part>(it->second.parts)) {
      PieceRange freed = overlap(held.range, given);
      if (freed.empty()) continue;
      subtract(it->second.parts, freed);
      if (kind == LeaseKind::kOrigin) {
        blob->fleet.leased.reset_range(freed);
        blob->next_run = std::min(blob->next_run, blob->layout.run_of(freed.first).value());
      }
      rack_scope(*blob, node->rack).leased.reset_range(freed);
    }
  }
  if (it->second.parts.empty()) close_lease(*node, *blob, it);
  if (kind == LeaseKind::kOrigin) unpin(*blob);
}

// When those who read the origin gave up, whoever comes next may find another version there: one
// that its operator has put back, perhaps.
void LeaseTable::unpin(Blob& blob) {
  if (blob.fleet.leased.none()) blob.etag.clear();
}

bool LeaseTable::report_etag(BlobId id, std::string_view etag) {
  Blob* blob = find(id);
  if (!blob) return true;
  if (blob->etag.empty()) blob->etag = etag;
  return blob->etag == etag;
}

std::vector<LeaseTable::Ended> LeaseTable::tick(Time now) {
  std::vector<Ended> out;
  for (NodeId id : std::vector<NodeId>(holders_.begin(), holders_.end())) {
    Node& node = nodes_.at(id);
    for (auto it = node.leases.begin(); it != node.leases.end();) {
      auto [blob_id, kind] = it->first;
      bool idle = now - it->second.progress >= options_.idle_limit;
      std::uint32_t pieces = 0;
      for (const Part& part : it->second.parts) pieces += part.range.count;
      ++it;
      if (!idle) continue;
      out.push_back({id, kind, blob_id, pieces});
      Blob& blob = *find(blob_id);
      end_lease(node, blob_id, blob, kind);
      if (kind == LeaseKind::kOrigin) unpin(blob);
    }
  }
  std::sort(out.begin(), out.end(), [](const Ended& a, const Ended& b) {
    return std::tie(a.node, a.blob, a.kind) < std::tie(b.node, b.blob, b.kind);
  });
  return out;
}

Time LeaseTable::next_wake() const {
  Time wake = kNever;
  for (NodeId id : holders_) {
    for (const auto& [key, lease] : nodes_.at(id).leases) {
      wake = std::min(wake, lease.progress + options_.idle_limit);
    }
  }
  return wake;
}

}  // namespace shoal::swarm
