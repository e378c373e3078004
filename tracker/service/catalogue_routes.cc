// Manifests, piece tables, references, origins, statements.
#include <memory>
#include <utility>

#include "core/api/catalogue.h"
#include "core/base/metrics.h"
#include "core/content/piece_table.h"
#include "tracker/service/origin_check.h"
#include "tracker/service/routes.h"

namespace shoal::tracker {
namespace {

// Piece tables that are being sent at a time. They are the tracker's only large answers: beyond
// this agents ask the peers that have them.
constexpr int kTablesAtOnce = 16;
constexpr std::chrono::milliseconds kTableRetry{200};
constexpr std::chrono::seconds kTableTime{60};

http::Response too_large(std::string_view what, std::size_t limit) {
  http::Response response = http::Response::error(Error(
      Errc::kInvalid, std::string(what) + " has at most " + std::to_string(limit) + " bytes"));
  response.status = 413;
  return response;
}

class CatalogueRoutes {
 public:
  explicit CatalogueRoutes(Control& control) : control_(control) {}

  Task<http::Response> put_manifest(http::Request request);
  Task<http::Response> get_manifest(http::Request request);
  Task<http::Response> put_table(http::Request request);
  Task<http::Response> get_table(http::Request request);
  Task<http::Response> put_reference(http::Request request);
  Task<http::Response> get_references(http::Request request);
  Task<http::Response> delete_reference(http::Request request);
  Task<http::Response> resolve(http::Request request);
  Task<http::Response> put_origins(http::Request request);
  Task<http::Response> get_origins(http::Request request);
  Task<http::Response> put_statement(http::Request request);
  Task<http::Response> get_statements(http::Request request);

