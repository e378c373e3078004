#include "core/api/eviction.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <>
struct detail::Names<EvictionReason> {
  static constexpr std::pair<EvictionReason, std::string_view> kAll[] = {
      {EvictionReason::kLastCopies, "last_copies"},
      {EvictionReason::kGranted, "granted"},
      {EvictionReason::kNotNeeded, "not_needed"},
      {EvictionReason::kStarting, "starting"}};
};

template <class V>
void visit(V& v, EvictionAsk& m) {
  v.digest("blob", m.blob);
  v.number("bytes", m.bytes);
}

template <class V>
void visit(V& v, EvictionRequest& m) {
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.number("replicas", m.replicas);
  v.number("bytes", m.bytes);
  v.flag("dry_run", m.dry_run);
  v.list("blobs", m.blobs, kMaxEvictionAsks);
}

template <class V>
void visit(V& v, EvictionAnswer& m) {
  v.choice("reason", m.reason);
  v.number("copies", m.copies);
}

template <class V>
void visit(V& v, EvictionResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.list("answers", m.answers, kMaxEvictionAsks);
  v.duration("valid_ms", m.valid, kMaxWait);
}

std::string_view eviction_reason_name(EvictionReason reason) { return detail::name_of(reason); }

SHOAL_API_MESSAGE(EvictionRequest)
SHOAL_API_MESSAGE(EvictionResponse)

}  // namespace shoal::api
