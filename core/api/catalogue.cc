#include "core/api/catalogue.h"

#include "core/api/fields.h"
#include "core/api/json_fields.h"

namespace shoal::api {

template <class V>
void visit(V& v, ReferenceUpdate& m) {
  v.digest("manifest", m.manifest);
}

template <class V>
void visit(V& v, ReferenceRecord& m) {
  v.text("reference", m.reference, kMaxReference, detail::kRequired);
  v.digest("manifest", m.manifest);
  v.number("created_unix_ms", m.created_unix_ms);
  v.number("updated_unix_ms", m.updated_unix_ms);
}

template <class V>
void visit(V& v, ReferenceList& m) {
  v.list("references", m.references, kMaxPage);
  v.text("next", m.next, kMaxReference);
}

template <class V>
void visit(V& v, Resolved& m) {
  v.text("reference", m.reference, kMaxReference);
  v.digest("manifest", m.manifest);
  v.text("media_type", m.media_type, kMaxName);
  v.number("manifest_size", m.manifest_size);
  v.number("bytes_total", m.bytes_total);
  v.number("files", m.files);
}

template <class V>
void visit(V& v, Origin& m) {
  v.text("kind", m.kind, kMaxName, detail::kRequired);
  v.text("url", m.url, kMaxUrl, detail::kRequired);
  v.text("etag", m.etag, kMaxEtag);
  v.number("size", m.size);
  v.number("mtime_ns", m.mtime_ns);
  v.list("nodes", m.nodes, kMaxSelected, kMaxNodeId);
  v.labels("labels", m.labels);
}

template <class V>
void visit(V& v, Origins& m) {
  v.list("origins", m.origins, kMaxOrigins);
}

template <class V>
void visit(V& v, Statement& m) {
  v.node_id("node", m.node);
  v.text("text", m.text, kMaxStatementText);
}

template <class V>
void visit(V& v, Statements& m) {
  v.list("statements", m.statements, kMaxStatements);
}

SHOAL_API_MESSAGE(ReferenceUpdate)
SHOAL_API_MESSAGE(ReferenceRecord)
SHOAL_API_MESSAGE(ReferenceList)
SHOAL_API_MESSAGE(Resolved)
SHOAL_API_MESSAGE(Origins)
SHOAL_API_MESSAGE(Statements)

}  // namespace shoal::api
