#include "core/agent_client/parse.h"

#include "core/agent_client/json.h"
#include "core/base/hex.h"

namespace shoal::agent_client {
namespace {

// What a status says where a body does not: a proxy of the agent's own, or a refusal before JSON.
Errc errc_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
      return Errc::kDenied;
    case 404:
      return Errc::kNotFound;
    case 408:
    case 504:
      return Errc::kTimedOut;
    case 409:
      return Errc::kConflict;
    case 422:
      return Errc::kCorrupt;
    case 429:
    case 503:
      return Errc::kOverloaded;
    case 502:
      return Errc::kUnavailable;
    case 507:
      return Errc::kNoSpace;
    default:
      return status >= 400 && status < 500 ? Errc::kInvalid : Errc::kInternal;
  }
}

template <typename T>
Result<T> finish(const JsonReader& reader, T value) {
  if (Status status = reader.status(); !status) return fail(status.error());
  return value;
}

std::chrono::milliseconds milliseconds(std::uint64_t value) {
  // A larger one would overflow arithmetic with clocks; it means "for ever" anyway.
  constexpr std::uint64_t kLongest = 1'000'000'000'000;
  return std::chrono::milliseconds(std::min(value, kLongest));
}

}  // namespace

Error parse_error(int status, std::string_view body) {
  JsonReader reader(body);
  if (reader.status()) {
    std::optional<Error> error = error_of(reader, reader.get(reader.root(), "error"));
    if (error && reader.status()) return *error;
  }
  return Error(errc_of_status(status), "the agent answered with status " + std::to_string(status));
}

Result<std::string> parse_job(std::string_view body) {
  JsonReader reader(body);
  std::string job = reader.text(reader.root(), "job");
  if (job.empty()) reader.wrong("job", "is missing");
  return finish(reader, std::move(job));
}

Result<AgentStatus> parse_status(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  AgentStatus out;
  out.node = reader.text(root, "node");
  out.epoch = reader.text(root, "epoch");
  out.version = reader.text(root, "version");
  if (const Json& tracker = reader.get(root, "tracker"); !tracker.is_null()) {
    out.tracker_url = reader.text(tracker, "url");
    out.tracker_connected = reader.flag(tracker, "connected");
    out.tracker_error = reader.text(tracker, "error");
  }
  if (const Json& store = reader.get(root, "store"); !store.is_null()) {
    out.store_used = reader.number(store, "used");
    out.store_capacity = reader.number(store, "capacity");
    out.store_free = reader.number(store, "free");
    out.blobs = reader.number(store, "blobs");
  }
  if (const Json& rates = reader.get(root, "rates"); !rates.is_null()) {
    out.peers_rate = reader.real(rates, "peers");
    out.origin_rate = reader.real(rates, "origin");
    out.upload_rate = reader.real(rates, "upload");
  }
  out.peers = reader.number(root, "peers");
  return finish(reader, std::move(out));
}

Result<std::vector<BlobInfo>> parse_blobs(std::string_view body) {
  JsonReader reader(body);
  if (!reader.root().is_array()) reader.wrong("", "must be an array");
  std::vector<BlobInfo> out;
  for (const Json& entry : reader.root()) {
    if (!reader.status()) break;
    BlobInfo& blob = out.emplace_back();
    blob.digest = reader.digest(entry, "digest");
    blob.size = reader.number(entry, "size");
    blob.bytes_have = reader.number(entry, "bytes_have");
    blob.state = reader.text(entry, "state");
    blob.pinned = reader.flag(entry, "pinned");
    blob.opened = reader.flag(entry, "opened");
    double used = reader.real(entry, "last_used_ms_ago");
    if (used >= 0 && !reader.get(entry, "last_used_ms_ago").is_null()) {
      blob.last_used_ago = milliseconds(static_cast<std::uint64_t>(std::min(used, 1e15)));
    }
    blob.references = reader.texts(entry, "references");
  }
  return finish(reader, std::move(out));
}

