// The local API's bodies as JSON, and back. For agent/control only: it includes the JSON library.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/control/garbage.h"
#include "agent/model/ingests.h"
#include "agent/model/publications.h"
#include "agent/model/pulls.h"
#include "agent/model/verifies.h"
#include "agent/swarm/fetcher.h"
#include "core/api/catalogue.h"
#include "core/base/result.h"
#include "core/content/manifest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

using Json = nlohmann::ordered_json;

// A JSON object. Errors: invalid (no JSON, no object).
Result<Json> parse_json(std::string_view text);
// Empty when the field is absent or no text.
std::string text_field(const Json& object, const char* name);

Json error_json(const Error& error);
// Fills in the nodes and labels of an origin from "origin_nodes": "all" or absent, "publisher"
// (which is `self`), ids or labels. Errors: invalid.
Status set_readers(const Json& object, const std::string& self, api::Origin& origin);
// "origins":[{"blob","url","version"}], grouped by blob, for the nodes that "origin_nodes" says. A
// version becomes the origin's etag where other nodes would see it too. Errors: invalid.
Result<std::vector<BlobOrigins>> origins_field(const Json& object, const std::string& self);

// The body of POST /v1/listings, and its answer. Errors: invalid.
Result<OriginQuery> query_fields(const Json& object);
Json listing_json(const OriginListing& listing);
// A file of an origin in the body of POST /v1/ingests, without its origin. Errors: invalid.
Result<RemoteFile> remote_file_fields(const Json& object);

// The body of POST /v1/publications, without the files' origins; `self` is this node. Errors:
// invalid.
Result<Publications::Request> publication_fields(const Json& object, const std::string& self);
Json publication_json(const PublicationView& view);

struct WantFields {
  content::Digest digest;
  std::vector<ByteRange> ranges;
  std::chrono::milliseconds by{2000};
  swarm::Class cls = swarm::Class::kWindow;
};
// The body of POST /v1/want. Errors: invalid.
Result<WantFields> want_fields(const Json& object);

Json blob_json(const store::BlobInfo& info, const std::vector<std::string>& references);
Json ingest_json(const IngestView& view);
Json pull_json(const PullView& view);
Json verify_json(const VerifyView& view);
Json garbage_json(const Garbage& garbage);
// `info` null: not in the store; `report` null: not being fetched.
Json explain_json(const content::ModelFile& file, const store::BlobInfo* info,
                  const Fetcher::Report* report);

}  // namespace shoal::agent
