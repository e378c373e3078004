// Messages between an operator's command and the tracker: prefetch orders and what the fleet is
// doing. docs/formats/tracker-api.md, "Operators".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/api/common.h"
#include "core/api/node.h"
#include "core/content/digest.h"

namespace shoal::api {

// Which nodes. In JSON: "all", ["id", …], or {"label": "value", …}, of which all must match. The
// topology counts as labels region, zone, rack and host, unless the node has a label of that name.
struct NodeSelector {
  bool all = false;
  std::vector<std::string> ids = {};
  Labels labels = {};

  friend bool operator==(const NodeSelector&, const NodeSelector&) = default;
};

// POST /v1/prefetch
struct PrefetchRequest {
  std::string reference = {};  // required
  NodeSelector nodes{.all = true, .ids = {}, .labels = {}};
  bool pin = false;
  std::chrono::milliseconds timeout{0};  // "timeout_ms"; 0: none

  friend bool operator==(const PrefetchRequest&, const PrefetchRequest&) = default;
};

struct PrefetchResponse {
  std::string id = {};  // 16 hex digits
  content::Digest manifest = {};
  std::vector<std::string> nodes = {};  // selected so far; by `all` or labels more may join

  friend bool operator==(const PrefetchResponse&, const PrefetchResponse&) = default;
};

enum class PrefetchState {
  kRunning,    // "running"
  kComplete,   // "complete": on every selected node
  kFailed,     // "failed": every selected node has ended, at least one without success
  kTimedOut,   // "timed_out"
  kCancelled,  // "cancelled"
};

// As in JSON: "timed_out".
std::string_view prefetch_state_name(PrefetchState state);

enum class NodePhase {
  kAbsent,     // "absent": named, but not registered or dead
  kOrdered,    // "ordered": given to the node, which has not reported on it
  kQueued,     // "queued"
  kRunning,    // "running"
  kComplete,   // "complete"
  kFailed,     // "failed"
  kCancelled,  // "cancelled"
  kPartial,    // "partial": holds some of it, nothing is under way (status only)
};

// One node's part of a prefetch, or its part of a manifest in GET /v1/status.
struct NodeProgress {
  std::string node = {};
  NodePhase state = NodePhase::kAbsent;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  BytesBySource by_source = {};
  std::uint64_t rate = 0;        // bytes per second
  std::string waiting_for = {};  // a sentence; empty while bytes flow
  std::optional<Error> error = {};
  std::int64_t last_heard_ms_ago = -1;  // since its last heartbeat; -1: never heard

  // As in PullReport.
  std::vector<PullSource> sources = {};
  std::vector<PullWait> waits = {};
  std::vector<std::string> last_errors = {};

  friend bool operator==(const NodeProgress&, const NodeProgress&) = default;
};

struct ProgressTotals {
  std::uint64_t nodes = 0;
  std::uint64_t complete = 0;
  std::uint64_t failed = 0;  // and cancelled
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  BytesBySource by_source = {};
  std::uint64_t rate = 0;

  friend bool operator==(const ProgressTotals&, const ProgressTotals&) = default;
};

ProgressTotals total_of(const std::vector<NodeProgress>& nodes);

// GET /v1/prefetch/{id}?since=V&wait=MS
struct PrefetchStatus {
  std::string id = {};
  std::uint64_t version = 0;  // pass it as `since`; of this tracker's life
  std::string reference = {};
  content::Digest manifest = {};
  PrefetchState state = PrefetchState::kRunning;
  bool pin = false;
  std::int64_t created_unix_ms = 0;
  std::chrono::milliseconds timeout{0};    // "timeout_ms"; 0: none
  std::chrono::milliseconds remaining{0};  // "remaining_ms" until then; 0 with no time-out
  ProgressTotals totals = {};
  std::vector<NodeProgress> nodes = {};  // ascending by node id

  friend bool operator==(const PrefetchStatus&, const PrefetchStatus&) = default;
};

struct NodeInfo {
  std::string node = {};
  std::string epoch = {};
  std::string state = {};    // "live" or "dead"
  std::string address = {};  // lane
  std::string admin = {};
  Topology topology = {};
  Labels labels = {};
  std::string version = {};
  std::int64_t last_heard_ms_ago = 0;
  std::uint64_t blobs = 0;     // it reported
  std::uint64_t complete = 0;  // of those, whole
  std::uint64_t pulls = 0;     // unfinished
  StoreUsage store = {};

  friend bool operator==(const NodeInfo&, const NodeInfo&) = default;
};

// GET /v1/nodes: ascending by node id. A dead node stays listed for an hour.
struct NodeList {
  std::string tracker_epoch = {};
  std::vector<NodeInfo> nodes = {};

  friend bool operator==(const NodeList&, const NodeList&) = default;
};

// GET /v1/status?reference=R: how much of it each live node holds.
struct StatusReport {
  std::string reference = {};
  content::Digest manifest = {};
  ProgressTotals totals = {};
  std::vector<NodeProgress> nodes = {};  // those that hold or pull some of it; ascending by node id

  friend bool operator==(const StatusReport&, const StatusReport&) = default;
};

// GET /v1/version
struct VersionInfo {
  std::string program = {};
  std::string version = {};
  std::uint32_t api = 1;
  std::string tracker_epoch = {};
  std::int64_t uptime_ms = 0;

  friend bool operator==(const VersionInfo&, const VersionInfo&) = default;
};

}  // namespace shoal::api
