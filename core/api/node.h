// Messages between an agent and the tracker: registration, heartbeats, events.
// docs/formats/tracker-api.md, "Nodes".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/api/common.h"
#include "core/api/lease.h"
#include "core/api/trust.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::api {

// POST /v1/nodes/{id}/register
struct RegisterRequest {
  std::string epoch = {};  // required; hex, new in each life of the agent's process
  // Required; "host:port" of the lane, or ":port": the connection's source address.
  std::string advertise = {};
  std::string admin = {};  // "host:port" of the admin listener, same rule; empty: none
  Topology topology = {};
  Labels labels = {};
  std::string version = {};
  std::uint64_t store_capacity = 0;  // bytes

  friend bool operator==(const RegisterRequest&, const RegisterRequest&) = default;
};

struct RegisterResponse {
  std::string tracker_epoch = {};             // new in each life of the tracker's process
  std::chrono::milliseconds heartbeat{2000};  // "heartbeat_ms": send one at least this often
  std::string address = {};  // lane address that was connected back to; peers get it

  friend bool operator==(const RegisterResponse&, const RegisterResponse&) = default;
};

// GET /v1/identity on an agent's lane: who answers there.
struct Identity {
  std::string node = {};
  std::string epoch = {};

  friend bool operator==(const Identity&, const Identity&) = default;
};

enum class BlobState {
  kLive,      // "live": readable piece by piece, not whole
  kComplete,  // "complete"
  kFailed,    // "failed": the agent gave up on it; it serves what it has
  kRevoked,   // "revoked": nothing of it may be read
};

struct BlobReport {
  content::Digest digest = {};
  std::uint64_t size = 0;         // bytes
  std::uint32_t pieces_have = 0;  // verified pieces, all of them
  // Verified since the last heartbeat that was answered with 200, or all with `full`; runs that are
  // not whole may be left out. Nothing for a complete blob.
  std::vector<content::PieceRange> have = {};
  BlobState state = BlobState::kLive;
  bool wanted = false;  // the agent is fetching it and asks for neighbours that can help

  friend bool operator==(const BlobReport&, const BlobReport&) = default;
};

enum class PullState {
  kQueued,     // "queued": accepted, not begun
  kRunning,    // "running"
  kComplete,   // "complete": every byte is here and verified
  kFailed,     // "failed": error says why
  kCancelled,  // "cancelled"
};

// One source of a running pull.
struct PullSource {
  std::string kind = {};    // "peer" or "origin"
  std::string name = {};    // node id, or the origin's kind and host
  std::uint64_t bytes = 0;  // verified bytes from it in this pull
  std::uint64_t rate = 0;   // bytes per second, over the last seconds
  friend bool operator==(const PullSource&, const PullSource&) = default;
};

// What holds a pull up at this moment.
struct PullWait {
  std::string kind = {};  // "piece", "peer", "lease", "disk", "limit", "table", "tracker"
  std::string text =
      {};  // a sentence: "waiting for a source of piece 7 of model-00002.safetensors"
  friend bool operator==(const PullWait&, const PullWait&) = default;
};

struct PullReport {
  std::string id = {};  // the prefetch id for an ordered pull, else the agent's own pull id
  content::Digest manifest = {};
  PullState state = PullState::kQueued;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;  // verified, including those that were already here
  BytesBySource by_source = {};
  std::uint64_t rate = 0;           // bytes per second, over the last seconds
  std::string waiting_for = {};     // the sentence to show first; empty while bytes flow
  std::optional<Error> error = {};  // of a failed pull

  // The long answer (`shoal status --explain`); at most the limits' number, most important first.
  std::vector<PullSource> sources = {};
  std::vector<PullWait> waits = {};
  std::vector<std::string> last_errors = {};

  friend bool operator==(const PullReport&, const PullReport&) = default;
};

// A peer that this agent could not use.
enum class PeerFault {
  kUnreachable,  // "unreachable": no connection, or no answer by the deadline
  kBadBytes,     // "bad_bytes": pieces that fail verification
};

struct PeerReport {
  std::string node = {};
  std::string epoch = {};
  PeerFault fault = PeerFault::kUnreachable;
  std::string text = {};

  friend bool operator==(const PeerReport&, const PeerReport&) = default;
};

// POST /v1/nodes/{id}/heartbeat. With `full`, `blobs` and `pulls` are everything the agent has and
// replace what the tracker knew; otherwise they are what changed since the last one that was
// answered with 200. An agent may send one earlier than it is due, and does when its wanted blobs
// change.
struct HeartbeatRequest {
  std::string epoch = {};  // required
  std::uint64_t seq =
      0;  // required; one more than the last one answered with 200; the first is full
  bool full = false;
  std::vector<BlobReport> blobs = {};
  std::vector<content::Digest> removed = {};  // blobs that are no longer here
  std::vector<PullReport> pulls =
      {};  // changed ones; a finished one until it was answered with 200
  StoreUsage store = {};
  // With `full`: every lease held, so that a new tracker learns them.
  std::vector<HeldLease> leases = {};
  std::vector<PeerReport> peers = {};

  friend bool operator==(const HeartbeatRequest&, const HeartbeatRequest&) = default;
};

struct HeartbeatResponse {
  std::string tracker_epoch = {};
  std::chrono::milliseconds heartbeat{2000};  // "heartbeat_ms"
  bool resync = false;  // send a full one now: this one was not what the tracker could apply
  std::vector<HeldLease> lost = {};  // of the leases said again, what another node holds by now

  friend bool operator==(const HeartbeatResponse&, const HeartbeatResponse&) = default;
};

// Where an agent shall have a manifest's blobs.
struct Order {
  std::string id = {};                     // also the pull_id of everything done for it
  std::string reference = {};              // as the operator gave it
  content::Digest manifest = {};           // what it was resolved to when the order was given
  std::string traffic_class = "prefetch";  // "class"
  bool pin = false;
  std::chrono::milliseconds remaining{0};  // "remaining_ms" until its time-out; 0: none

  friend bool operator==(const Order&, const Order&) = default;
};

struct Neighbour {
  std::string node = {};
  std::string epoch = {};
  std::string address = {};  // lane, "host:port"
  Topology topology = {};
  std::vector<content::Digest> holds = {};  // of the blobs the asker wants: those it has whole …
  std::vector<content::Digest> wants = {};  // … and those it has in part or is fetching

  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

// The part of an EventsResponse that tells a node what to do.
struct EventOrders {
  std::vector<Order> orders = {};           // all unfinished ones of this node
  std::vector<std::string> cancelled = {};  // ids cancelled or timed out lately
  // Manifests no reference names any more: pins that orders made end.
  std::vector<content::Digest> removed = {};
  friend bool operator==(const EventOrders&, const EventOrders&) = default;
};

// GET /v1/nodes/{id}/events?epoch=E&since=V&wait=MS. A part that did not change after V is absent;
// a part that is present is complete, not a difference.
struct EventsResponse {
  std::string tracker_epoch = {};
  std::uint64_t version = 0;  // pass it as `since`; starts again at 1 with a new tracker_epoch

  using Orders = EventOrders;
  std::optional<Orders> orders = {};
  std::optional<std::vector<Neighbour>> neighbours = {};
  std::optional<EventTrust> trust = {};

  friend bool operator==(const EventsResponse&, const EventsResponse&) = default;
};

}  // namespace shoal::api
