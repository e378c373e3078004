// The operator's part of the tracker's API, over either way to the tracker: through the agent of
// this node, which has a certificate, or directly.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent_client/client.h"
#include "core/api/catalogue.h"
#include "core/api/ingest.h"
#include "core/api/operate.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/piece_table.h"
#include "core/http/tls.h"
#include "core/http/url.h"

namespace shoal::cli {

struct TrackerCall {
  std::string_view method = "GET";
  std::string path;
  http::Query query = {};
  std::string body = {};
  std::chrono::milliseconds wait{0};  // how long the tracker may take on purpose (long polls)
};

// A way to the tracker. Thread: one.
class TrackerTransport {
 public:
  virtual ~TrackerTransport() = default;
  // The body of a 2xx answer; other answers as the Error they carry. Errors beside those:
  // unavailable, timed_out, denied, cancelled.
  virtual Result<std::string> call(const TrackerCall& call) = 0;
};

std::unique_ptr<TrackerTransport> tracker_through_agent(agent_client::Options options);

// `cancel_fd` as in agent_client::Options; `tls` has empty names for plain HTTP. Errors: those of
// http::TlsContext::load, and invalid if URL and files do not fit each other.
Result<std::unique_ptr<TrackerTransport>> tracker_directly(const std::string& url,
                                                           const http::TlsFiles& tls, bool insecure,
                                                           int cancel_fd);

// Errors as docs/formats/tracker-api.md says for each request.
class TrackerApi {
 public:
  explicit TrackerApi(std::unique_ptr<TrackerTransport> transport);

  Result<api::VersionInfo> version();
  Result<api::NodeList> nodes();
  // All of them, in order; follows the pages.
  Result<std::vector<api::ReferenceRecord>> references();
  // Publications that run and those that ended lately, newest first.
  Result<std::vector<api::IngestStatus>> ingests();
  Result<api::Resolved> resolve(std::string_view reference);
  // The manifest's bytes. Errors beside those: corrupt when they have another digest.
  Result<std::string> manifest(const content::Digest& digest);
  // Errors beside those: corrupt when it contradicts itself or is of another blob.
  Result<content::PieceTable> table(const content::Digest& blob);
  Result<api::ReferenceRecord> remove(std::string_view reference);
  Result<api::StatusReport> status(std::string_view reference);

  Result<api::PrefetchResponse> prefetch(const api::PrefetchRequest& request);
  // Returns when the version is past `since`, else after `wait`.
  Result<api::PrefetchStatus> prefetch_status(std::string_view id, std::uint64_t since,
                                              std::chrono::milliseconds wait);
  Result<api::PrefetchStatus> cancel_prefetch(std::string_view id);

 private:
  template <typename T>
  Result<T> ask(const TrackerCall& call);

  const std::unique_ptr<TrackerTransport> transport_;
};

}  // namespace shoal::cli
