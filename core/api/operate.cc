#include "core/api/operate.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <>
struct detail::Names<PrefetchState> {
  static constexpr std::pair<PrefetchState, std::string_view> kAll[] = {
      {PrefetchState::kRunning, "running"},
      {PrefetchState::kComplete, "complete"},
      {PrefetchState::kFailed, "failed"},
      {PrefetchState::kTimedOut, "timed_out"},
      {PrefetchState::kCancelled, "cancelled"}};
};

template <>
struct detail::Names<NodePhase> {
  static constexpr std::pair<NodePhase, std::string_view> kAll[] = {
      {NodePhase::kAbsent, "absent"},       {NodePhase::kOrdered, "ordered"},
      {NodePhase::kQueued, "queued"},       {NodePhase::kRunning, "running"},
      {NodePhase::kComplete, "complete"},   {NodePhase::kFailed, "failed"},
      {NodePhase::kCancelled, "cancelled"}, {NodePhase::kPartial, "partial"}};
};

template <class V>
void visit_selector(V& v, const char* key, NodeSelector& m) {
  if constexpr (V::kReads) {
    const detail::Json* field = v.find(key, detail::Presence::kOptional);
    if (!field) return;
    m = NodeSelector{};
    if (*field == "all") {
      m.all = true;
    } else if (field->is_array()) {
      v.list(key, m.ids, kMaxSelected, kMaxNodeId);
      if (v.failed()) return;
      if (m.ids.empty()) return v.wrong(key, "names no node");
      for (const std::string& id : m.ids) {
        if (!valid_node_id(id)) return v.wrong(key, "names something that is not a node id");
      }
    } else if (field->is_object()) {
      v.labels(key, m.labels);
      if (!v.failed() && m.labels.empty()) v.wrong(key, "names no label");
    } else {
      v.wrong(key, "must be \"all\", an array of node ids or an object of labels");
    }
  } else if (m.all) {
    v.raw(key) = "all";
  } else if (!m.labels.empty()) {
    v.labels(key, m.labels);
  } else {
    v.list(key, m.ids, kMaxSelected, kMaxNodeId);
  }
}

template <class V>
void visit(V& v, PrefetchRequest& m) {
  v.text("reference", m.reference, kMaxReference, detail::kRequired);
  visit_selector(v, "nodes", m.nodes);
  v.flag("pin", m.pin);
  v.duration("timeout_ms", m.timeout, kMaxTimeout);
}

template <class V>
void visit(V& v, PrefetchResponse& m) {
  v.text("id", m.id, kMaxName, detail::kRequired);
  v.digest("manifest", m.manifest);
  v.list("nodes", m.nodes, kMaxNodes, kMaxNodeId);
}

template <class V>
void visit(V& v, NodeProgress& m) {
  v.node_id("node", m.node);
  v.choice("state", m.state);
  v.number("bytes_total", m.bytes_total);
  v.number("bytes_done", m.bytes_done);
  visit(v, m.by_source);
  v.number("rate", m.rate);
  v.sentence("waiting_for", m.waiting_for);
  v.error("error", m.error);
  v.number("last_heard_ms_ago", m.last_heard_ms_ago);
  visit_progress_details(v, m);
}

template <class V>
void visit(V& v, ProgressTotals& m) {
  v.number("nodes", m.nodes);
  v.number("complete", m.complete);
  v.number("failed", m.failed);
  v.number("bytes_total", m.bytes_total);
  v.number("bytes_done", m.bytes_done);
  visit(v, m.by_source);
  v.number("rate", m.rate);
}

template <class V>
void visit(V& v, PrefetchStatus& m) {
  v.text("id", m.id, kMaxName, detail::kRequired);
  v.number("version", m.version);
  v.text("reference", m.reference, kMaxReference);
  v.digest("manifest", m.manifest);
  v.choice("state", m.state);
  v.flag("pin", m.pin);
  v.number("created_unix_ms", m.created_unix_ms);
  v.duration("timeout_ms", m.timeout, kMaxTimeout);
  v.duration("remaining_ms", m.remaining, kMaxTimeout);
  v.object("totals", m.totals);
  v.list("nodes", m.nodes, kMaxNodes);
}

template <class V>
void visit(V& v, NodeInfo& m) {
  v.node_id("node", m.node);
  v.epoch("epoch", m.epoch);
  v.text("state", m.state, kMaxName);
  v.address("address", m.address, false);
  v.address("admin", m.admin, false);
  v.object("topology", m.topology);
  v.labels("labels", m.labels);
  v.text("version", m.version, kMaxName);
  v.number("last_heard_ms_ago", m.last_heard_ms_ago);
  v.number("blobs", m.blobs);
  v.number("complete", m.complete);
  v.number("pulls", m.pulls);
  v.object("store", m.store);
}

template <class V>
void visit(V& v, NodeList& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.list("nodes", m.nodes, kMaxNodes);
}

template <class V>
void visit(V& v, StatusReport& m) {
  v.text("reference", m.reference, kMaxReference);
  v.digest("manifest", m.manifest);
  v.object("totals", m.totals);
  v.list("nodes", m.nodes, kMaxNodes);
}

template <class V>
void visit(V& v, VersionInfo& m) {
  v.text("program", m.program, kMaxName);
  v.text("version", m.version, kMaxName);
  v.number("api", m.api);
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.number("uptime_ms", m.uptime_ms);
}

std::string_view prefetch_state_name(PrefetchState state) { return detail::name_of(state); }

ProgressTotals total_of(const std::vector<NodeProgress>& nodes) {
  ProgressTotals totals;
  for (const NodeProgress& node : nodes) {
    ++totals.nodes;
    if (node.state == NodePhase::kComplete) ++totals.complete;
    if (node.state == NodePhase::kFailed || node.state == NodePhase::kCancelled) ++totals.failed;
    totals.bytes_total += node.bytes_total;
    totals.bytes_done += node.bytes_done;
    totals.by_source.peers += node.by_source.peers;
    totals.by_source.origin += node.by_source.origin;
    totals.by_source.local += node.by_source.local;
    // What has ended says how fast it was.
    if (node.state == NodePhase::kRunning) totals.rate += node.rate;
  }
  return totals;
}

SHOAL_API_MESSAGE(PrefetchRequest)
SHOAL_API_MESSAGE(PrefetchResponse)
SHOAL_API_MESSAGE(PrefetchStatus)
SHOAL_API_MESSAGE(NodeList)
SHOAL_API_MESSAGE(StatusReport)
SHOAL_API_MESSAGE(VersionInfo)

}  // namespace shoal::api