 private:
  Control& control_;
  const std::shared_ptr<int> tables_sent_ = std::make_shared<int>(0);  // shared with the answers
};

Task<http::Response> CatalogueRoutes::put_manifest(http::Request request) {
  Result<content::Digest> digest = digest_param(request);
  if (!digest) co_return http::Response::error(digest.error());
  auto body = std::make_shared<http::Request>(std::move(request));
  auto job = [body, digest = *digest](Catalogue& catalogue) -> Result<ManifestBlobs> {
    SHOAL_TRY(catalogue.put_manifest(digest, body->headers.value("Content-Type"), body->body,
                                     unix_ms_now()));
    return catalogue.manifest_blobs(digest);
  };
  auto blobs = co_await control_.with_catalogue(job);
  if (!blobs) co_return http::Response::error(blobs.error());
  control_.fleet().set_manifest(*blobs);
  control_.changed();
  co_return http::Response::empty();
}

Task<http::Response> CatalogueRoutes::get_manifest(http::Request request) {
  Result<content::Digest> digest = digest_param(request);
  if (!digest) co_return http::Response::error(digest.error());
  auto job = [digest = *digest](Catalogue& catalogue) { return catalogue.manifest(digest); };
  auto manifest = co_await control_.with_catalogue(job);
  if (!manifest) co_return http::Response::error(manifest.error());
  http::Response response;
  response.headers.set("Content-Type", manifest->media_type);
  response.body = std::move(manifest->bytes);
  co_return response;
}

Task<http::Response> CatalogueRoutes::put_table(http::Request request) {
  Result<content::Digest> digest = digest_param(request);
  if (!digest) co_return http::Response::error(digest.error());
  if (request.body.size() > content::kMaxPieceTableSize) {
    co_return too_large("a piece table", content::kMaxPieceTableSize);
  }
  auto body = std::make_shared<std::string>(std::move(request.body));
  auto job = [body, digest = *digest](Catalogue& catalogue) {
    return catalogue.put_table(digest, *body, unix_ms_now());
  };
  Status status = co_await control_.with_catalogue(job);
  co_return answer_of(status);
}

Task<http::Response> CatalogueRoutes::get_table(http::Request request) {
  static metrics::Counter& refused =
      metrics::counter("shoal_tracker_tables_refused_total",
                       "Piece tables not sent because too many were being sent.");
  Result<content::Digest> digest = digest_param(request);
  if (!digest) co_return http::Response::error(digest.error());
  if (*tables_sent_ >= kTablesAtOnce) {
    refused.add();
    co_return http::Response::error(
        Error(Errc::kOverloaded, "too many piece tables are being sent: ask a peer"), kTableRetry);
  }
  ++*tables_sent_;
  // Counts down when the answer was sent, or dropped.
  std::shared_ptr<void> slot(nullptr, [sent = tables_sent_](void*) { --*sent; });
  auto job = [digest = *digest](Catalogue& catalogue) { return catalogue.table(digest); };
  auto table = co_await control_.with_catalogue(job);
  if (!table) co_return http::Response::error(table.error());
  auto bytes = std::make_shared<std::string>(*std::move(table));
  http::Response response;
  response.headers.set("Content-Type", "application/octet-stream");
  response.stream_length = bytes->size();
  response.stream_body = [bytes, slot](http::Stream* stream) {
    return stream->write_all(std::string_view(*bytes), Deadline::after(kTableTime));
  };
  co_return response;
}

Task<http::Response> CatalogueRoutes::put_reference(http::Request request) {
  Result<content::Reference> reference = reference_query(request);
  if (!reference) co_return http::Response::error(reference.error());
  auto update = api::decode<api::ReferenceUpdate>(request.body);
  if (!update) co_return http::Response::error(update.error());
  auto job = [reference = *reference, manifest = update->manifest](Catalogue& catalogue) {
    return catalogue.put_reference(reference, manifest, unix_ms_now());
  };
  auto put = co_await control_.with_catalogue(job);
  if (!put) co_return http::Response::error(put.error());
  control_.references_changed();
  control_.book().manifest_named(put->record.manifest);
  control_.fleet().set_named(put->record.manifest, true);
  if (put->orphan) control_.manifest_unnamed(*put->orphan);
  control_.changed();
  co_return http::Response::json(api::encode(put->record));
}

Task<http::Response> CatalogueRoutes::get_references(http::Request request) {
  if (request.query.contains("reference")) {
    Result<content::Reference> reference = reference_query(request);
    if (!reference) co_return http::Response::error(reference.error());
    auto job = [reference = *reference](Catalogue& catalogue) {
      return catalogue.reference(reference);
    };
    co_return answer_of(co_await control_.with_catalogue(job));
  }
  Result<std::uint64_t> limit = number_query(request, "limit", api::kMaxPage);
  if (!limit || *limit < 1 || *limit > api::kMaxPage) {
    co_return http::Response::error(
        Error(Errc::kInvalid, "limit must be 1 to " + std::to_string(api::kMaxPage)));
  }
  std::string after(request.query_value("after"));
  auto job = [after, limit = *limit](Catalogue& catalogue) {
    return catalogue.references(after, limit);
  };
  co_return answer_of(co_await control_.with_catalogue(job));
}

Task<http::Response> CatalogueRoutes::delete_reference(http::Request request) {
  Result<content::Reference> reference = reference_query(request);
  if (!reference) co_return http::Response::error(reference.error());
  auto job = [reference = *reference](Catalogue& catalogue) {
    return catalogue.remove_reference(reference, unix_ms_now());
  };
  auto removed = co_await control_.with_catalogue(job);
  if (!removed) co_return http::Response::error(removed.error());
  control_.references_changed();
  if (removed->ingest) control_.ingest_failed(*removed->ingest);
  if (removed->was_last) control_.manifest_unnamed(removed->record.manifest);
  control_.changed();
  co_return http::Response::json(api::encode(removed->record));
}

Task<http::Response> CatalogueRoutes::resolve(http::Request request) {
  Result<content::Reference> reference = reference_query(request);
  if (!reference) co_return http::Response::error(reference.error());
  auto job = [reference = *reference](Catalogue& catalogue) {
    return catalogue.resolve(reference);
  };
  auto blobs = co_await control_.with_catalogue(job);
  if (!blobs) co_return http::Response::error(blobs.error());
  co_return http::Response::json(api::encode(api::Resolved{.reference = reference->str(),
                                                           .manifest = blobs->manifest,
                                                           .media_type = blobs->media_type,
                                                           .manifest_size = blobs->manifest_size,
                                                           .bytes_total = blobs->bytes_total(),
                                                           .files = blobs->files}));
}

Task<http::Response> CatalogueRoutes::put_origins(http::Request request) {
  Result<content::Digest> blob = digest_param(request);
  if (!blob) co_return http::Response::error(blob.error());
  auto origins = api::decode<api::Origins>(request.body);
  if (!origins) co_return http::Response::error(origins.error());
  for (const api::Origin& origin : origins->origins) {
    if (Status ok = check_origin(origin); !ok) co_return http::Response::error(ok.error());
  }
  auto job = [blob = *blob, origins = *origins](Catalogue& catalogue) -> Result<api::Origins> {
    SHOAL_TRY(catalogue.put_origins(blob, origins));
    return catalogue.origins(blob);
  };
  auto all = co_await control_.with_catalogue(job);
  if (!all) co_return http::Response::error(all.error());
  control_.fleet().set_origins(*blob, *all);
  co_return http::Response::empty();
}

Task<http::Response> CatalogueRoutes::get_origins(http::Request request) {
  Result<content::Digest> blob = digest_param(request);
  if (!blob) co_return http::Response::error(blob.error());
  auto job = [blob = *blob](Catalogue& catalogue) { return catalogue.origins(blob); };
  co_return answer_of(co_await control_.with_catalogue(job));
}

Task<http::Response> CatalogueRoutes::put_statement(http::Request request) {
  Result<std::string> id = caller_node(request, control_);
  if (!id) co_return http::Response::error(id.error());
  Result<content::Digest> blob = digest_param(request);
  if (!blob) co_return http::Response::error(blob.error());
  if (request.body.size() > api::kMaxStatementText) {
    co_return too_large("a statement", api::kMaxStatementText);
  }
  // As others will read it: text that is not UTF-8 would come back changed.
  api::Statement statement{*id, std::move(request.body)};
  auto readable = api::decode<api::Statements>(api::encode(api::Statements{{statement}}));
  if (!readable || readable->statements[0] != statement || statement.text.empty()) {
    co_return http::Response::error(Error(Errc::kInvalid, "a statement is text in UTF-8"));
  }
  auto job = [blob = *blob, statement](Catalogue& catalogue) {
    return catalogue.put_statement(blob, statement);
  };
  Status status = co_await control_.with_catalogue(job);
  co_return answer_of(status);
}

Task<http::Response> CatalogueRoutes::get_statements(http::Request request) {
  Result<content::Digest> blob = digest_param(request);
  if (!blob) co_return http::Response::error(blob.error());
  auto job = [blob = *blob](Catalogue& catalogue) { return catalogue.statements(blob); };
  co_return answer_of(co_await control_.with_catalogue(job));
}

}  // namespace

void add_catalogue_routes(http::Server& server, Control& control) {
  auto routes = std::make_shared<CatalogueRoutes>(control);  // owned by its handlers
  auto add = [&](std::string_view method, std::string_view path,
                 Task<http::Response> (CatalogueRoutes::*handler)(http::Request)) {
    server.route(method, path, [routes, handler](http::Request request) {
      return (routes.get()->*handler)(std::move(request));
    });
  };
  add("PUT", "/v1/manifests/{digest}", &CatalogueRoutes::put_manifest);
  add("GET", "/v1/manifests/{digest}", &CatalogueRoutes::get_manifest);
  add("PUT", "/v1/tables/{digest}", &CatalogueRoutes::put_table);
  add("GET", "/v1/tables/{digest}", &CatalogueRoutes::get_table);
  add("PUT", "/v1/references", &CatalogueRoutes::put_reference);
  add("GET", "/v1/references", &CatalogueRoutes::get_references);
  add("DELETE", "/v1/references", &CatalogueRoutes::delete_reference);
  add("GET", "/v1/resolve", &CatalogueRoutes::resolve);
  add("PUT", "/v1/origins/{digest}", &CatalogueRoutes::put_origins);
  add("GET", "/v1/origins/{digest}", &CatalogueRoutes::get_origins);
  add("PUT", "/v1/statements/{digest}/{id}", &CatalogueRoutes::put_statement);
  add("GET", "/v1/statements/{digest}", &CatalogueRoutes::get_statements);
}

}  // namespace shoal::tracker