Result<OriginListing> parse_listing(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  OriginListing out;
  out.source = reader.text(root, "source");
  if (const Json& annotations = reader.get(root, "annotations"); annotations.is_object()) {
    for (const auto& [key, value] : annotations.items()) {
      out.annotations[key] = reader.text(annotations, key.c_str());
    }
  }
  for (const Json& entry : reader.list(root, "files")) {
    if (!reader.status()) break;
    OriginFile& file = out.files.emplace_back();
    file.path = reader.text(entry, "path");
    file.url = reader.text(entry, "url");
    file.size = reader.number(entry, "size");
    file.version = reader.text(entry, "version");
    if (!reader.text(entry, "digest").empty()) file.digest = reader.digest(entry, "digest");
  }
  return finish(reader, std::move(out));
}

Result<IngestState> parse_ingest(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  IngestState out;
  constexpr std::string_view kPhases[] = {"running", "done", "failed"};
  out.phase = static_cast<IngestState::Phase>(reader.choice(root, "state", kPhases));
  out.bytes_done = reader.number(root, "bytes_done");
  out.bytes_total = reader.number(root, "bytes_total");
  if (out.phase == IngestState::Phase::kDone) {
    out.digest = reader.digest(root, "digest");
    out.size = reader.number(root, "size");
    out.how = reader.text(root, "how");
    if (std::string hex = reader.text(root, "pieces_root"); !hex.empty()) {
      if (!from_hex(hex, out.pieces_root.emplace())) {
        reader.wrong("pieces_root", "must be 64 hex digits");
      }
    }
  }
  if (out.phase == IngestState::Phase::kFailed) {
    out.error = error_of(reader, reader.get(root, "error"))
                    .value_or(Error(Errc::kInternal, "the agent gave no reason"));
  }
  return finish(reader, std::move(out));
}

Result<content::Digest> parse_published(std::string_view body) {
  JsonReader reader(body);
  return finish(reader, reader.digest(reader.root(), "manifest"));
}

Result<PullStarted> parse_pull_started(std::string_view body) {
  JsonReader reader(body);
  PullStarted out;
  out.pull = reader.text(reader.root(), "pull");
  if (out.pull.empty()) reader.wrong("pull", "is missing");
  out.manifest = reader.digest(reader.root(), "manifest");
  return finish(reader, std::move(out));
}

Result<PullProgress> parse_pull_progress(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  PullProgress out;
  constexpr std::string_view kPhases[] = {"running", "complete", "failed", "cancelled"};
  out.version = reader.number(root, "version");
  out.phase = static_cast<PullProgress::Phase>(reader.choice(root, "state", kPhases));
  out.manifest = reader.digest(root, "manifest");
  out.reference = reader.text(root, "reference");
  out.bytes_total = reader.number(root, "bytes_total");
  out.bytes_done = reader.number(root, "bytes_done");
  out.bytes_peers = reader.number(root, "bytes_peers");
  out.bytes_origin = reader.number(root, "bytes_origin");
  out.bytes_local = reader.number(root, "bytes_local");
  out.rate = reader.real(root, "rate");
  if (!reader.get(root, "eta_ms").is_null()) {
    out.eta = milliseconds(reader.number(root, "eta_ms"));
  }
  out.waiting_for = reader.text(root, "waiting_for");
  for (const Json& entry : reader.list(root, "files")) {
    if (!reader.status()) break;
    FileProgress& file = out.files.emplace_back();
    file.path = reader.text(entry, "path");
    file.digest = reader.digest(entry, "digest");
    file.size = reader.number(entry, "size");
    file.bytes_done = reader.number(entry, "bytes_done");
  }
  out.error = error_of(reader, reader.get(root, "error"));
  return finish(reader, std::move(out));
}

Result<std::string> parse_publication_id(std::string_view body) {
  JsonReader reader(body);
  std::string id = reader.text(reader.root(), "publication");
  if (id.empty()) reader.wrong("publication", "is missing");
  return finish(reader, std::move(id));
}

Result<PublicationState> parse_publication(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  PublicationState out;
  constexpr std::string_view kPhases[] = {"running", "complete", "failed", "cancelled"};
  out.phase = static_cast<PublicationState::Phase>(reader.choice(root, "state", kPhases));
  out.bytes_total = reader.number(root, "bytes_total");
  out.bytes_done = reader.number(root, "bytes_done");
  out.bytes_origin = reader.number(root, "bytes_origin");
  out.bytes_peers = reader.number(root, "bytes_peers");
  out.bytes_local = reader.number(root, "bytes_local");
  out.waiting_for = reader.text(root, "waiting_for");
  const bool complete = out.phase == PublicationState::Phase::kComplete;
  if (complete) out.manifest = reader.digest(root, "manifest");
  for (const Json& entry : reader.list(root, "files")) {
    if (!reader.status()) break;
    PublicationState::File& file = out.files.emplace_back();
    file.path = reader.text(entry, "path");
    file.size = reader.number(entry, "size");
    file.bytes_done = reader.number(entry, "bytes_done");
    if (complete) file.digest = reader.digest(entry, "digest");
    file.how = reader.text(entry, "how");
  }
  out.error = error_of(reader, reader.get(root, "error"));
  if (out.phase == PublicationState::Phase::kFailed && !out.error) {
    reader.wrong("error", "is missing");
  }
  return finish(reader, std::move(out));
}

