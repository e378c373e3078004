#include "agent/tracker/catalogue_client.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "agent/tracker/answer.h"
#include "core/api/paths.h"

namespace shoal::agent {

namespace {

namespace paths = api::paths;

constexpr std::size_t kConnections = 8;
constexpr std::size_t kPollConnections = 64;  // each is one operator's command that watches
constexpr std::string_view kContentType = "Content-Type";
constexpr std::string_view kJson = "application/json";
constexpr std::string_view kBytes = "application/octet-stream";

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The rest of `path` behind `prefix` and a slash, if it is one segment.
std::string_view last_segment(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix) || path.size() <= prefix.size() || path[prefix.size()] != '/') {
    return {};
  }
  std::string_view rest = path.substr(prefix.size() + 1);
  return rest.find('/') == std::string_view::npos ? rest : std::string_view();
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= api::kMaxName &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '-' || c == '_';
         });
}

// Only what a manifest, a status or an order is about travels on.
http::Headers copy_headers(const http::Headers& from, std::span<const std::string_view> names) {
  http::Headers headers;
  for (std::string_view name : names) {
    if (auto value = from.get(name)) headers.set(name, std::string(*value));
  }
  return headers;
}

}  // namespace

bool forwardable(const http::Request& request) {
  const std::string& path = request.path;
  const bool get = request.method == "GET";
  if (path == paths::kPrefetch) return request.method == "POST";
  if (is_id(last_segment(path, paths::kPrefetch))) return get || request.method == "DELETE";
  if (path == paths::kReferences) return get || request.method == "DELETE";
  if (!get) return false;
  if (path == paths::kResolve || path == paths::kNodes || path == paths::kStatus ||
      path == paths::kVersion || path == paths::kIngests) {
    return true;
  }
  for (std::string_view documents : {"/v1/manifests", "/v1/tables"}) {
    if (content::Digest::parse(last_segment(path, documents))) return true;
  }
  return false;
}

CatalogueClient::CatalogueClient(Executor executor, const TrackerAddress& tracker)
    : calls_(executor, tracker_client_options(tracker, kConnections)),
      polls_(executor, tracker_client_options(tracker, kPollConnections)) {}

void CatalogueClient::close() {
  calls_.close();
  polls_.close();
}

Task<Result<api::Resolved>> CatalogueClient::resolve(std::string reference, Deadline deadline) {
  http::Request request =
      http::Request::get(std::string(paths::kResolve), paths::reference_query(reference));
  auto answer = co_await calls_.exchange(std::move(request), deadline);
  co_return decode_answer<api::Resolved>(answer);
}

Task<Result<CatalogueClient::ManifestBytes>> CatalogueClient::manifest(content::Digest digest,
                                                                       Deadline deadline) {
  auto answer = co_await calls_.request(http::Request::get(paths::manifest(digest)), deadline);
  if (!answer) co_return fail(answer.error());
  if (content::digest_of(answer->body) != digest) {
    co_return fail(Errc::kCorrupt,
                   "the tracker's manifest " + digest.str() +
                       " has another digest: " + content::digest_of(answer->body).str());
  }
  co_return ManifestBytes{std::move(answer->body),
                          std::string(answer->headers.value(kContentType))};
}

Task<CatalogueClient::TableAnswer> CatalogueClient::table(content::Digest blob, Deadline deadline) {
  auto answer = co_await calls_.exchange(http::Request::get(paths::table(blob)), deadline);
  if (!answer) co_return TableAnswer{fail(answer.error()), {}};
  if (!answer->ok()) {
    co_return TableAnswer{fail(http::response_error(*answer)), http::retry_after(answer->headers)};
  }
  Result<content::PieceTable> table = content::PieceTable::parse(bytes_of(answer->body));
  if (table && table->digest() != blob) {
    table = fail(Errc::kCorrupt, "it is of another blob: " + table->digest().str());
  }
  if (!table) {
    table = fail(table.error().with_context("the tracker's piece table of " + blob.str()));
  }
  co_return TableAnswer{std::move(table), {}};
}

Task<Result<std::vector<api::Origin>>> CatalogueClient::origins(content::Digest blob,
                                                                Deadline deadline) {
  auto answer = co_await calls_.exchange(http::Request::get(paths::origins(blob)), deadline);
  Result<api::Origins> origins = decode_answer<api::Origins>(answer);
  if (!origins) co_return fail(origins.error());
  co_return std::move(origins->origins);
}

Task<Result<api::ReferenceList>> CatalogueClient::references(std::string after, Deadline deadline) {
  auto answer = co_await calls_.exchange(
      http::Request::get(std::string(paths::kReferences), paths::list_query(after, api::kMaxPage)),
      deadline);
  co_return decode_answer<api::ReferenceList>(answer);
}

