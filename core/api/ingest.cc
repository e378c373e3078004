#include "core/api/ingest.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <>
struct detail::Names<IngestState> {
  static constexpr std::pair<IngestState, std::string_view> kAll[] = {
      {IngestState::kRunning, "running"},
      {IngestState::kSettled, "settled"},
      {IngestState::kFailed, "failed"}};
};

// How an ingest ended says more than that it did.
template <class V, class M>
void visit_outcome(V& v, M& m) {
  v.choice("state", m.state, detail::kRequired);
  v.digest("settled_as", m.settled_as);
  v.error("error", m.error);
  if constexpr (V::kReads) {
    if (v.failed()) return;
    if (m.state == IngestState::kSettled && !m.settled_as) {
      v.wrong("settled_as", "is required when state is settled");
    }
    if (m.state == IngestState::kFailed && !m.error) {
      v.wrong("error", "is required when state is failed");
    }
  }
}

template <class V>
void visit(V& v, IngestUpdate& m) {
  v.text("reference", m.reference, kMaxReference, detail::kRequired);
  v.node_id("node", m.node);
  v.epoch("epoch", m.epoch, detail::kRequired);
  visit_outcome(v, m);
}

template <class V>
void visit(V& v, IngestStatus& m) {
  v.text("reference", m.reference, kMaxReference, detail::kRequired);
  v.digest("manifest", m.manifest);
  v.node_id("node", m.node);
  visit_outcome(v, m);
  v.number("version", m.version);
  v.number("created_unix_ms", m.created_unix_ms);
  v.number("updated_unix_ms", m.updated_unix_ms);
}

template <class V>
void visit(V& v, IngestList& m) {
  v.list("ingests", m.ingests, kMaxIngests);
}

std::string_view ingest_state_name(IngestState state) { return detail::name_of(state); }

SHOAL_API_MESSAGE(IngestUpdate)
SHOAL_API_MESSAGE(IngestStatus)
SHOAL_API_MESSAGE(IngestList)

}  // namespace shoal::api
