// Messages about models that are served while their publisher still reads them from an origin: the
// reference means a provisional manifest (core/content/manifest.h) until the ingest has settled.
// docs/formats/tracker-api.md, "Ingests".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/limits.h"
#include "core/api/message.h"
#include "core/base/error.h"
#include "core/content/digest.h"

namespace shoal::api {

enum class IngestState {
  kRunning,  // "running": the reference means the provisional manifest
  kSettled,  // "settled": everything was read; the reference means `settled_as`
  kFailed,   // "failed": error says why; the reference means what it meant before
};
// As in JSON: "settled".
std::string_view ingest_state_name(IngestState state);

// PUT /v1/ingests/{provisional manifest}: what its publisher says.
struct IngestUpdate {
  std::string reference = {};                 // required; "name:tag"
  std::string node = {};                      // required; the publisher
  std::string epoch = {};                     // required; of this life of the publisher's process
  IngestState state = IngestState::kRunning;  // required
  // Required when settled: the final manifest, in the catalogue and not provisional.
  std::optional<content::Digest> settled_as = {};
  std::optional<Error> error = {};  // required when failed

  friend bool operator==(const IngestUpdate&, const IngestUpdate&) = default;
};

// GET /v1/ingests/{provisional manifest}?since=V&wait=MS
struct IngestStatus {
  std::string reference = {};
  content::Digest manifest = {};  // the provisional one
  std::string node = {};          // the publisher
  IngestState state = IngestState::kRunning;
  std::optional<content::Digest> settled_as = {};
  std::optional<Error> error = {};
  std::uint64_t version = 0;  // pass it as `since`; of this tracker's life
  std::int64_t created_unix_ms = 0;
  std::int64_t updated_unix_ms = 0;  // of its state

  friend bool operator==(const IngestStatus&, const IngestStatus&) = default;
};

// GET /v1/ingests: those that run and those that ended within the last hour, newest first.
struct IngestList {
  std::vector<IngestStatus> ingests = {};

  friend bool operator==(const IngestList&, const IngestList&) = default;
};

}  // namespace shoal::api
