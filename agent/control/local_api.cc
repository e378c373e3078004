#include "agent/control/local_api.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "agent/control/garbage.h"
#include "agent/control/json.h"
#include "core/content/reference.h"
#include "core/daemon/version.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallTimeout{15'000};
constexpr milliseconds kMaxWait{60'000};
constexpr std::uint64_t kMaxBody = 16 * kMiB;  // a publish carries a manifest and a config

Deadline wait_of(const http::Request& request) {
  std::string_view text = request.query_value("wait");
  std::int64_t wait = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), wait);
  return Deadline::after(std::clamp(milliseconds(wait), milliseconds(0), kMaxWait));
}

http::Response answer(const Json& body, int status = 200) {
  return http::Response::json(body.dump(-1, ' ', false, Json::error_handler_t::replace), status);
}

std::string without_slash(std::string text) {
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

LocalApi::LocalApi(Executor executor, std::string socket, Parts parts,
                   std::function<Standing()> standing)
    : parts_(parts),
      standing_(std::move(standing)),
      server_(executor, {.endpoint = {.tcp = {}, .unix_path = std::move(socket)},
                         .tls = nullptr,
                         .name = "local",
                         .limits = {16 * 1024, kMaxBody}}) {
  route("GET", "/v1/status", Who::kAny, &LocalApi::get_status);
  route("GET", "/v1/blobs", Who::kAny, &LocalApi::get_blobs);
  route("POST", "/v1/listings", Who::kOwner, &LocalApi::post_listing);
  route("POST", "/v1/ingests", Who::kOwner, &LocalApi::post_ingest);
  route("GET", "/v1/ingests/{job}", Who::kOwner, &LocalApi::get_ingest);
  route("DELETE", "/v1/ingests/{job}", Who::kOwner, &LocalApi::delete_ingest);
  route("POST", "/v1/publish", Who::kOwner, &LocalApi::post_publish);
  route("POST", "/v1/publications", Who::kOwner, &LocalApi::post_publication);
  route("GET", "/v1/publications/{publication}", Who::kOwner, &LocalApi::get_publication);
  route("DELETE", "/v1/publications/{publication}", Who::kOwner, &LocalApi::delete_publication);
  route("POST", "/v1/pulls", Who::kOwner, &LocalApi::post_pull);
  route("GET", "/v1/pulls/{pull}", Who::kOwner, &LocalApi::get_pull);
  route("DELETE", "/v1/pulls/{pull}", Who::kOwner, &LocalApi::delete_pull);
  route("POST", "/v1/open", Who::kAny, &LocalApi::post_open);
  route("POST", "/v1/want", Who::kAny, &LocalApi::post_want);
  route("POST", "/v1/pin", Who::kOwner, &LocalApi::post_pin);
  route("POST", "/v1/unpin", Who::kOwner, &LocalApi::post_unpin);
  route("POST", "/v1/verify", Who::kOwner, &LocalApi::post_verify);
  route("GET", "/v1/verify/{job}", Who::kOwner, &LocalApi::get_verify);
  route("POST", "/v1/gc", Who::kOwner, &LocalApi::post_gc);
  route("GET", "/v1/explain", Who::kAny, &LocalApi::get_explain);
  route("*", "/v1/tracker/{rest...}", Who::kOwner, &LocalApi::forward);
  server_.on_connection_closed([this](std::uint64_t id) { connection_closed(id); });
}

LocalApi::~LocalApi() = default;

void LocalApi::route(std::string_view method, std::string_view pattern, Who who, Method handler) {
  server_.route(method, pattern, [this, who, handler](Request request) {
    return guarded(who, handler, std::move(request));
  });
}

Task<http::Response> LocalApi::guarded(Who who, Method handler, Request request) {
  const auto& caller = request.peer.unix_peer;
  bool owner = caller && (caller->uid == 0 || caller->uid == ::geteuid());
  if (who == Who::kOwner && !owner) {
    co_return Response::error(
        Error(Errc::kDenied, "only root and the agent's own user may ask this of the agent"));
  }
  co_return co_await (this->*handler)(std::move(request));
}

Status LocalApi::start() { return server_.start(); }

Task<void> LocalApi::stop(Deadline deadline) { return server_.stop(deadline); }

// --- Status
// ----------------------------------------------------------------------------------------

Task<http::Response> LocalApi::get_status(Request) {
  Standing standing = standing_();
  store::SpaceReport space = parts_.store.space();
  co_return answer({{"node", standing.node},
                    {"epoch", standing.epoch},
                    {"version", daemon::version()},
                    {"tracker",
                     {{"url", standing.tracker_url},
                      {"connected", standing.tracker_connected},
                      {"error", standing.tracker_error}}},
                    {"store",
                     {{"used", space.use.used},
                      {"capacity", space.capacity},
                      {"free", space.use.fs_free},
                      {"blobs", parts_.store.list().size()}}},
                    {"rates",
                     {{"peers", standing.peers_rate},
                      {"origin", standing.origin_rate},
                      {"upload", standing.upload_rate}}},
                    {"peers", parts_.fetcher.peers_up()}});
}

Task<http::Response> LocalApi::get_blobs(Request) {
  Json list = Json::array();
  for (const store::BlobInfo& info : parts_.store.list()) {
    list.push_back(blob_json(info, parts_.library.references_of(info.digest)));
  }
  co_return answer(list);
}

Task<http::Response> LocalApi::get_explain(Request request) {
  std::string reference(request.query_value("reference"));
  std::shared_ptr<const Library::Model> model = parts_.library.find(reference);
  if (!model) {
    co_return Response::error(
        Error(Errc::kNotFound, "this node knows nothing of '" + reference + "'"));
  }
  Json files = Json::array();
  std::string first_wait;
  bool complete = true;
  for (const content::ModelFile& file : model->manifest.files) {
    Result<store::BlobInfo> info = parts_.store.info(file.digest);
    std::optional<Fetcher::Report> report = parts_.fetcher.explain(file.digest);
    Json entry = explain_json(file, info ? &*info : nullptr, report ? &*report : nullptr);
    complete = complete && (file.size == 0 || (info && info->complete));
    if (first_wait.empty() && !entry["waits"].empty()) first_wait = entry["waits"][0]["text"];
    files.push_back(std::move(entry));
  }
  // A file that is not fetched yet has no entry: what keeps it from that is what counts.
  if (first_wait.empty()) first_wait = parts_.pulls.waiting_for(model->digest);
  co_return answer({{"reference", reference},
                    {"manifest", model->digest.str()},
                    {"state", complete ? "complete" : "live"},
                    {"waiting_for", first_wait},
                    {"files", std::move(files)}});
}

// --- Publishing
// ------------------------------------------------------------------------------------

Task<http::Response> LocalApi::post_listing(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  Result<OriginQuery> query = query_fields(*body);
  if (!query) co_return Response::error(query.error());
  Origin* origin = parts_.origins.find(query->source);
  if (origin == nullptr) {
    co_return Response::error(
        Error(Errc::kInvalid, "'" + query->source + "' is no kind of origin"));
  }
  auto work = [origin, query = *query]() -> Result<OriginListing> {
    OriginListing found;
    const CancelFlag never{false};
    OriginStatus listed = origin->list(query, found, never);
    if (!listed.status) return fail(listed.status.error());
    return found;
  };
  auto found = co_await parts_.pool.run(work);
  if (!found) co_return Response::error(found.error());
  co_return answer(listing_json(*found));
}

Task<http::Response> LocalApi::post_ingest(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  std::string mode = text_field(*body, "mode");
  std::string path = text_field(*body, "path");
  std::string url = text_field(*body, "url");
  IngestMode wanted = IngestMode::kCopy;
  if (mode == "in-place" && url.empty()) {
    wanted = IngestMode::kInPlace;
  } else if (mode == "hash") {
    wanted = IngestMode::kHash;
  } else if (mode != "copy") {
    co_return Response::error(
        Error(Errc::kInvalid, "mode: copy, hash or, without a url, in-place"));
  }
  if (!url.empty()) {
    Result<RemoteFile> file = remote_file_fields(*body);
    if (!file) co_return Response::error(file.error());
    file->origin = parts_.origins.find(url);
    if (file->origin == nullptr) {
      co_return Response::error(Error(Errc::kInvalid, "'" + url + "' is no kind of origin"));
    }
    co_return answer({{"job", parts_.ingests.start(std::move(*file), wanted)}}, 202);
  }
  if (request.fds.size() != 1) {
    co_return Response::error(
        Error(Errc::kInvalid, "send one descriptor, open for reading, with this request"));
  }
  if (wanted == IngestMode::kInPlace && !path.starts_with('/')) {
    co_return Response::error(Error(Errc::kInvalid, "path: absolute, for in-place"));
  }
  std::string job = parts_.ingests.start(std::move(request.fds[0]), wanted, std::move(path));
  co_return answer({{"job", job}}, 202);
}

Task<http::Response> LocalApi::get_ingest(Request request) {
  auto view = co_await parts_.ingests.wait(std::string(request.param("job")), wait_of(request));
  if (!view) co_return Response::error(view.error());
  co_return answer(ingest_json(*view));
}

Task<http::Response> LocalApi::delete_ingest(Request request) {
  if (!parts_.ingests.cancel(std::string(request.param("job")))) {
    co_return Response::error(Error(Errc::kNotFound, "no such ingest"));
  }
  co_return Response::empty();
}

Task<http::Response> LocalApi::post_publish(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  std::string name = text_field(*body, "reference");
  Result<content::Reference> reference = content::Reference::parse(name);
  if (!reference || reference->tag() == nullptr) {
    co_return Response::error(Error(Errc::kInvalid, "reference: write NAME:TAG"));
  }
  std::string manifest = text_field(*body, "manifest");
  std::string config = text_field(*body, "config");
  Result<std::vector<BlobOrigins>> origins = origins_field(*body, standing_().node);
  if (!origins) co_return Response::error(origins.error());
  Deadline deadline = Deadline::after(4 * kCallTimeout);
  TableSource tables{
      [this](const content::Digest& blob) { return parts_.ingests.table(blob); },
      [this](const content::Digest& blob) { return parts_.ingests.read_whole(blob); }};
  NewModel given{name, std::move(manifest), std::move(config), std::move(*origins)};
  auto model = co_await parts_.publisher.give(std::move(given), std::move(tables), deadline);
  if (!model) co_return Response::error(model.error());
  const content::Digest digest = (*model)->digest;
  auto named = co_await parts_.catalogue.put_reference(name, digest, deadline);
  if (!named) {
    co_return Response::error(named.error().with_context("giving the model to the tracker"));
  }
  for (const content::ModelFile& file : (*model)->manifest.files) {
    parts_.ingests.published(file.digest);
  }
  co_return answer({{"manifest", digest.str()}});
}

Task<http::Response> LocalApi::post_publication(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  Result<Publications::Request> wanted = publication_fields(*body, standing_().node);
  if (!wanted) co_return Response::error(wanted.error());
  for (PublicationFile& file : wanted->files) {
    file.origin = parts_.origins.find(file.file.url);
    if (file.origin == nullptr) {
      co_return Response::error(
          Error(Errc::kInvalid, "'" + file.file.url + "' is no kind of origin"));
    }
  }
  Result<std::string> id = parts_.publications.start(std::move(*wanted));
  if (!id) co_return Response::error(id.error());
  co_return answer({{"publication", *id}}, 202);
}

Task<http::Response> LocalApi::get_publication(Request request) {
  auto view = co_await parts_.publications.wait(std::string(request.param("publication")),
                                                wait_of(request));
  if (!view) co_return Response::error(view.error());
  co_return answer(publication_json(*view));
}

Task<http::Response> LocalApi::delete_publication(Request request) {
  if (!parts_.publications.cancel(std::string(request.param("publication")))) {
    co_return Response::error(Error(Errc::kNotFound, "no such publication"));
  }
  co_return Response::empty();
}

// --- Pulls
// -----------------------------------------------------------------------------------------

Task<http::Response> LocalApi::post_pull(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  Pulls::Request pull;
  pull.id = std::string(request.pull_id());
  pull.reference = text_field(*body, "reference");
  pull.pin = body->value("pin", false);
  std::string cls = text_field(*body, "class");
  // The plan class belongs to readers with an order of their own (POST /v1/want).
  pull.cls = cls == "background" ? swarm::Class::kBackground : swarm::Class::kPrefetch;
  Result<content::Reference> reference = content::Reference::parse(pull.reference);
  if (!reference) co_return Response::error(reference.error());
  // Resolved here, so that an unknown reference is the answer and not a pull that fails.
  if (reference->digest() != nullptr) {
    pull.manifest = *reference->digest();
  } else {
    auto resolved =
        co_await parts_.catalogue.resolve(pull.reference, Deadline::after(kCallTimeout));
    if (resolved) {
      pull.manifest = resolved->manifest;
    } else if (auto known = parts_.library.find(pull.reference);
               known && resolved.error().code() != Errc::kNotFound) {
      pull.manifest = known->digest;
    } else {
      co_return Response::error(resolved.error());
    }
  }
  content::Digest manifest = *pull.manifest;
  std::string id = parts_.pulls.start(std::move(pull));
  co_return answer({{"pull", id}, {"manifest", manifest.str()}}, 202);
}

Task<http::Response> LocalApi::get_pull(Request request) {
  std::string_view text = request.query_value("since");
  std::uint64_t since = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), since);
  auto view =
      co_await parts_.pulls.wait(std::string(request.param("pull")), since, wait_of(request));
  if (!view) co_return Response::error(view.error());
  co_return answer(pull_json(*view));
}

