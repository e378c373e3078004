// Nodes: registration, heartbeats, death.
#include "tracker/fleet/fleet.h"

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/base/metrics.h"

namespace shoal::tracker {
namespace {

bool finished(api::PullState state) {
  return state != api::PullState::kQueued && state != api::PullState::kRunning;
}

swarm::LeaseTable::Options lease_options(const Fleet::Options& options) {
  swarm::LeaseTable::Options leases = options.leases;
  leases.quiet_start = options.heartbeat;
  return leases;
}

EvictionPermits::Options permit_options(const Fleet::Options& options) {
  EvictionPermits::Options permits = options.evictions;
  // A node says that it dropped something with one of its next heartbeats.
  permits.hold = std::max(permits.hold, permits.valid + 4 * options.heartbeat);
  return permits;
}

}  // namespace

Fleet::Fleet(Options options, std::string tracker_epoch, swarm::Time start, std::uint64_t seed)
    : options_(options),
      tracker_epoch_(std::move(tracker_epoch)),
      neighbourhoods_(options.neighbours, seed, nodes_, blobs_),
      leases_(lease_options(options), start),
      permits_(permit_options(options), start) {}

void Fleet::set_manifest(const ManifestBlobs& manifest) {
  if (blobs_.manifest(manifest.manifest)) return;
  for (swarm::BlobId id : blobs_.set_manifest(manifest)) {
    add_to_leases(id);
    neighbourhoods_.blob_moved(id);
  }
}

void Fleet::forget_manifest(const content::Digest& manifest) {
  unnamed_.erase(manifest);
  for (swarm::BlobId id : blobs_.forget_manifest(manifest)) {
    neighbourhoods_.blob_moved(id);
    const FleetBlob& blob = blobs_.at(id);
    // Members hold it still: out of the graph of a manifest that is no more.
    for (swarm::NodeId node : blob.holders) neighbourhoods_.group_changed(node, manifest);
    for (swarm::NodeId node : blob.wanters) neighbourhoods_.group_changed(node, manifest);
    forget_if_unused(id);
  }
}

Result<const Node*> Fleet::registered(std::string_view id, std::string_view epoch) const {
  const Node* node = nodes_.find(id);
  if (!node) {
    return fail(Errc::kNotFound, "node " + std::string(id) + " is not registered: register again");
  }
  if (node->epoch != epoch) {
    return fail(Errc::kConflict, "node " + std::string(id) + " is registered with epoch " +
                                     node->epoch + ", not " + std::string(epoch) +
                                     ": register again");
  }
  return node;
}

Node* Fleet::registered_node(std::string_view id, std::string_view epoch,
                             std::optional<Error>& error) {
  Result<const Node*> node = registered(id, epoch);
  if (node) return const_cast<Node*>(*node);
  error = node.error();
  return nullptr;
}

void Fleet::register_node(std::string_view id, const api::RegisterRequest& request,
                          std::string address, std::string admin, swarm::Time now) {
  Node& node = nodes_.find_or_add(id);
  bool same =
      node.epoch == request.epoch && node.address == address && node.topology == request.topology;
  if (!same) {
    leave(node);
    clear(node);
  }
  node.epoch = request.epoch;
  node.address = std::move(address);
  node.admin = std::move(admin);
  node.topology = request.topology;
  node.labels = request.labels;
  node.version = request.version;
  node.store.capacity = request.store_capacity;
  node.heard = now;
  if (!node.live) {
    node.live = true;
    ++live_;
  }
}

// In the fleet's shared books: from the first full heartbeat on.
void Fleet::enter(Node& node) {
  node.reported = true;
  if (node.in_fleet()) leases_.node_up(node.handle, rack_of(node.topology));
}

// Out of the books; what it has stays known to itself until clear().
void Fleet::leave(Node& node) {
  if (node.live) --live_;
  node.live = false;
  leases_.node_down(node.handle);
  neighbourhoods_.node_left(node.handle);
  for (const auto& [id, part] : node.blobs) index_part(node, id, nullptr);
}

void Fleet::clear(Node& node) {
  std::vector<swarm::BlobId> had;
  for (const auto& [id, part] : node.blobs) had.push_back(id);
  node.blobs.clear();
  node.pulls.clear();
  node.unreachable_for.clear();
  node.bad_bytes_for.clear();
  node.reported = false;
  node.distrusted = false;
  node.seq = 0;
  for (swarm::BlobId id : had) forget_if_unused(id);
}

swarm::RackId Fleet::rack_of(const api::Topology& topology) {
  std::string key = topology.region + '\n' + topology.zone + '\n' + topology.rack;
  auto next = swarm::RackId(static_cast<std::uint32_t>(racks_.size()));
  return racks_.try_emplace(std::move(key), next).first->second;
}

Result<Fleet::Applied> Fleet::heartbeat(std::string_view id, const api::HeartbeatRequest& request,
                                        swarm::Time now) {
  std::optional<Error> error;
  Node* node = registered_node(id, request.epoch, error);
  if (!node) return fail(*std::move(error));
  Applied applied;
  node->heard = now;
  node->unreachable_for.clear();  // it is there
  if (!node->live) {
    // It was taken for dead: its part of the books is gone.
    node->live = true;
    ++live_;
    node->reported = false;
  }
  node->store = request.store;
  bool in_order = request.seq == node->seq || request.seq == node->seq + 1;
  if (!request.full && (!node->reported || !in_order)) {
    applied.resync = true;
    return applied;
  }
  if (request.full) apply_full(*node, request);
  node->seq = request.seq;
  for (const api::BlobReport& blob : request.blobs) apply_blob(*node, blob, now);
  for (const content::Digest& digest : request.removed) {
    if (std::optional<swarm::BlobId> blob = blobs_.id(digest)) remove_blob(*node, *blob);
  }
  apply_pulls(*node, request);
  applied.lost = announce(*node, request.leases, now);
  for (const api::PeerReport& report : request.peers) {
    if (std::optional<Suspect> suspect = complain(*node, report, now)) {
      applied.suspects.push_back(*std::move(suspect));
    }
  }
  return applied;
}

// What is not said again is gone. Blobs that stay keep their place in the neighbourhoods, so that a
// resync of the whole fleet does not rebuild them.
void Fleet::apply_full(Node& node, const api::HeartbeatRequest& request) {
  std::set<swarm::BlobId> said;
  for (const api::BlobReport& blob : request.blobs) {
    if (std::optional<swarm::BlobId> id = blobs_.id(blob.digest)) said.insert(*id);
  }
  std::vector<swarm::BlobId> gone;
  for (const auto& [id, part] : node.blobs) {
    if (!said.contains(id)) gone.push_back(id);
  }
  for (swarm::BlobId id : gone) remove_blob(node, id);
  leases_.node_down(node.handle);  // its pieces and leases are said again
  node.pulls.clear();
  enter(node);
  for (const auto& [id, part] : node.blobs) {
    index_part(node, id, &part);
    neighbourhoods_.part_changed(node.handle, id);
  }
}

void Fleet::apply_blob(Node& node, const api::BlobReport& report, swarm::Time now) {
  static metrics::Counter& refused = metrics::counter(
      "shoal_tracker_refused_blob_reports_total",
      "Blob reports of heartbeats whose size contradicts what is known of the blob.");
  Result<content::BlobLayout> layout = content::BlobLayout::of_size(report.size);
  swarm::BlobId id = blobs_.find_or_add(report.digest);
  FleetBlob& blob = blobs_.at(id);
  if (!layout || (blob.layout && *layout != *blob.layout)) {
    refused.add();
    log::warn("refused a report of a blob: its size differs from what is known",
              {{"node", node.id}, {"digest", report.digest.str()}, {"size", report.size}});
    forget_if_unused(id);
    return;
  }
  if (!blob.layout) {
    blob.layout = *layout;
    add_to_leases(id);
  }
  NodeBlob& part = node.blobs[id];
  const NodeBlob before = part;
  bool was_indexed =
      node.in_fleet() && (blob.holders.contains(node.handle) || blob.wanters.contains(node.handle));
  part.state = report.state;
  part.pieces_have = report.state == api::BlobState::kComplete
                         ? layout->piece_count()
                         : std::min(report.pieces_have, layout->piece_count());
  part.wanted = report.wanted && report.state == api::BlobState::kLive;
  if (!node.in_fleet()) return;
  if (report.state == api::BlobState::kRevoked) {
    leases_.node_lost(node.handle, id);
  } else if (report.state == api::BlobState::kComplete) {
    leases_.node_has_all(node.handle, id, now);
  } else {
    for (const content::PieceRange& range : report.have) {
      if (range.end().value() <= layout->piece_count()) {
        leases_.node_has(node.handle, id, range, now);
      }
    }
  }
  // An eighth more or less of a manifest matters for its graph, so a growing part is looked at
  // anew.
  bool matters = !was_indexed || before.serves() != part.serves() || before.wanted != part.wanted ||
                 before.state != part.state;
  index_part(node, id, &part);
  if (matters) neighbourhoods_.part_changed(node.handle, id);
}

void Fleet::remove_blob(Node& node, swarm::BlobId id) {
  if (node.blobs.erase(id) == 0) return;
  permits_.dropped(node.handle, id);
  leases_.node_lost(node.handle, id);
  index_part(node, id, nullptr);
  neighbourhoods_.part_changed(node.handle, id);
  forget_if_unused(id);
}

// Who can be asked for the blob, and who asks; `part` is null when the node has none of it.
void Fleet::index_part(const Node& node, swarm::BlobId id, const NodeBlob* part) {
  FleetBlob& blob = blobs_.at(id);
  auto set = [&](std::set<swarm::NodeId>& nodes, bool belongs) {
    if (belongs) {
      nodes.insert(node.handle);
    } else {
      nodes.erase(node.handle);
    }
  };
  set(blob.holders, part && node.in_fleet() && part->serves());
  set(blob.wanters, part && node.in_fleet() && part->wanted);
}

void Fleet::forget_if_unused(swarm::BlobId id) {
  // A node outside the fleet may still speak of it.
  for (const auto& [name, handle] : nodes_.by_id()) {
    if (nodes_.find(handle)->blobs.contains(id)) return;
  }
  if (blobs_.forget_if_unused(id)) leases_.remove_blob(id);
}

void Fleet::apply_pulls(Node& node, const api::HeartbeatRequest& request) {
  for (const api::PullReport& pull : request.pulls) node.pulls[pull.id] = pull;
  std::size_t ended = 0;
  for (const auto& [id, pull] : node.pulls) ended += finished(pull.state);
  for (auto it = node.pulls.begin();
       it != node.pulls.end() && ended > options_.keep_finished_pulls;) {
    bool just_said = std::any_of(request.pulls.begin(), request.pulls.end(),
                                 [&](const api::PullReport& p) { return p.id == it->first; });
    if (finished(it->second.state) && !just_said) {
      it = node.pulls.erase(it);
      --ended;
    } else {
      ++it;
    }
  }
}

bool Fleet::believed(std::size_t complaints) const {
  std::size_t others = live_ > 0 ? live_ - 1 : 0;
  return complaints > 0 && complaints >= std::min(options_.complaints, others);
}

bool Fleet::distrust(std::string_view id) {
  Node* node = nodes_.find(id);
  if (!node || node->distrusted) return false;
  leases_.node_down(node->handle);
  neighbourhoods_.node_left(node->handle);
  for (const auto& [blob, part] : node->blobs) index_part(*node, blob, nullptr);
  node->distrusted = true;
  return true;
}

std::optional<Fleet::Suspect> Fleet::complain(const Node& from, const api::PeerReport& report,
                                              swarm::Time now) {
  Node* node = nodes_.find(report.node);
  if (!node || !node->live || node->epoch != report.epoch || node->id == from.id) return {};
  if (report.fault == api::PeerFault::kBadBytes) {
    static metrics::Counter& bad =
        metrics::counter("shoal_tracker_bad_bytes_reports_total",
                         "Reports of nodes that got bad bytes from a peer.");
    bad.add();
    node->bad_bytes_for.insert(from.id);
    if (!node->distrusted && believed(node->bad_bytes_for.size())) {
      log::error(
          "a node gives bad bytes: it is nobody's neighbour until it is started again",
          {{"node", node->id}, {"reporters", node->bad_bytes_for.size()}, {"err", report.text}});
      distrust(node->id);
    }
    return {};
  }
  node->unreachable_for[from.id] = now;
  std::erase_if(node->unreachable_for, [&](const auto& complaint) {
    return complaint.second + options_.complaint_window < now;
  });
  if (!believed(node->unreachable_for.size())) return {};
  node->unreachable_for.clear();
  return Suspect{node->id, node->epoch, node->address, report.text};
}

bool Fleet::declare_dead(std::string_view id, std::string_view epoch, swarm::Time asked) {
  Node* node = nodes_.find(id);
  if (!node || node->epoch != epoch || !node->live || node->heard > asked) return false;
  leave(*node);
  return true;
}

std::vector<Fleet::Died> Fleet::tick(swarm::Time now) {
  std::vector<Died> died;
  std::vector<swarm::NodeId> forgotten;
  for (const auto& [id, handle] : nodes_.by_id()) {
    Node& node = *nodes_.find(handle);
    if (node.live && node.heard + silence_limit() < now) {
      died.push_back({node.id, node.epoch});
      leave(node);
    } else if (!node.live && node.heard + options_.keep_dead < now) {
      forgotten.push_back(handle);
    }
  }
  for (swarm::NodeId handle : forgotten) {
    clear(*nodes_.find(handle));
    nodes_.erase(handle);
  }
  permits_.tick(now);
  for (const swarm::LeaseTable::Ended& ended : leases_.tick(now)) {
    const Node* node = nodes_.find(ended.node);
    log::info("a lease ended: nothing arrived under it",
              {{"node", node ? node->id : "gone"}, {"pieces", ended.pieces}});
  }
  return died;
}

std::vector<std::string> Fleet::take_news() {
  std::vector<std::string> out;
  for (swarm::NodeId handle : neighbourhoods_.refresh()) out.push_back(nodes_.find(handle)->id);
  return out;
}

}  // namespace shoal::tracker
