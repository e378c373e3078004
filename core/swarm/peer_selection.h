// The tracker's choice of who talks to whom in one swarm (or in the group of swarms of one model).
//
// An undirected graph that changes little when nodes come and go: each node has at least `near`
// links within its own rack, widened to zone, region and everywhere when the rack is too small, and
// at least `far` links beyond it (fewer only when there are not enough nodes). Links are spread by
// taking the least connected node first, so no node has many more than twice its share. A ring
// through all nodes, ordered by a hash of their keys, keeps the graph in one piece.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/base/random.h"
#include "core/swarm/types.h"

namespace shoal::swarm {

struct Neighbour {
  NodeId node;
  Locality locality = Locality::kFar;

  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

// Thread: one at a time.
class PeerSelection {
 public:
  struct Options {
    std::size_t near = 8;
    std::size_t far = 4;
  };
  PeerSelection(Options options, std::uint64_t seed);

  // A node that is there already is moved to `where` and linked anew if that differs. `key` is
  // node_key() of its id.
  void join(NodeId node, const Topology& where, std::uint64_t key);
  // Those who lose a link get another. Unknown nodes are ignored.
  void leave(NodeId node);

  bool contains(NodeId node) const { return nodes_.contains(node); }
  std::size_t size() const { return nodes_.size(); }
  // Nearest first; empty for a node that did not join. Links are mutual.
  std::vector<Neighbour> neighbours(NodeId node) const;
  // The nodes whose neighbours changed since the last call, each once: those to be told.
  std::vector<NodeId> take_changed();

 private:
  // kWide stands in for kNear while the rack is too small.
  enum class Kind : std::uint8_t { kNear, kWide, kFar, kRing };
  struct Link {
    NodeId node;
    Kind kind;
  };
  struct Node {
    Topology where;
    std::uint64_t ring_key = 0;
    std::vector<Link> links;
    std::size_t near = 0;
    std::size_t wide = 0;
    std::size_t far = 0;

    std::size_t& count(Kind kind) {
      return kind == Kind::kNear ? near : kind == Kind::kWide ? wide : far;
    }
  };
  using Members = std::vector<NodeId>;

  void fill(NodeId node);
  void drop_spare_wide(NodeId node);
  bool add_link(NodeId a, NodeId b, Kind kind);
  void drop_link(NodeId a, NodeId b);
  void join_ring(NodeId node);
  void leave_ring(NodeId node);
  NodeId ring_next(
      std::map<std::pair<std::uint64_t, std::uint32_t>, NodeId>::const_iterator it) const;
  template <typename Accept>
  bool pick(const Members& from, NodeId node, Kind kind, Accept accept, NodeId& out);

  Options options_;
  SeededRandom random_;
  std::uint64_t seed_;
  std::unordered_map<NodeId, Node> nodes_;
  std::map<std::pair<std::uint64_t, std::uint32_t>, NodeId> ring_;
  std::map<std::string, Members> racks_;  // by "region/zone/rack"
  std::map<std::string, Members> zones_;
  std::map<std::string, Members> regions_;
  Members all_;
  std::unordered_set<NodeId> changed_;
};

}  // namespace shoal::swarm
