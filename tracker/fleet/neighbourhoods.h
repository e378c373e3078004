// Who is given whom as a neighbour. One graph (core/swarm/peer_selection.h) for each manifest, of
// the nodes that want some of it or hold an eighth of it or more; blobs of no manifest have graphs
// of their own. A node's neighbours are those of the graphs in which it wants something; where none
// of them has a wanted blob, a few holders are added. Internal to tracker/fleet.
//
// Thread: one at a time. Lifetime: borrows both tables.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/content/digest.h"
#include "core/swarm/peer_selection.h"
#include "tracker/fleet/blob_index.h"
#include "tracker/fleet/node_table.h"

namespace shoal::tracker {

class Neighbourhoods {
 public:
  struct Options {
    swarm::PeerSelection::Options graph = {};
    std::size_t max_neighbours = 30;
    std::size_t holders_added = 4;  // of a wanted blob that no neighbour has
  };
  Neighbourhoods(Options options, std::uint64_t seed, const NodeTable& nodes,
                 const BlobIndex& blobs);

  // The node's part of the blob changed in a way that can matter: it serves or wants it now, or
  // does not any more. Cheap; refresh() does the work.
  void part_changed(swarm::NodeId node, swarm::BlobId blob);
  // The node may belong to the graph of that manifest, or not any more.
  void group_changed(swarm::NodeId node, const content::Digest& manifest);
  // The blob belongs to other manifests than before.
  void blob_moved(swarm::BlobId blob);
  // The node left the fleet (dead, distrusted, another epoch), for now or for good.
  void node_left(swarm::NodeId node);

  bool dirty() const { return !dirty_.empty() || !retell_.empty(); }
  // Brings graphs up to date; the nodes that must be told new neighbours, each once.
  std::vector<swarm::NodeId> refresh();

  // As of the last refresh(), nearest first. Empty for a node that wants nothing.
  const std::vector<swarm::NodeId>& of(swarm::NodeId node) const;

 private:
  struct Told {
    std::vector<swarm::NodeId> neighbours;
    std::vector<std::string> epochs;  // of the neighbours
    std::set<swarm::BlobId> wanted;   // when they were told
  };

  void mark(swarm::NodeId node, swarm::BlobId blob);
  bool belongs(const Node& node, const content::Digest& group) const;
  void update_membership(swarm::NodeId node, const content::Digest& group);
  void join(const Node& node, const content::Digest& group);
  void leave(swarm::NodeId node, const content::Digest& group);
  std::vector<content::Digest> groups_of(swarm::BlobId blob) const;
  bool tell(swarm::NodeId handle);
  std::vector<swarm::NodeId> choose(const Node& node) const;
  void add_holders(const Node& node, std::vector<swarm::NodeId>& chosen) const;

  const Options options_;
  const std::uint64_t seed_;
  const NodeTable& nodes_;
  const BlobIndex& blobs_;
  std::map<content::Digest, swarm::PeerSelection> groups_;  // by manifest, or by blob
  std::unordered_map<swarm::NodeId, std::set<content::Digest>> member_of_;
  std::set<std::pair<swarm::NodeId, content::Digest>> dirty_;
  std::set<swarm::NodeId> retell_;
  std::unordered_map<swarm::NodeId, Told> told_;
};

swarm::Topology swarm_topology(const api::Topology& topology);

}  // namespace shoal::tracker
