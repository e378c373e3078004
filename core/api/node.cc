#include "core/api/node.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <>
struct detail::Names<BlobState> {
  static constexpr std::pair<BlobState, std::string_view> kAll[] = {
      {BlobState::kLive, "live"},
      {BlobState::kComplete, "complete"},
      {BlobState::kFailed, "failed"},
      {BlobState::kRevoked, "revoked"}};
};

template <>
struct detail::Names<PullState> {
  static constexpr std::pair<PullState, std::string_view> kAll[] = {
      {PullState::kQueued, "queued"},
      {PullState::kRunning, "running"},
      {PullState::kComplete, "complete"},
      {PullState::kFailed, "failed"},
      {PullState::kCancelled, "cancelled"}};
};

template <>
struct detail::Names<PeerFault> {
  static constexpr std::pair<PeerFault, std::string_view> kAll[] = {
      {PeerFault::kUnreachable, "unreachable"}, {PeerFault::kBadBytes, "bad_bytes"}};
};

template <class V>
void visit(V& v, RegisterRequest& m) {
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.address("advertise", m.advertise, true, detail::kRequired);
  v.address("admin", m.admin, true);
  v.object("topology", m.topology);
  v.labels("labels", m.labels);
  v.text("version", m.version, kMaxName);
  v.number("store_capacity", m.store_capacity);
}

template <class V>
void visit(V& v, RegisterResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.duration("heartbeat_ms", m.heartbeat, kMaxWait);
  v.address("address", m.address, false);
}

template <class V>
void visit(V& v, Identity& m) {
  v.node_id("node", m.node);
  v.epoch("epoch", m.epoch, detail::kRequired);
}

template <class V>
void visit(V& v, BlobReport& m) {
  v.digest("digest", m.digest);
  v.number("size", m.size, content::kMaxBlobSize, detail::kRequired);
  v.number("pieces_have", m.pieces_have, content::kMaxPieces);
  v.list("have", m.have, kMaxSpans);
  v.choice("state", m.state);
  v.flag("wanted", m.wanted);
}

template <class V>
void visit(V& v, PullReport& m) {
  v.text("id", m.id, kMaxName, detail::kRequired);
  v.digest("manifest", m.manifest);
  v.choice("state", m.state);
  v.number("bytes_total", m.bytes_total);
  v.number("bytes_done", m.bytes_done);
  visit(v, m.by_source);
  v.number("rate", m.rate);
  v.sentence("waiting_for", m.waiting_for);
  v.error("error", m.error);
  visit_progress_details(v, m);
}

template <class V>
void visit(V& v, PeerReport& m) {
  v.node_id("node", m.node);
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.choice("fault", m.fault);
  v.sentence("text", m.text);
}

template <class V>
void visit(V& v, HeartbeatRequest& m) {
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.number("seq", m.seq, std::numeric_limits<std::uint64_t>::max(), detail::kRequired);
  v.flag("full", m.full);
  v.list("blobs", m.blobs, kMaxBlobReports);
  v.list("removed", m.removed, kMaxBlobReports);
  v.list("pulls", m.pulls, kMaxPullReports);
  v.object("store", m.store);
  v.list("leases", m.leases, kMaxHeldLeases);
  v.list("peers", m.peers, kMaxPeerReports);
}

template <class V>
void visit(V& v, HeartbeatResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.duration("heartbeat_ms", m.heartbeat, kMaxWait);
  v.flag("resync", m.resync);
  v.list("lost", m.lost, kMaxHeldLeases);
}

template <class V>
void visit(V& v, Order& m) {
  v.text("id", m.id, kMaxName, detail::kRequired);
  v.text("reference", m.reference, kMaxReference);
  v.digest("manifest", m.manifest);
  v.text("class", m.traffic_class, kMaxName);
  v.flag("pin", m.pin);
  v.duration("remaining_ms", m.remaining, kMaxTimeout);
}

template <class V>
void visit(V& v, Neighbour& m) {
  v.node_id("node", m.node);
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.address("address", m.address, false, detail::kRequired);
  v.object("topology", m.topology);
  v.list("holds", m.holds, kMaxBlobReports);
  v.list("wants", m.wants, kMaxBlobReports);
}

template <class V>
void visit(V& v, EventOrders& m) {
  v.list("orders", m.orders, kMaxOrders);
  v.list("cancelled", m.cancelled, kMaxOrders);
  v.list("removed", m.removed, kMaxOrders);
}

template <class V>
void visit(V& v, Withdrawal& m) {
  v.digest("blob", m.blob);
  v.text("pieces_root", m.pieces_root, kMaxRootText, detail::kRequired);
  v.text("signer", m.signer, kMaxNodeId);
}

template <class V>
void visit(V& v, EventTrust& m) {
  v.list("withdrawn", m.withdrawn, kMaxWithdrawals);
  v.list("checks", m.checks, kMaxOrders);
}

template <class V>
void visit(V& v, EventsResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.number("version", m.version);
  v.object("orders", m.orders);
  v.list("neighbours", m.neighbours, kMaxNeighbours);
  v.object("trust", m.trust);
}

SHOAL_API_MESSAGE(RegisterRequest)
SHOAL_API_MESSAGE(RegisterResponse)
SHOAL_API_MESSAGE(Identity)
SHOAL_API_MESSAGE(HeartbeatRequest)
SHOAL_API_MESSAGE(HeartbeatResponse)
SHOAL_API_MESSAGE(EventsResponse)

}  // namespace shoal::api