Task<http::Response> LocalApi::delete_pull(Request request) {
  if (!parts_.pulls.cancel(std::string(request.param("pull")))) {
    co_return Response::error(Error(Errc::kNotFound, "no such pull"));
  }
  co_return Response::empty();
}

// --- Reading
// ---------------------------------------------------------------------------------------

Task<http::Response> LocalApi::post_open(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  Result<content::Digest> digest = content::Digest::parse(text_field(*body, "digest"));
  if (!digest) co_return Response::error(digest.error());
  auto work = [this, digest] { return parts_.blobs.find(*digest); };
  auto blob = co_await parts_.pool.run(work);
  if (!blob) co_return Response::error(blob.error());
  Result<store::ReadLease> lease = (*blob)->open_reader();
  if (!lease) co_return Response::error(lease.error());
  const char* state = (*blob)->failed() ? "failed" : (*blob)->complete() ? "complete" : "live";
  Response response = answer({{"size", (*blob)->layout().size()},
                              {"piece_length", (*blob)->layout().piece_length()},
                              {"state", state}});
  response.fds.emplace_back(::fcntl(lease->data_fd(), F_DUPFD_CLOEXEC, 0));
  response.fds.emplace_back(::fcntl(lease->ready_fd(), F_DUPFD_CLOEXEC, 0));
  if (!response.fds[0] || !response.fds[1]) {
    co_return Response::error(Error(Errc::kOverloaded, "the agent has no descriptor left"));
  }
  connections_[request.peer.connection].leases.push_back(std::move(*lease));
  co_return response;
}

