#include "cli/tracker_api.h"

#include "core/async/task.h"

#include <fcntl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <span>
#include <utility>

#include "core/api/message.h"
#include "core/api/paths.h"
#include "core/async/deadline.h"
#include "core/async/run.h"
#include "core/base/unique_fd.h"
#include "core/daemon/address.h"
#include "core/http/client.h"
#include "core/http/message.h"

namespace shoal::cli {
namespace {

constexpr std::chrono::seconds kTimeout{30};
constexpr std::size_t kReferencesPerPage = 1000;
// A catalogue of more would not be read by people; the bound only guards against a tracker whose
// pages never end.
constexpr std::size_t kMaxPages = 1000;

class ThroughAgent final : public TrackerTransport {
 public:
  explicit ThroughAgent(agent_client::Options options) : client_(std::move(options)) {}

  Result<std::string> call(const TrackerCall& call) override {
    std::string target = http::percent_encode_path(call.path) + http::format_query(call.query);
    Result<agent_client::RawAnswer> answer =
        client_.forward(call.method, target, call.body, call.wait);
    if (!answer) return fail(answer.error());
    if (answer->status >= 200 && answer->status < 300) return std::move(answer->body);
    http::Response response;
    response.status = answer->status;
    response.body = std::move(answer->body);
    return fail(http::response_error(response));
  }

 private:
  agent_client::Client client_;
};

class Direct final : public TrackerTransport {
 public:
  Direct(http::Client::Options options, int cancel_fd)
      : url_(options.server.str()), cancel_(io_), client_(io_.get_executor(), std::move(options)) {
    if (cancel_fd < 0) return;
    // A duplicate, because the descriptor object closes what it is given.
    cancel_.assign(::fcntl(cancel_fd, F_DUPFD_CLOEXEC, 0));
    cancel_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& ec) {
                         if (!ec) client_.close();
                       });
  }

  Result<std::string> call(const TrackerCall& call) override {
    http::Request request;
    request.method = call.method;
    request.path = call.path;
    request.query = call.query;
    request.body = call.body;
    if (!call.body.empty()) request.headers.set("Content-Type", "application/json");
    Result<http::Response> response =
        run_to_end(io_, client_.request(std::move(request), Deadline::after(kTimeout + call.wait)));
    if (response) return std::move(response->body);
    Errc code = response.error().code();
    bool ours = code == Errc::kUnavailable || code == Errc::kDenied || code == Errc::kTimedOut;
    if (!ours) return fail(response.error());
    return fail(response.error().with_context("tracker " + url_));
  }

 private:
  const std::string url_;
  asio::io_context io_{1};
  asio::posix::stream_descriptor cancel_;
  http::Client client_;
};

}  // namespace

std::unique_ptr<TrackerTransport> tracker_through_agent(agent_client::Options options) {
  return std::make_unique<ThroughAgent>(std::move(options));
}

Result<std::unique_ptr<TrackerTransport>> tracker_directly(const std::string& url,
                                                           const http::TlsFiles& tls, bool insecure,
                                                           int cancel_fd) {
  Result<http::Url> parsed = http::parse_url(url);
  if (!parsed) return fail(parsed.error().with_context("--tracker"));
  http::Client::Options options;
  options.server = *parsed;
  switch (parsed->scheme) {
    case http::Url::Scheme::kUnix:
      return fail(Errc::kInvalid, "--tracker takes http:// or https://");
    case http::Url::Scheme::kHttp:
      if (!insecure && !daemon::is_loopback({parsed->endpoint.tcp.host, 0})) {
        return fail(Errc::kInvalid, "--tracker " + url +
                                        " is neither encrypted nor on this machine: use https:// "
                                        "with --tls-cert, --tls-key and --tls-ca, or --insecure");
      }
      break;
    case http::Url::Scheme::kHttps: {
      if (tls.certificate.empty() || tls.key.empty() || tls.ca.empty()) {
        return fail(Errc::kInvalid,
                    "--tracker " + url +
                        " needs --tls-cert, --tls-key and --tls-ca; without --tracker the command "
                        "goes through this node's agent, which has a certificate");
      }
      Result<std::shared_ptr<http::TlsContext>> context = http::TlsContext::load(tls);
      if (!context) return fail(context.error());
      options.tls = *context;
      options.expected = http::ExpectedPeer::tracker(parsed->endpoint.tcp.host);
      break;
    }
  }
  return std::make_unique<Direct>(std::move(options), cancel_fd);
}

