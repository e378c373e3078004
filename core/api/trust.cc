#include "core/api/trust.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <class V>
void visit(V& v, Verdict& m) {
  v.epoch("epoch", m.epoch, detail::kRequired);
  v.digest("blob", m.blob);
  v.text("pieces_root", m.pieces_root, kMaxRootText, detail::kRequired);
  v.text("signer", m.signer, kMaxNodeId);
  v.flag("agrees", m.agrees);
}

template <class V>
void visit(V& v, VerdictResponse& m) {
  v.epoch("tracker_epoch", m.tracker_epoch);
  v.flag("withdrawn", m.withdrawn);
}

SHOAL_API_MESSAGE(Verdict)
SHOAL_API_MESSAGE(VerdictResponse)

}  // namespace shoal::api