Task<http::Response> LocalApi::post_want(Request request) {
  Result<Json> body = parse_json(request.body);
  if (!body) co_return Response::error(body.error());
  Result<WantFields> want = want_fields(*body);
  if (!want) co_return Response::error(want.error());
  auto work = [this, digest = want->digest] { return parts_.blobs.find(digest); };
  auto blob = co_await parts_.pool.run(work);
  if (!blob) co_return Response::error(blob.error());
  const content::BlobLayout layout = (*blob)->layout();
  Connection::Want record{want->cls, {}, std::chrono::steady_clock::now() + want->by};
  for (ByteRange range : want->ranges) {
    content::PieceRange pieces = layout.pieces_of(range);
    if (!pieces.empty()) record.pieces.push_back(pieces);
  }
  if (!(*blob)->complete() && !parts_.fetcher.contains(want->digest)) {
    // Without an answer the peers have to do.
    auto origins =
        co_await parts_.catalogue.origins(want->digest, Deadline::after(milliseconds(500)));
    parts_.inventory.wanted(want->digest, layout.size(), true);
    parts_.fetcher.add(*blob, origins.value_or(std::vector<api::Origin>()),
                       std::string(request.pull_id()));
  }
  connections_[request.peer.connection].wants[want->digest] = std::move(record);
  refresh_wants(want->digest);
  co_return Response::empty();
}

