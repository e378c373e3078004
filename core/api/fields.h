// Internal to core/api: the fields of structs that occur in messages of several files.
#pragma once

#include "core/api/common.h"
#include "core/api/json_fields.h"
#include "core/api/lease.h"
#include "core/api/node.h"

namespace shoal::api {

template <class V>
void visit(V& v, Topology& m) {
  v.text("region", m.region, kMaxName);
  v.text("zone", m.zone, kMaxName);
  v.text("rack", m.rack, kMaxName);
  v.text("host", m.host, kMaxName);
}

// Not an object of its own: part of the one that has it.
template <class V>
void visit(V& v, BytesBySource& m) {
  v.number("bytes_peers", m.peers);
  v.number("bytes_origin", m.origin);
  v.number("bytes_local", m.local);
}

template <class V>
void visit(V& v, StoreUsage& m) {
  v.number("used", m.used);
  v.number("capacity", m.capacity);
  v.number("free", m.free);
}

template <class V>
void visit(V& v, PullSource& m) {
  v.text("kind", m.kind, kMaxName);
  v.text("name", m.name, kMaxUrl);
  v.number("bytes", m.bytes);
  v.number("rate", m.rate);
}

template <class V>
void visit(V& v, PullWait& m) {
  v.text("kind", m.kind, kMaxName);
  v.sentence("text", m.text);
}

template <class V, class M>
void visit_progress_details(V& v, M& m) {
  v.list("sources", m.sources, kMaxPullSources);
  v.list("waits", m.waits, kMaxPullNotes);
  v.list("last_errors", m.last_errors, kMaxPullNotes, kMaxText);
}

template <>
struct detail::Names<LeaseKind> {
  static constexpr std::pair<LeaseKind, std::string_view> kAll[] = {{LeaseKind::kOrigin, "origin"},
                                                                    {LeaseKind::kRack, "rack"}};
};

template <class V>
void visit(V& v, HeldLease& m) {
  v.choice("kind", m.kind);
  v.digest("blob", m.blob);
  v.text("etag", m.etag, kMaxEtag);
  v.list("pieces", m.pieces, kMaxSpans);
}

}  // namespace shoal::api
