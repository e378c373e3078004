// What an agent asks the tracker's catalogue, and what operators ask the tracker through the
// agent's socket. Hides paths, JSON and connections. docs/formats/tracker-api.md, "Catalogue" and
// "Operators".
//
// No call is repeated here: whoever has no other source decides about retries.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/tracker/tracker_address.h"
#include "core/api/catalogue.h"
#include "core/api/ingest.h"
#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/piece_table.h"
#include "core/http/client.h"
#include "core/http/message.h"

namespace shoal::agent {

// Thread: the executor's. Lifetime: every call has ended before destruction (checked): close()
// makes them end.
//
// Errors of every call: those of http::Client::exchange, the tracker's own (its code and its text),
// and corrupt when the answer is not what the API describes.
class CatalogueClient {
 public:
  CatalogueClient(Executor executor, const TrackerAddress& tracker);
  CatalogueClient(const CatalogueClient&) = delete;
  CatalogueClient& operator=(const CatalogueClient&) = delete;

  // `reference` is "name:tag" or "name@sha256:…". Errors: not_found, invalid.
  Task<Result<api::Resolved>> resolve(std::string reference, Deadline deadline);

  struct ManifestBytes {
    std::string bytes;  // have the digest that was asked for
    std::string media_type;
  };
  // Errors: not_found; corrupt also when the bytes have another digest.
  Task<Result<ManifestBytes>> manifest(content::Digest digest, Deadline deadline);

  struct TableAnswer {
    // Consistent in itself; the caller has yet to expect() what it knows about the blob.
    Result<content::PieceTable> table;
    // When to ask again, if the tracker said so: with overloaded, which means that a peer should be
    // asked meanwhile.
    std::optional<std::chrono::milliseconds> retry_after;
  };
  // Errors: not_found, overloaded; corrupt also for a table of another blob.
  Task<TableAnswer> table(content::Digest blob, Deadline deadline);

  // Empty when none is known.
  Task<Result<std::vector<api::Origin>>> origins(content::Digest blob, Deadline deadline);

  // A page of all references after `after` (empty: from the start).
  Task<Result<api::ReferenceList>> references(std::string after, Deadline deadline);
  // All manifests that references name. `page_timeout` is for each page of them.
  Task<Result<std::set<content::Digest>>> named_manifests(std::chrono::milliseconds page_timeout);
  // Empty when none is known.
  Task<Result<std::vector<api::Statement>>> statements(content::Digest blob, Deadline deadline);

  // Each means, once it has succeeded, that the catalogue survives a power cut with it. Repeating
  // one that failed half-way is harmless.

  // `bytes` have `digest` (else corrupt, from the tracker).
  Task<Status> put_manifest(content::Digest digest, std::string media_type, std::string bytes,
                            Deadline deadline);
  // Errors: conflict when another table with another root is stored.
  Task<Status> put_table(content::PieceTable table, Deadline deadline);
  // Replaces origins of equal kind and URL, adds the others; at most api::kMaxOrigins in all.
  Task<Status> put_origins(content::Digest blob, std::vector<api::Origin> origins,
                           Deadline deadline);
  // What node `node` (this one) says about the blob. Errors: conflict when api::kMaxStatements
  // other nodes have said something.
  Task<Status> put_statement(content::Digest blob, std::string node, std::string text,
                             Deadline deadline);
  // Makes the tag name `manifest`. Errors: not_found when the catalogue lacks that manifest.
  Task<Result<api::ReferenceRecord>> put_reference(std::string reference, content::Digest manifest,
                                                   Deadline deadline);

  // What this node, the publisher, says of an ingest that goes by its provisional manifest. Errors:
  // conflict (another node is publishing that reference); not_found (a manifest is not there).
  Task<Status> put_ingest(content::Digest manifest, api::IngestUpdate update, Deadline deadline);
  // How that ingest stands, once its version is past `since`, else after `wait`, for which the
  // deadline has to leave time. Errors: not_found.
  Task<Result<api::IngestStatus>> ingest(content::Digest manifest, std::uint64_t since,
                                         std::chrono::milliseconds wait, Deadline deadline);

  // Sends an operator's request on as it is, and gives the tracker's answer, whatever its status.
  // Only what operators may ask through an agent is sent (forwardable()); everything else is
  // denied, unsent. A request with a `wait` in its query does not hold up others; the caller's
  // deadline has to leave it its time.
  Task<Result<http::Response>> forward(http::Request request, Deadline deadline);

  // Ends all calls, now and in future, with cancelled. Sticky.
  void close();

 private:
  Task<Status> put(std::string path, http::Query query, std::string content_type, std::string body,
                   Deadline deadline);

  http::Client calls_;
  http::Client polls_;  // forwarded long polls have connections of their own
};

// GET of manifests, references, resolve, ingests, nodes, status and version; DELETE of a reference;
// POST, GET and DELETE of a prefetch. Pure.
bool forwardable(const http::Request& request);

}  // namespace shoal::agent
