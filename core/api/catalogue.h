// Messages about what the tracker's catalogue holds: references, origins, statements.
// Manifests and piece tables travel as their own bytes. docs/formats/tracker-api.md, "Catalogue".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/api/common.h"
#include "core/content/digest.h"

namespace shoal::api {

// PUT /v1/references?reference=NAME:TAG
struct ReferenceUpdate {
  content::Digest manifest = {};  // required; must be in the catalogue

  friend bool operator==(const ReferenceUpdate&, const ReferenceUpdate&) = default;
};

// GET and PUT /v1/references?reference=NAME:TAG
struct ReferenceRecord {
  std::string reference = {};  // "name:tag"
  content::Digest manifest = {};
  std::int64_t created_unix_ms = 0;  // the tag's first manifest
  std::int64_t updated_unix_ms = 0;  // this manifest

  friend bool operator==(const ReferenceRecord&, const ReferenceRecord&) = default;
};

// GET /v1/references?after=REFERENCE&limit=N: ascending by reference.
struct ReferenceList {
  std::vector<ReferenceRecord> references = {};
  std::string next = {};  // pass it as `after` to go on; empty: that was all

  friend bool operator==(const ReferenceList&, const ReferenceList&) = default;
};

// GET /v1/resolve?reference=NAME:TAG or NAME@sha256:…
struct Resolved {
  std::string reference = {};  // as asked
  content::Digest manifest = {};
  std::string media_type = {};
  std::uint64_t manifest_size = 0;  // bytes of the manifest itself
  std::uint64_t bytes_total = 0;    // of the config and all layers, each blob once
  std::uint64_t files = 0;          // layers

  friend bool operator==(const Resolved&, const Resolved&) = default;
};

// Where a blob can be read first. Never carries a credential.
struct Origin {
  std::string kind = {};  // required: "http", "dir", "s3", "hf", "oci": as the agent calls them
  std::string url = {};   // required: of that kind; file:///absolute/path for "dir"
  std::string etag = {};  // as seen when the blob was hashed; empty: none
  std::optional<std::uint64_t> size = {};     // bytes, as seen then
  std::optional<std::int64_t> mtime_ns = {};  // of a file, as seen then
  std::vector<std::string> nodes = {};  // node ids that can read it; empty with empty labels: all
  Labels labels = {};                   // or nodes having all of these

  friend bool operator==(const Origin&, const Origin&) = default;
};

// PUT and GET /v1/origins/{blob digest}. A PUT replaces the origins of the same kind and URL and
// adds the others.
struct Origins {
  std::vector<Origin> origins = {};

  friend bool operator==(const Origins&, const Origins&) = default;
};

// What one node signed about a blob; opaque to the tracker.
struct Statement {
  std::string node = {};
  std::string text = {};

  friend bool operator==(const Statement&, const Statement&) = default;
};

// GET /v1/statements/{blob digest}
struct Statements {
  std::vector<Statement> statements = {};

  friend bool operator==(const Statements&, const Statements&) = default;
};

}  // namespace shoal::api