// All connections' wants of a blob, anew: one of them changed or ended.
void LocalApi::refresh_wants(const content::Digest& blob) {
  if (!parts_.fetcher.contains(blob)) return;
  for (swarm::Class cls : {swarm::Class::kFault, swarm::Class::kWindow, swarm::Class::kPlan}) {
    parts_.fetcher.unwant(blob, cls);
  }
  for (const auto& [id, connection] : connections_) {
    auto it = connection.wants.find(blob);
    if (it == connection.wants.end()) continue;
    for (content::PieceRange pieces : it->second.pieces) {
      parts_.fetcher.want(blob, pieces, it->second.cls, it->second.deadline);
    }
  }
}

void LocalApi::connection_closed(std::uint64_t id) {
  auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection ended = std::move(it->second);
  connections_.erase(it);
  for (const auto& [blob, want] : ended.wants) refresh_wants(blob);
}

// --- Keeping and checking
// --------------------------------------------------------------------------

// The model that a body's "reference" or "manifest" names, if this node knows it.
Task<Result<std::shared_ptr<const Library::Model>>> LocalApi::model_of(std::string text) {
  Result<Json> body = parse_json(text);
  if (!body) co_return fail(body.error());
  std::string reference = text_field(*body, "reference");
  std::string manifest = text_field(*body, "manifest");
  std::shared_ptr<const Library::Model> model;
  if (!manifest.empty()) {
    Result<content::Digest> digest = content::Digest::parse(manifest);
    if (!digest) co_return fail(digest.error());
    model = parts_.library.find(*digest);
  } else {
    model = parts_.library.find(reference);
  }
  if (!model) {
    co_return fail(Errc::kNotFound, "'" + (manifest.empty() ? reference : manifest) +
                                        "' is not on this node: pull it first");
  }
  co_return model;
}