Task<Result<std::set<content::Digest>>> CatalogueClient::named_manifests(
    std::chrono::milliseconds page_timeout) {
  std::set<content::Digest> named;
  std::string after;
  do {
    auto page = co_await references(after, Deadline::after(page_timeout));
    if (!page) co_return fail(page.error());
    for (const api::ReferenceRecord& record : page->references) named.insert(record.manifest);
    after = page->next;
  } while (!after.empty());
  co_return named;
}

Task<Result<std::vector<api::Statement>>> CatalogueClient::statements(content::Digest blob,
                                                                      Deadline deadline) {
  auto answer = co_await calls_.exchange(http::Request::get(paths::statements(blob)), deadline);
  Result<api::Statements> statements = decode_answer<api::Statements>(answer);
  if (!statements) co_return fail(statements.error());
  co_return std::move(statements->statements);
}

Task<Status> CatalogueClient::put_statement(content::Digest blob, std::string node,
                                            std::string text, Deadline deadline) {
  co_return co_await put(paths::statement(blob, node), {}, "text/plain; charset=utf-8",
                         std::move(text), deadline);
}

Task<Status> CatalogueClient::put(std::string path, http::Query query, std::string content_type,
                                  std::string body, Deadline deadline) {
  http::Request request;
  request.method = "PUT";
  request.path = std::move(path);
  request.query = std::move(query);
  request.headers.set(kContentType, std::move(content_type));
  request.body = std::move(body);
  auto answer = co_await calls_.request(std::move(request), deadline);
  if (!answer) co_return fail(answer.error());
  co_return Status();
}

Task<Status> CatalogueClient::put_manifest(content::Digest digest, std::string media_type,
                                           std::string bytes, Deadline deadline) {
  co_return co_await put(paths::manifest(digest), {}, std::move(media_type), std::move(bytes),
                         deadline);
}

Task<Status> CatalogueClient::put_table(content::PieceTable table, Deadline deadline) {
  const std::vector<std::byte> bytes = table.serialise();
  std::string body(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  co_return co_await put(paths::table(table.digest()), {}, std::string(kBytes), std::move(body),
                         deadline);
}

Task<Status> CatalogueClient::put_origins(content::Digest blob, std::vector<api::Origin> origins,
                                          Deadline deadline) {
  std::string body = api::encode(api::Origins{std::move(origins)});
  co_return co_await put(paths::origins(blob), {}, std::string(kJson), std::move(body), deadline);
}

Task<Result<api::ReferenceRecord>> CatalogueClient::put_reference(std::string reference,
                                                                  content::Digest manifest,
                                                                  Deadline deadline) {
  http::Request request;
  request.method = "PUT";
  request.path = paths::kReferences;
  request.query = paths::reference_query(reference);
  request.headers.set(kContentType, std::string(kJson));
  request.body = api::encode(api::ReferenceUpdate{manifest});
  auto answer = co_await calls_.exchange(std::move(request), deadline);
  co_return decode_answer<api::ReferenceRecord>(answer);
}

Task<Status> CatalogueClient::put_ingest(content::Digest manifest, api::IngestUpdate update,
                                         Deadline deadline) {
  co_return co_await put(paths::ingest(manifest), {}, std::string(kJson), api::encode(update),
                         deadline);
}

Task<Result<api::IngestStatus>> CatalogueClient::ingest(content::Digest manifest,
                                                        std::uint64_t since,
                                                        std::chrono::milliseconds wait,
                                                        Deadline deadline) {
  http::Request request =
      http::Request::get(paths::ingest(manifest), paths::poll_query(since, wait));
  auto answer = co_await polls_.exchange(std::move(request), deadline);
  co_return decode_answer<api::IngestStatus>(answer);
}

Task<Result<http::Response>> CatalogueClient::forward(http::Request request, Deadline deadline) {
  if (!forwardable(request)) {
    co_return fail(Errc::kDenied,
                   request.method + " " + request.path + " is not passed on to the tracker");
  }
  static constexpr std::array<std::string_view, 2> kAskedWith = {kContentType, http::kPullIdHeader};
  static constexpr std::array<std::string_view, 3> kAnsweredWith = {kContentType, "Retry-After",
                                                                    http::kRetryAfterMsHeader};
  http::Request asked;
  asked.method = std::move(request.method);
  asked.path = std::move(request.path);
  asked.query = std::move(request.query);
  asked.headers = copy_headers(request.headers, kAskedWith);
  asked.body = std::move(request.body);
  http::Client& client = asked.query.contains("wait") ? polls_ : calls_;
  auto answer = co_await client.exchange(std::move(asked), deadline);
  if (!answer) co_return fail(answer.error());
  http::Response response;
  response.status = answer->status;
  response.headers = copy_headers(answer->headers, kAnsweredWith);
  response.body = std::move(answer->body);
  co_return response;
}

}  // namespace shoal::agent
