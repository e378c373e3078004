#include "agent/mirror/mirror_server.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <optional>
#include <utility>

#include "agent/lane/page_cache.h"
#include "agent/mirror/oci_answer.h"
#include "core/async/run_on.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"
#include "core/content/relative_path.h"
#include "core/http/stream.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxConnections = 1024;
constexpr std::size_t kPageMost = 1000;
// How much is looked at, brought into the page cache and sent at a time.
constexpr std::uint64_t kSendChunk = kMiB;
// After so much the control thread hears how far a reader has come.
constexpr std::uint64_t kAdvanceStep = 4 * kMiB;
// A client that takes nothing of a chunk for so long is cut off.
constexpr milliseconds kSendTimeout{60'000};
constexpr std::chrono::seconds kRetryAfter{2};

http::Server::Options server_options(const http::Endpoint& listen) {
  http::Server::Options options;
  options.endpoint = listen;
  options.name = "mirror";
  options.limits = {.max_head = 16 * 1024, .max_body = 64 * 1024};
  options.max_connections = kMaxConnections;
  return options;
}

std::string_view kind_name(OciRequest::Kind kind) {
  switch (kind) {
    case OciRequest::Kind::kManifest:
      return "manifest";
    case OciRequest::Kind::kBlob:
      return "blob";
    default:
      return "other";
  }
}

metrics::Counter& answers(std::string_view kind, int status) {
  return metrics::counter("shoal_agent_mirror_answers_total",
                          "Answers of the OCI mirror, by what was asked for and their status.",
                          {{"kind", std::string(kind)}, {"status", std::to_string(status)}});
}

metrics::Counter& sent_bytes() {
  static metrics::Counter& counter = metrics::counter(
      "shoal_agent_mirror_sent_bytes_total", "Bytes of blobs sent to clients of the OCI mirror.");
  return counter;
}

metrics::Counter& broken(std::string_view why) {
  return metrics::counter("shoal_agent_mirror_broken_total",
                          "Blobs that the OCI mirror began to send and did not end.",
                          {{"why", std::string(why)}});
}

metrics::Gauge& reading() {
  static metrics::Gauge& gauge = metrics::gauge("shoal_agent_mirror_readers",
                                                "Blobs being sent to clients of the OCI mirror.");
  return gauge;
}

std::string_view why_broken(Errc code) {
  switch (code) {
    case Errc::kTimedOut:
      return "stalled";
    case Errc::kUnavailable:
    case Errc::kCancelled:
      return "client";
    default:
      return "content";
  }
}

Task<std::string> advance(MirrorContent* content, MirrorContent::ReaderId id,
                          std::uint64_t offset) {
  co_return content->advance(id, offset);
}

Task<MirrorContent::ReaderId> begin(MirrorContent* content, MirrorBlob blob, ByteRange range,
                                    std::string pull_id) {
  co_return content->begin_reading(std::move(blob), range, std::move(pull_id));
}

// Stands for a body that is not sent: the answer to a HEAD has the length of the real one.
void head_only(http::Response& response, std::uint64_t length) {
  response.stream_length = length;
  response.stream_body = [](http::Stream*) -> Task<Status> {
    co_return fail(Errc::kInternal, "an answer to HEAD has no body");
  };
}

}  // namespace

