// The words that all parts of the swarm share: handles, classes of demand, distance between nodes.
//
// Nothing in this folder reads a clock or does I/O. Every function that depends on time takes
// `now`; calls with a `now` earlier than a previous one are treated as that previous time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/strong_type.h"

namespace shoal::swarm {

using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;

inline constexpr Time kNever = Time::max();

// Handles that the caller chooses: small numbers, reused as it likes once the thing is removed.
using PeerId = Index<struct SwarmPeerTag>;  // agent side: another agent
using NodeId = Index<struct SwarmNodeTag>;  // tracker side: an agent of the fleet
using BlobId = Index<struct SwarmBlobTag>;

// Why bytes are wanted, most urgent first. Fault and window are urgent: they travel on connections
// of their own.
enum class Class : std::uint8_t {
  kFault,       // somebody is blocked on these bytes
  kWindow,      // a reader consumes them within two seconds
  kPlan,        // a reader will want them in a known order
  kPrefetch,    // ordered for this node, in any order
  kBackground,  // spare bandwidth only
};
inline constexpr std::size_t kClassCount = 5;
inline constexpr bool is_urgent(Class cls) { return cls <= Class::kWindow; }
// "fault", "window", "plan", "prefetch", "background".
std::string_view class_name(Class cls);

// Where a node stands. Empty parts are equal to one another: without any topology set, all nodes
// are in one rack.
struct Topology {
  std::string region;
  std::string zone;
  std::string rack;
  std::string host;  // empty: not known to share a host with anybody

  friend bool operator==(const Topology&, const Topology&) = default;
};

// Nearest first.
enum class Locality : std::uint8_t { kHost, kRack, kZone, kRegion, kFar };
Locality locality_between(const Topology& a, const Topology& b);
inline constexpr bool same_rack(Locality locality) { return locality <= Locality::kRack; }

// A number that all agents derive alike from a node id, for ranking nodes without a tracker.
std::uint64_t node_key(std::string_view node_id);
// The place of node `key` for run `run` of the blob with this digest prefix: smaller comes first.
std::uint64_t rank_hash(std::uint64_t key, std::uint64_t blob_key, std::uint32_t run);

enum class LeaseKind : std::uint8_t {
  kOrigin,  // may read these pieces from the origin
  kRack,    // may bring these pieces into its rack from peers elsewhere
};
// "origin", "rack".
std::string_view lease_kind_name(LeaseKind kind);

// Why a lease was not granted.
enum class LeaseRefusal : std::uint8_t {
  kStarting,  // the tracker's first heartbeat
  kBusy,      // enough others read this origin
  kTaken,     // all of it is leased to others or there already: it will come from peers
  kNoOrigin,  // no origin, or the blob or the node is unknown
};
// "starting", "busy", "taken", "no_origin".
std::string_view lease_refusal_name(LeaseRefusal refusal);

}  // namespace shoal::swarm
