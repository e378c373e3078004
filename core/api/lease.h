// Leases: the right to read pieces of a blob from its origin, or to bring them into a rack, so that
// each is read about once. The tracker decides (core/swarm/lease_table.h, where the rules stand);
// these messages carry the questions and the answers. docs/formats/tracker-api.md, "Leases".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/common.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::api {

enum class LeaseKind {
  kOrigin,  // "origin": read them from the blob's origin
  kRack,    // "rack": bring them into the rack from a peer outside
};

struct LeaseAsk {
  LeaseKind kind = LeaseKind::kOrigin;
  content::Digest blob = {};
  std::uint64_t bytes = 0;  // required: about how much; less may be granted
  // What the asker could use, in its order of preference. Empty, for origin leases only: anything.
  std::vector<content::PieceRange> candidates = {};
  bool urgent = false;   // somebody is blocked on these pieces
  bool starved = false;  // looked for in vain among the peers that say to have them

  friend bool operator==(const LeaseAsk&, const LeaseAsk&) = default;
};

// What a lessee saw at a blob's origin. The first report pins the blob's leases to it.
struct OriginSeen {
  content::Digest blob = {};
  std::string etag = {};

  friend bool operator==(const OriginSeen&, const OriginSeen&) = default;
};

// Bytes arrived under the leases held of a blob; one that nothing arrives under for 5 s ends.
struct LeaseProgress {
  content::Digest blob = {};
  std::vector<content::PieceRange> pieces =
      {};  // verified since the last report; their lease is done

  friend bool operator==(const LeaseProgress&, const LeaseProgress&) = default;
};

// Pieces the holder will not bring: others may.
struct LeaseRelease {
  LeaseKind kind = LeaseKind::kOrigin;
  content::Digest blob = {};
  std::vector<content::PieceRange> pieces = {};

  friend bool operator==(const LeaseRelease&, const LeaseRelease&) = default;
};

// A lease held, said again with a full heartbeat.
struct HeldLease {
  LeaseKind kind = LeaseKind::kOrigin;
  content::Digest blob = {};
  std::string etag = {};  // the origin's, if seen
  std::vector<content::PieceRange> pieces = {};

  friend bool operator==(const HeldLease&, const HeldLease&) = default;
};

// POST /v1/nodes/{id}/leases. Applied in the order of the fields.
struct LeaseRequest {
  std::string epoch = {};  // required
  std::vector<OriginSeen> seen = {};
  std::vector<LeaseProgress> progress = {};
  std::vector<LeaseRelease> releases = {};
  std::vector<LeaseAsk> asks = {};

  friend bool operator==(const LeaseRequest&, const LeaseRequest&) = default;
};

enum class LeaseReason {
  kGranted,   // "granted"
  kStarting,  // "starting": the tracker's first heartbeat; it learns what is held
  kBusy,      // "busy": enough others read this origin
  kTaken,     // "taken": all of it is leased to others or there already: it will come from peers
  kNoOrigin,  // "no_origin": none that this node can read, or a blob it did not report
};

// As in JSON: "no_origin".
std::string_view lease_reason_name(LeaseReason reason);

struct LeaseAnswer {
  LeaseReason reason = LeaseReason::kTaken;
  std::vector<content::PieceRange> pieces = {};  // granted
  std::chrono::milliseconds retry{0};            // "retry_ms": when nothing was granted
  std::string etag = {};  // what this blob's leases are pinned to; empty: nothing

  friend bool operator==(const LeaseAnswer&, const LeaseAnswer&) = default;
};

struct LeaseResponse {
  std::string tracker_epoch = {};
  std::vector<LeaseAnswer> answers = {};  // one for each ask, in order
  // Of `seen`: blobs whose leases are pinned to another ETag. The origin changed; do not read on.
  std::vector<content::Digest> origin_changed = {};

  friend bool operator==(const LeaseResponse&, const LeaseResponse&) = default;
};

}  // namespace shoal::api