// One answer with bytes of a blob, from its question to its last byte.
struct MirrorServer::Reading {
  Reading(MirrorServer& owner, MirrorBlob content, ByteRange bytes)
      : server(owner), part(std::move(content)), range(bytes) {
    ++server.readers_;
    reading().add(1);
  }
  ~Reading() {
    --server.readers_;
    reading().add(-1);
    if (!id) return;
    asio::post(server.control_,
               [&content = server.content_, id = *id] { content.end_reading(id); });
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  MirrorServer& server;
  const MirrorBlob part;
  const ByteRange range;
  std::string pull_id;
  std::uint64_t connection = 0;
  std::optional<MirrorContent::ReaderId> id;
  std::shared_ptr<store::Blob> blob;
  std::optional<store::ReadLease> lease;  // not evicted meanwhile
  std::uint64_t told = 0;                 // the offset that the control thread knows
  std::uint64_t version = 0;              // of the blob, when bytes last arrived
  Clock::time_point last_bytes = Clock::now();
};

MirrorServer::MirrorServer(Executor executor, Executor control, MirrorContent& content,
                           BlockingPool& pool, Options options)
    : executor_(executor),
      control_(std::move(control)),
      content_(content),
      pool_(pool),
      options_(std::move(options)),
      server_(executor, server_options(options_.listen)),
      arrived_(executor) {
  for (const char* pattern : {"/v2", "/v2/{rest...}"}) {
    server_.route("*", pattern,
                  [this](http::Request request) { return answer(std::move(request)); });
  }
}

MirrorServer::~MirrorServer() = default;

Task<Status> MirrorServer::start() { co_return server_.start(); }

Task<void> MirrorServer::stop(Deadline deadline) {
  stopping_ = true;
  arrived_.close();
  co_await server_.stop(deadline);
}

void MirrorServer::pieces_ready() {
  // Written, not just read: either this comes after the waiter's own change of the counter and sees
  // it, or that one comes after this and the waiter sees the pieces.
  if (waiting_.fetch_add(0) == 0) return;
  if (rung_.exchange(true)) return;
  asio::post(executor_, [this] {
    rung_.store(false);
    arrived_.notify_all();
  });
}

// --- Questions
// -------------------------------------------------------------------------------------

Task<http::Response> MirrorServer::answer(http::Request request) {
  ParsedOciRequest parsed = parse_oci_request(request.param("rest"));
  const std::string_view kind =
      kind_name(parsed.request ? parsed.request->kind : OciRequest::Kind::kBase);
  http::Response response = co_await route(std::move(request), std::move(parsed));
  answers(kind, response.status).add();
  co_return response;
}

Task<http::Response> MirrorServer::route(http::Request request, ParsedOciRequest parsed) {
  if (request.method != "GET" && request.method != "HEAD") {
    co_return oci_error(
        {405, kUnsupported, "this registry is read only: publish with `shoal publish`"});
  }
  const std::string ns(request.query_value("ns"));
  if (!is_own_namespace(ns, request.headers.value("Host"), options_.names)) {
    co_return oci_error({404, kNameUnknown,
                         "this registry has the models of its cluster, and nothing of '" +
                             content::escape_for_message(ns) + "'"});
  }
  if (!parsed.request) co_return oci_error(parsed.error);
  switch (parsed.request->kind) {
    case OciRequest::Kind::kBase:
      co_return oci_json("{}");
    case OciRequest::Kind::kManifest:
      co_return co_await manifest(std::move(request), std::move(*parsed.request));
    case OciRequest::Kind::kBlob:
      co_return co_await blob(std::move(request), std::move(*parsed.request));
    case OciRequest::Kind::kReferrers:
      co_return co_await referrers(std::move(*parsed.request));
    case OciRequest::Kind::kCatalog:
    case OciRequest::Kind::kTags:
      co_return co_await list(std::move(request), std::move(*parsed.request));
  }
  co_return oci_error({500, kUnavailable, "not understood"});
}

// What is not found is the name if nothing has that name.
Task<http::Response> MirrorServer::failed(Error error, std::string name, std::string_view unknown) {
  if (error.code() == Errc::kNotFound) {
    auto known = co_await run_on(control_, content_.knows(name));
    const bool no_name = known && !*known;
    co_return oci_error({404, no_name ? kNameUnknown : unknown,
                         no_name ? "nothing here has the name " + name : error.message()});
  }
  const int status = error.code() == Errc::kTimedOut  ? 504
                     : error.code() == Errc::kNoSpace ? 507
                                                      : 503;
  co_return oci_error({status, kUnavailable, error.message()}, kRetryAfter);
}

Task<http::Response> MirrorServer::manifest(http::Request request, OciRequest asked) {
  Result<content::Reference> reference =
      asked.digest ? content::Reference::by_digest(asked.name, *asked.digest)
                   : content::Reference::by_tag(asked.name, asked.tag);
  if (!reference) co_return oci_error({400, kNameInvalid, reference.error().message()});
  const bool head = request.method == "HEAD";
  auto found = co_await run_on(control_, content_.manifest(std::move(*reference), head));
  if (!found) co_return co_await failed(found.error(), asked.name, kManifestUnknown);
  // Manifests are short: they are sent whole, whatever range is asked for.
  request.headers.remove("Range");
  const Selection selection = select_bytes(request.headers, found->digest, found->size);
  http::Response response = oci_content(found->digest, found->media_type, selection, found->size);
  if (selection.status != 200) co_return response;
  response.body = std::move(found->bytes);
  if (head) head_only(response, found->size);
  co_return response;
}

Task<http::Response> MirrorServer::referrers(OciRequest asked) {
  auto known = co_await run_on(control_, content_.knows(asked.name));
  if (!known) co_return co_await failed(known.error(), asked.name, kNameUnknown);
  if (!*known) co_return oci_error({404, kNameUnknown, "nothing here has the name " + asked.name});
  co_return oci_json(no_referrers_body(), "application/vnd.oci.image.index.v1+json");
}

Task<http::Response> MirrorServer::list(http::Request request, OciRequest asked) {
  std::optional<OciPage> page = parse_page(request.query, kPageMost);
  if (!page) co_return oci_error({400, kUnsupported, "n: a number; last: an entry of the list"});
  const bool tags = asked.kind == OciRequest::Kind::kTags;
  Task<Result<MirrorList>> question =
      tags ? content_.tags(asked.name, *page) : content_.names(*page);
  auto found = co_await run_on(control_, std::move(question));
  if (!found) co_return co_await failed(found.error(), asked.name, kNameUnknown);
  http::Response response =
      oci_json(tags ? tags_body(asked.name, found->entries) : catalog_body(found->entries));
  if (found->more && !found->entries.empty()) {
    response.headers.set("Link", next_page(request.path, page->n, found->entries.back()));
  }
  co_return response;
}

// --- Blobs
// -----------------------------------------------------------------------------------------

Task<http::Response> MirrorServer::blob(http::Request request, OciRequest asked) {
  auto part = co_await run_on(control_, content_.blob(asked.name, *asked.digest));
  if (!part) co_return co_await failed(part.error(), asked.name, kBlobUnknown);
  const Selection selection = select_bytes(request.headers, part->digest, part->size);
  http::Response response = oci_content(part->digest, part->media_type, selection, part->size);
  if (selection.status != 200 && selection.status != 206) co_return response;
  const ByteRange range = selection.range;
  if (range.empty()) co_return response;  // an empty blob: the head says it all
  if (request.method == "HEAD") {
    head_only(response, range.length);
    co_return response;
  }
  if (readers_ >= options_.max_readers) {
    co_return oci_error({429, kTooManyRequests, "too many blobs are being read"}, kRetryAfter);
  }
  auto reading = std::make_shared<Reading>(*this, std::move(*part), range);
  reading->pull_id = request.pull_id().empty() ? random_hex(8) : std::string(request.pull_id());
  reading->connection = request.peer.connection;
  reading->told = range.offset;
  // Before the head is sent, so that what cannot be had is an error that clients understand.
  Status opened = co_await open(reading);
  if (opened) opened = co_await arrival(reading.get(), range.offset);
  if (!opened) {
    log::info("mirror: a blob cannot be had", {{"digest", reading->part.digest.str()},
                                               {"pull_id", reading->pull_id},
                                               {"err", opened.error()}});
    co_return co_await failed(opened.error(), asked.name, kBlobUnknown);
  }
  response.stream_length = range.length;
  response.stream_body = [this, reading](http::Stream* stream) { return send(stream, reading); };
  co_return response;
}

Task<Status> MirrorServer::open(std::shared_ptr<Reading> reading) {
  reading->id =
      co_await run_on(control_, begin(&content_, reading->part, reading->range, reading->pull_id));
  for (;;) {
    auto opened =
        co_await run_on(control_, content_.opened(*reading->id, Deadline::after(options_.look)));
    if (opened) {
      reading->blob = std::move(*opened);
      break;
    }
    if (opened.error().code() != Errc::kTimedOut) co_return fail(opened.error());
    if (stopping_) co_return fail(Errc::kCancelled, "the agent stops");
    if (server_.asker_left(reading->connection))
      co_return fail(Errc::kCancelled, "the client left");
    if (Clock::now() - reading->last_bytes > options_.stall) co_return fail(opened.error());
  }
  auto work = [blob = reading->blob] { return blob->open_reader(); };
  auto lease = co_await pool_.run(work);
  if (!lease) co_return fail(lease.error());
  reading->lease = std::move(*lease);
  reading->version = reading->blob->version();
  co_return Status();
}

// Returns once the piece at `offset` is there.
Task<Status> MirrorServer::arrival(Reading* reading, std::uint64_t offset) {
  const store::Blob& blob = *reading->blob;
  const content::PieceIndex piece = blob.layout().piece_at(offset);
  if (blob.has(piece)) co_return Status();
  struct Waiting {
    explicit Waiting(std::atomic<std::size_t>& counter) : count(counter) { ++count; }
    ~Waiting() { --count; }
    std::atomic<std::size_t>& count;
  } counted(waiting_);
  std::string waits_for;
  // What is within the window was asked for already.
  bool tell = offset - reading->told >= kAdvanceStep;
  for (;;) {
    if (tell) {
      waits_for = co_await run_on(control_, advance(&content_, *reading->id, offset));
      reading->told = offset;
    }
    tell = false;
    const Deadline look = Deadline::after(options_.look);
    while (!tell) {
      if (stopping_) co_return fail(Errc::kCancelled, "the agent stops");
      if (blob.failed()) co_return fail(Errc::kConflict, "the blob was withdrawn");
      if (blob.has(piece)) co_return Status();
      const Clock::time_point now = Clock::now();
      if (const std::uint64_t version = blob.version(); version != reading->version) {
        reading->version = version;
        reading->last_bytes = now;
      }
      const auto quiet = std::chrono::duration_cast<milliseconds>(now - reading->last_bytes);
      if (quiet > options_.stall) {
        if (waits_for.empty()) {
          waits_for = co_await run_on(control_, advance(&content_, *reading->id, offset));
        }
        co_return fail(Errc::kTimedOut,
                       "no verified byte for " + std::to_string(quiet.count()) + " ms" +
                           (waits_for.empty() ? "" : ", waiting for " + waits_for));
      }
      if (server_.asker_left(reading->connection)) {
        co_return fail(Errc::kCancelled, "the client left");
      }
      const Deadline stalled = Deadline::at(reading->last_bytes + options_.stall + milliseconds(1));
      Status woken = co_await arrived_.wait(std::min(look, stalled));
      tell = !woken && look.expired();
    }
  }
}

// The body of an answer. Every error ends the connection, so that a short body never looks whole.
Task<Status> MirrorServer::send(http::Stream* stream, std::shared_ptr<Reading> reading) {
  const store::Blob& blob = *reading->blob;
  ByteRange left = reading->range;
  Status done;
  while (!left.empty()) {
    done = co_await arrival(reading.get(), left.offset);
    if (!done) break;
    const content::BlobLayout& layout = blob.layout();
    content::PieceIndex piece = layout.piece_at(left.offset);
    const std::uint64_t most = std::min(left.end(), left.offset + kSendChunk);
    while (layout.range_of(piece).end() < most && blob.has(piece + 1)) ++piece;
    const std::uint64_t end = std::min(most, layout.range_of(piece).end());
    auto sent = co_await send_ready(stream, reading.get(), {left.offset, end - left.offset});
    if (!sent) {
      done = fail(sent.error());
      break;
    }
    if (!*sent) continue;
    reading->last_bytes = Clock::now();
    left = {end, left.end() - end};
    if (end - reading->told >= kAdvanceStep && !left.empty()) {
      reading->told = end;
      asio::post(control_,
                 [&content = content_, id = *reading->id, end] { (void)content.advance(id, end); });
    }
  }
  if (!done) {
    broken(why_broken(done.error().code())).add();
    log::info("mirror: a blob was not sent whole", {{"digest", reading->part.digest.str()},
                                                    {"pull_id", reading->pull_id},
                                                    {"left", left.length},
                                                    {"err", done.error()}});
  }
  co_return done;
}

// False if pieces of it were taken back meanwhile: they will come again.
Task<Result<bool>> MirrorServer::send_ready(http::Stream* stream, Reading* reading,
                                            ByteRange range) {
  if (stopping_) co_return fail(Errc::kCancelled, "the agent stops");
  Result<int> file = reading->blob->serve(range);
  if (!file && file.error().code() == Errc::kUnavailable) co_return false;
  if (!file) co_return fail(file.error());
  if (!resident(*file, range)) {
    auto work = [file = *file, range] { read_ahead(file, range); };
    // On the pool, so that a cold disk does not hold up the thread's other connections.
    (void)co_await pool_.run(work);
  }
  SHOAL_CO_TRY(
      co_await stream->send_file(*file, range.offset, range.length, Deadline::after(kSendTimeout)));
  sent_bytes().add(range.length);
  co_return true;
}

}  // namespace shoal::agent