Result<OpenedBlob> parse_opened(std::string_view body) {
  JsonReader reader(body);
  OpenedBlob out;
  out.size = reader.number(reader.root(), "size");
  out.piece_length = reader.number(reader.root(), "piece_length");
  out.state = reader.text(reader.root(), "state");
  return finish(reader, std::move(out));
}

Result<std::vector<Pinned>> parse_pinned(std::string_view body) {
  JsonReader reader(body);
  std::vector<Pinned> out;
  for (const Json& entry : reader.list(reader.root(), "pinned")) {
    if (!reader.status()) break;
    out.push_back({reader.text(entry, "reference"), reader.digest(entry, "manifest")});
  }
  return finish(reader, std::move(out));
}

Result<VerifyState> parse_verify(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  VerifyState out;
  constexpr std::string_view kPhases[] = {"running", "done", "failed"};
  out.phase = static_cast<VerifyState::Phase>(reader.choice(root, "state", kPhases));
  out.bytes_done = reader.number(root, "bytes_done");
  out.bytes_total = reader.number(root, "bytes_total");
  for (const Json& entry : reader.list(root, "bad")) {
    if (!reader.status()) break;
    VerifyState::BadFile& file = out.bad.emplace_back();
    file.digest = reader.digest(entry, "digest");
    file.path = reader.text(entry, "path");
    file.pieces = reader.number(entry, "pieces");
  }
  for (const Json& entry : reader.list(root, "missing")) {
    if (!reader.status()) break;
    out.missing.push_back(reader.text(entry, "path"));
  }
  if (out.phase == VerifyState::Phase::kFailed) {
    out.error = error_of(reader, reader.get(root, "error"))
                    .value_or(Error(Errc::kInternal, "the agent gave no reason"));
  }
  return finish(reader, std::move(out));
}

Result<GcResult> parse_gc(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  GcResult out;
  out.freed_bytes = reader.number(root, "freed_bytes");
  for (const Json& entry : reader.list(root, "evicted")) {
    if (!reader.status()) break;
    out.evicted.push_back(reader.digest_of(entry, "evicted"));
  }
  for (const Json& entry : reader.list(root, "kept")) {
    if (!reader.status()) break;
    out.kept.push_back({reader.digest(entry, "digest"), reader.text(entry, "reason")});
  }
  return finish(reader, std::move(out));
}

Result<Explanation> parse_explanation(std::string_view body) {
  JsonReader reader(body);
  const Json& root = reader.root();
  Explanation out;
  out.reference = reader.text(root, "reference");
  out.manifest = reader.digest(root, "manifest");
  out.state = reader.text(root, "state");
  out.waiting_for = reader.text(root, "waiting_for");
  for (const Json& entry : reader.list(root, "files")) {
    if (!reader.status()) break;
    Explanation::File& file = out.files.emplace_back();
    file.path = reader.text(entry, "path");
    file.digest = reader.digest(entry, "digest");
    file.size = reader.number(entry, "size");
    file.pieces_have = reader.number(entry, "pieces_have");
    file.pieces_total = reader.number(entry, "pieces_total");
    for (const Json& source : reader.list(entry, "sources")) {
      file.sources.push_back({reader.text(source, "kind"), reader.text(source, "name"),
                              reader.real(source, "rate"), reader.number(source, "in_flight")});
    }
    for (const Json& wait : reader.list(entry, "waits")) {
      file.waits.push_back({reader.text(wait, "kind"), reader.text(wait, "text"),
                            milliseconds(reader.number(wait, "since_ms"))});
    }
    file.last_errors = reader.texts(entry, "last_errors");
  }
  return finish(reader, std::move(out));
}

}  // namespace shoal::agent_client