http::Response LocalApi::pinned() const {
  Json list = Json::array();
  for (const auto& [name, manifest] : parts_.library.pins()) {
    list.push_back(
        {{"reference", name == manifest.str() ? "" : name}, {"manifest", manifest.str()}});
  }
  return answer({{"pinned", std::move(list)}});
}

Task<http::Response> LocalApi::post_pin(Request request) {
  auto model = co_await model_of(request.body);
  if (!model) co_return Response::error(model.error());
  Result<Json> body = parse_json(request.body);
  std::string name = text_field(*body, "reference");
  if (name.empty()) name = (*model)->digest.str();
  auto work = [this, model = *model, name] {
    parts_.order_pins.keep(*model, name);
    return parts_.library.pin(*model, name);
  };
  Status done = co_await parts_.pool.run(work);
  if (!done) co_return Response::error(done.error());
  co_return pinned();
}

Task<http::Response> LocalApi::post_unpin(Request request) {
  auto model = co_await model_of(request.body);
  if (!model) co_return Response::error(model.error());
  Result<Json> body = parse_json(request.body);
  std::string name = text_field(*body, "reference");
  if (name.empty()) name = (*model)->digest.str();
  auto work = [this, model = *model, name] {
    parts_.order_pins.keep(*model, name);
    return parts_.library.unpin(*model, name);
  };
  Status done = co_await parts_.pool.run(work);
  if (!done) co_return Response::error(done.error());
  co_return pinned();
}

Task<http::Response> LocalApi::post_verify(Request request) {
  auto model = co_await model_of(request.body);
  if (!model) co_return Response::error(model.error());
  co_return answer({{"job", parts_.verifies.start(*model)}}, 202);
}

Task<http::Response> LocalApi::get_verify(Request request) {
  auto view = co_await parts_.verifies.wait(std::string(request.param("job")), wait_of(request));
  if (!view) co_return Response::error(view.error());
  co_return answer(verify_json(*view));
}

Task<http::Response> LocalApi::post_gc(Request request) {
  Result<Json> body = parse_json(request.body.empty() ? "{}" : request.body);
  if (!body) co_return Response::error(body.error());
  bool dry_run = body->value("dry_run", false);
  std::optional<std::uint64_t> target;
  if (auto it = body->find("target_bytes"); it != body->end() && it->is_number_unsigned()) {
    target = it->get<std::uint64_t>();
  }
  auto work = [this, target, dry_run] {
    return collect_garbage(parts_.store, parts_.copies, target, dry_run);
  };
  auto plan = co_await parts_.pool.run(work);
  if (!plan) co_return Response::error(plan.error());
  co_return answer(garbage_json(*plan));
}

// --- The tracker
// -----------------------------------------------------------------------------------

Task<http::Response> LocalApi::forward(Request request) {
  Request onward;
  onward.method = request.method;
  onward.path = without_slash("/v1/" + std::string(request.param("rest")));
  onward.query = std::move(request.query);
  onward.body = std::move(request.body);
  if (auto type = request.headers.get("Content-Type")) {
    onward.headers.set("Content-Type", std::string(*type));
  }
  if (!request.pull_id().empty()) {
    onward.headers.set(http::kPullIdHeader, std::string(request.pull_id()));
  }
  Deadline deadline = Deadline::after(kCallTimeout + wait_of(request).remaining());
  auto response = co_await parts_.catalogue.forward(std::move(onward), deadline);
  if (!response) {
    const Error& error = response.error();
    const bool away = error.code() == Errc::kUnavailable || error.code() == Errc::kTimedOut;
    co_return Response::error(
        away ? error.with_context("this node's agent cannot reach its tracker") : error);
  }
  Response back;
  back.status = response->status;
  back.body = std::move(response->body);
  for (std::string_view name : {"Content-Type", "Retry-After", "Shoal-Retry-After-Ms"}) {
    if (auto value = response->headers.get(name)) back.headers.set(name, std::string(*value));
  }
  co_return back;
}

}  // namespace shoal::agent
