// The tracker's soft state: which nodes live, what each has and wants, who is whose neighbour, who
// may read what from an origin. Everything here is rebuilt by the nodes' heartbeats after a
// restart.
//
// Pure: no I/O, no clock. Digests, ids and addresses come in as messages of core/api; the decisions
// are those of core/swarm.
//
// Thread: one at a time (the control thread).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/api/eviction.h"
#include "core/api/lease.h"
#include "core/api/node.h"
#include "core/api/operate.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/swarm/lease_table.h"
#include "core/swarm/types.h"
#include "tracker/catalogue/catalogue.h"
#include "tracker/fleet/blob_index.h"
#include "tracker/fleet/eviction_permits.h"
#include "tracker/fleet/neighbourhoods.h"
#include "tracker/fleet/node_table.h"

namespace shoal::tracker {

class Fleet {
 public:
  struct Options {
    std::chrono::milliseconds heartbeat{2000};
    int missed_heartbeats = 3;  // then a node is dead
    std::chrono::milliseconds keep_dead = std::chrono::hours(1);
    // So many peers that complain of one node within `complaint_window` are believed; all others of
    // the fleet, if there are fewer.
    std::size_t complaints = 3;
    std::chrono::milliseconds complaint_window = std::chrono::seconds(10);
    std::size_t keep_finished_pulls = 16;  // of a node
    swarm::LeaseTable::Options leases = {};
    Neighbourhoods::Options neighbours = {};
    EvictionPermits::Options evictions = {};
  };

  // Leases are granted from one heartbeat after `start` on.
  Fleet(Options options, std::string tracker_epoch, swarm::Time start, std::uint64_t seed);
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;

  // What the catalogue says. A manifest's blobs have one group of neighbours; an origin makes its
  // blob leasable.
  void set_manifest(const ManifestBlobs& manifest);
  void forget_manifest(const content::Digest& manifest);
  void set_origins(const content::Digest& blob, const api::Origins& origins);
  // Whether some reference names the manifest. One that is new counts as named: publishing gives
  // the reference last.
  void set_named(const content::Digest& manifest, bool named);

  // Null if the node is unknown or forgotten. Valid until the next call that is not const.
  const Node* node(std::string_view id) const { return nodes_.find(id); }
  // The node if it is registered with that epoch. Errors: not_found, conflict (another epoch).
  Result<const Node*> registered(std::string_view id, std::string_view epoch) const;
  std::size_t live_nodes() const { return live_; }
  // The key of Node::blobs; none for a blob nobody speaks of.
  std::optional<swarm::BlobId> blob_id(const content::Digest& blob) const {
    return blobs_.id(blob);
  }
  // visit(const Node&), ascending by id.
  template <typename Visitor>
  void for_each_live(Visitor visit) const {
    for (const auto& [id, handle] : nodes_.by_id()) {
      if (const Node& node = *nodes_.find(handle); node.live) visit(node);
    }
  }

  // After the addresses were checked. Replaces what was known of another epoch.
  void register_node(std::string_view id, const api::RegisterRequest& request, std::string address,
                     std::string admin, swarm::Time now);

  struct Suspect {
    std::string node;
    std::string epoch;
    std::string address;
    std::string complaint;  // one of them
  };
  struct Applied {
    bool resync = false;
    std::vector<api::HeldLease> lost;
    std::vector<Suspect> suspects;  // to be connected back to; see declare_dead()
  };
  // Errors: as registered().
  Result<Applied> heartbeat(std::string_view id, const api::HeartbeatRequest& request,
                            swarm::Time now);
  // Errors: as registered().
  Result<api::LeaseResponse> leases(std::string_view id, const api::LeaseRequest& request,
                                    swarm::Time now);

  // Which copies the node may give up (the request's order decides), and notes that it may.
  // Errors: as registered().
  Result<api::EvictionResponse> evictions(std::string_view id, const api::EvictionRequest& request,
                                          swarm::Time now);

  // Nothing of the node is believed until it is started again. False if it is not known or that was
  // so.
  bool distrust(std::string_view id);

  // The node does not answer. Nothing happens if it has another epoch by now, or was heard after
  // `asked`.
  bool declare_dead(std::string_view id, std::string_view epoch, swarm::Time asked);

  struct Died {
    std::string node;
    std::string epoch;
  };
  // Ends silent nodes and idle leases, forgets nodes long dead. Returns those that died now.
  std::vector<Died> tick(swarm::Time now);

  // Whether take_news() has work to do.
  bool has_news() const { return neighbourhoods_.dirty(); }
  // The nodes whose neighbours changed since the last call.
  std::vector<std::string> take_news();
  // Those of the last take_news(). Empty for a node that is not in the fleet.
  std::vector<api::Neighbour> neighbours(std::string_view id) const;

  std::vector<api::NodeInfo> list(swarm::Time now) const;
  // Every live node that holds or pulls some of the manifest; empty if it is not known.
  std::vector<api::NodeProgress> progress(const content::Digest& manifest, swarm::Time now) const;

 private:
  using Ranges = std::vector<content::PieceRange>;

  Node* registered_node(std::string_view id, std::string_view epoch, std::optional<Error>& error);
  void enter(Node& node);
  void leave(Node& node);
  void clear(Node& node);
  swarm::RackId rack_of(const api::Topology& topology);
  void apply_full(Node& node, const api::HeartbeatRequest& request);
  void apply_blob(Node& node, const api::BlobReport& report, swarm::Time now);
  void remove_blob(Node& node, swarm::BlobId id);
  void index_part(const Node& node, swarm::BlobId id, const NodeBlob* part);
  void forget_if_unused(swarm::BlobId id);
  void apply_pulls(Node& node, const api::HeartbeatRequest& request);
  std::vector<api::HeldLease> announce(Node& node, const std::vector<api::HeldLease>& leases,
                                       swarm::Time now);
  std::optional<Suspect> complain(const Node& from, const api::PeerReport& report, swarm::Time now);
  bool believed(std::size_t complaints) const;
  void add_to_leases(swarm::BlobId id);
  bool can_read_origin(const Node& node, const FleetBlob& blob) const;
  bool irreplaceable(const FleetBlob& blob) const;
  struct EvictionVerdict {
    api::EvictionAnswer answer;
    std::optional<swarm::BlobId> permit;  // to be noted
  };
  EvictionVerdict may_evict(const Node& node, const content::Digest& digest, std::uint64_t replicas,
                            swarm::Time now) const;
  api::LeaseAnswer answer(const Node& node, const api::LeaseAsk& ask, swarm::Time now);
  swarm::Duration silence_limit() const { return options_.heartbeat * options_.missed_heartbeats; }

  // Constant after construction
  const Options options_;
  const std::string tracker_epoch_;

  NodeTable nodes_;
  BlobIndex blobs_;
  Neighbourhoods neighbourhoods_;
  swarm::LeaseTable leases_;
  EvictionPermits permits_;
  std::unordered_set<content::Digest> unnamed_;  // manifests that lost their last reference
  std::unordered_map<std::string, swarm::RackId> racks_;
  std::size_t live_ = 0;
};

}  // namespace shoal::tracker