TrackerApi::TrackerApi(std::unique_ptr<TrackerTransport> transport)
    : transport_(std::move(transport)) {}

template <typename T>
Result<T> TrackerApi::ask(const TrackerCall& call) {
  Result<std::string> body = transport_->call(call);
  if (!body) return fail(body.error());
  Result<T> message = api::decode<T>(*body);
  if (!message) {
    return fail(Errc::kCorrupt, "the tracker's answer to " + call.path +
                                    " is not understood: " + message.error().message());
  }
  return message;
}

Result<api::VersionInfo> TrackerApi::version() {
  return ask<api::VersionInfo>({.path = std::string(api::paths::kVersion)});
}

Result<api::NodeList> TrackerApi::nodes() {
  return ask<api::NodeList>({.path = std::string(api::paths::kNodes)});
}

Result<std::vector<api::ReferenceRecord>> TrackerApi::references() {
  std::vector<api::ReferenceRecord> all;
  std::string after;
  for (std::size_t page = 0; page < kMaxPages; ++page) {
    Result<api::ReferenceList> list =
        ask<api::ReferenceList>({.path = std::string(api::paths::kReferences),
                                 .query = api::paths::list_query(after, kReferencesPerPage)});
    if (!list) return fail(list.error());
    for (api::ReferenceRecord& record : list->references) all.push_back(std::move(record));
    if (list->next.empty()) return all;
    after = std::move(list->next);
  }
  return fail(Errc::kCorrupt, "the tracker's list of references has no end");
}

Result<std::vector<api::IngestStatus>> TrackerApi::ingests() {
  Result<api::IngestList> list = ask<api::IngestList>({.path = std::string(api::paths::kIngests)});
  if (!list) return fail(list.error());
  return std::move(list->ingests);
}

Result<api::Resolved> TrackerApi::resolve(std::string_view reference) {
  return ask<api::Resolved>(
      {.path = std::string(api::paths::kResolve), .query = api::paths::reference_query(reference)});
}

Result<std::string> TrackerApi::manifest(const content::Digest& digest) {
  Result<std::string> body = transport_->call({.path = api::paths::manifest(digest)});
  if (body && content::digest_of(*body) != digest) {
    return fail(Errc::kCorrupt, "the tracker's manifest " + digest.str() +
                                    " has another digest: " + content::digest_of(*body).str());
  }
  return body;
}

Result<content::PieceTable> TrackerApi::table(const content::Digest& blob) {
  Result<std::string> body = transport_->call({.path = api::paths::table(blob)});
  if (!body) return fail(body.error());
  Result<content::PieceTable> table = content::PieceTable::parse(std::as_bytes(std::span(*body)));
  if (table && table->digest() != blob) {
    table = fail(Errc::kCorrupt, "it is of another blob: " + table->digest().str());
  }
  if (!table) {
    return fail(table.error().with_context("the tracker's piece table of " + blob.str()));
  }
  return table;
}

Result<api::ReferenceRecord> TrackerApi::remove(std::string_view reference) {
  return ask<api::ReferenceRecord>({.method = "DELETE",
                                    .path = std::string(api::paths::kReferences),
                                    .query = api::paths::reference_query(reference)});
}

Result<api::StatusReport> TrackerApi::status(std::string_view reference) {
  return ask<api::StatusReport>(
      {.path = std::string(api::paths::kStatus), .query = api::paths::reference_query(reference)});
}

Result<api::PrefetchResponse> TrackerApi::prefetch(const api::PrefetchRequest& request) {
  return ask<api::PrefetchResponse>(
      {.method = "POST", .path = std::string(api::paths::kPrefetch), .body = api::encode(request)});
}

Result<api::PrefetchStatus> TrackerApi::prefetch_status(std::string_view id, std::uint64_t since,
                                                        std::chrono::milliseconds wait) {
  return ask<api::PrefetchStatus>({.path = api::paths::prefetch(id),
                                   .query = api::paths::poll_query(since, wait),
                                   .wait = wait});
}

Result<api::PrefetchStatus> TrackerApi::cancel_prefetch(std::string_view id) {
  return ask<api::PrefetchStatus>({.method = "DELETE", .path = api::paths::prefetch(id)});
}

}  // namespace shoal::cli
