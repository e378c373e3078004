#include "core/api/lease.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <>
struct detail::Names<LeaseReason> {
  static constexpr std::pair<LeaseReason, std::string_view> kAll[] = {
      {LeaseReason::kGranted, "granted"},
      {LeaseReason::kStarting, "starting"},
      {LeaseReason::kBusy, "busy"},
      {LeaseReason::kTaken, "taken"},
      {LeaseReason::kNoOrigin, "no_origin"}};
};

template <class V>
void visit(V& v, LeaseAsk& m) {
  v.choice("kind", m.kind);
  v.digest("blob", m.blob);
  v.number("bytes", m.bytes, content::kMaxBlobSize, detail::kRequired);
  v.list("candidates", m.candidates, kMaxCandidates);
  v.flag("urgent", m.urgent);
  v.flag("starved", m.starved);
}

template <class V>
void visit(V& v, OriginSeen& m) {
  v.digest("blob", m.blob);
  v.text("etag", m.etag, kMaxEtag, detail::kRequired);
}

template <class V>
void visit(V& v, LeaseProgress& m) {
  v.digest("blob", m.blob);
  v.list("pieces", m.pieces, kMaxSpans);
}

template <class V>
void visit(V& v, LeaseRelease& m) {
  v.choice("kind", m.kind);
  v.digest("blob", m.blob);
  v.list("pieces", m.pieces, kMaxSpans);
}

template <class V>
void visit(V& v, LeaseRequest& m) {
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.list("seen", m.seen, kMaxLeaseUpdates);
  v.list("progress", m.progress, kMaxLeaseUpdates);
  v.list("releases", m.releases, kMaxLeaseUpdates);
  v.list("asks", m.asks, kMaxLeaseAsks);
}

template <class V>
void visit(V& v, LeaseAnswer& m) {
  v.choice("reason", m.reason);
  v.list("pieces", m.pieces, kMaxSpans);
  v.duration("retry_ms", m.retry, kMaxWait);
  v.text("etag", m.etag, kMaxEtag);
}

template <class V>
void visit(V& v, LeaseResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.list("answers", m.answers, kMaxLeaseAsks);
  v.list("origin_changed", m.origin_changed, kMaxLeaseUpdates);
}

std::string_view lease_reason_name(LeaseReason reason) { return detail::name_of(reason); }

SHOAL_API_MESSAGE(LeaseRequest)
SHOAL_API_MESSAGE(LeaseResponse)

}  // namespace shoal::api
