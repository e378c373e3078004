#include "agent/control/json.h"

#include <algorithm>
#include <map>

#include "agent/origin/origin.h"
#include "agent/swarm/wait_text.h"
#include "core/api/limits.h"
#include "core/base/hex.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxOrigins = 65'536;
constexpr std::size_t kMaxRanges = 65'536;
constexpr std::size_t kMaxTexts = 1'024;

const char* state_name(api::PullState state) {
  switch (state) {
    case api::PullState::kQueued:
    case api::PullState::kRunning:
      return "running";
    case api::PullState::kComplete:
      return "complete";
    case api::PullState::kFailed:
      return "failed";
    case api::PullState::kCancelled:
      return "cancelled";
  }
  return "failed";
}

const char* wait_kind(swarm::Explanation::Wait wait) {
  switch (wait) {
    case swarm::Explanation::Wait::kNothing:
    case swarm::Explanation::Wait::kTransfer:
      return "";
    case swarm::Explanation::Wait::kSource:
      return "piece";
    case swarm::Explanation::Wait::kPeer:
      return "peer";
    case swarm::Explanation::Wait::kLease:
    case swarm::Explanation::Wait::kRack:
      return "lease";
    case swarm::Explanation::Wait::kOrigin:
      return "source";
    case swarm::Explanation::Wait::kLimit:
      return "limit";
    case swarm::Explanation::Wait::kHeld:
      return "disk";
  }
  return "";
}

// Exceptions of the library end here: a number where a text should be is the caller's mistake.
template <typename T>
Result<T> get(const Json& value, const char* what) {
  try {
    return value.get<T>();
  } catch (const nlohmann::json::exception&) {
    return fail(Errc::kInvalid, std::string(what) + ": wrong type");
  }
}

}  // namespace

Json error_json(const Error& error) {
  return {{"code", errc_name(error.code())}, {"message", error.message()}};
}

Result<Json> parse_json(std::string_view text) {
  Json parsed = Json::parse(text, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object()) {
    return fail(Errc::kInvalid, "the body must be a JSON object");
  }
  return parsed;
}

std::string text_field(const Json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

namespace {

// Texts of an array; nothing if it is absent.
Result<std::vector<std::string>> texts_field(const Json& object, const char* name) {
  std::vector<std::string> out;
  auto it = object.find(name);
  if (it == object.end() || it->is_null()) return out;
  if (!it->is_array() || it->size() > kMaxTexts) {
    return fail(Errc::kInvalid, std::string(name) + ": a list of texts");
  }
  for (const Json& entry : *it) {
    if (!entry.is_string()) return fail(Errc::kInvalid, std::string(name) + ": a list of texts");
    out.push_back(entry.get<std::string>());
  }
  return out;
}

}  // namespace

Status set_readers(const Json& object, const std::string& self, api::Origin& origin) {
  auto it = object.find("origin_nodes");
  if (it == object.end() || *it == "all") return {};
  if (*it == "publisher") {
    origin.nodes = {self};
    return {};
  }
  if (it->is_array()) {
    Result<std::vector<std::string>> ids = texts_field(object, "origin_nodes");
    if (!ids) return fail(ids.error());
    origin.nodes = std::move(*ids);
    return {};
  }
  if (!it->is_object()) {
    return fail(Errc::kInvalid, "origin_nodes: all, publisher, a list of nodes, or labels");
  }
  for (const auto& [label, value] : it->items()) {
    if (!value.is_string()) return fail(Errc::kInvalid, "origin_nodes: a label without a text");
    origin.labels[label] = value.get<std::string>();
  }
  return {};
}

namespace {

std::string kind_of(std::string_view scheme) {
  if (scheme == "http" || scheme == "https") return "http";
  if (scheme == "file") return "dir";
  return scheme == "s3" || scheme == "hf" || scheme == "oci" ? std::string(scheme) : "";
}

}  // namespace

Result<std::vector<BlobOrigins>> origins_field(const Json& object, const std::string& self) {
  auto it = object.find("origins");
  if (it == object.end() || it->is_null()) return std::vector<BlobOrigins>{};
  if (!it->is_array() || it->size() > kMaxOrigins) {
    return fail(Errc::kInvalid, "origins: a list of at most " + std::to_string(kMaxOrigins));
  }
  api::Origin readers;
  SHOAL_TRY(set_readers(object, self, readers));
  std::map<content::Digest, std::vector<api::Origin>> by_blob;
  for (const Json& entry : *it) {
    if (!entry.is_object()) return fail(Errc::kInvalid, "origins: objects with blob and url");
    Result<content::Digest> blob = content::Digest::parse(text_field(entry, "blob"));
    if (!blob) return fail(blob.error().with_context("origins"));
    api::Origin origin = readers;
    origin.url = text_field(entry, "url");
    origin.kind = kind_of(scheme_of(origin.url));
    if (origin.kind.empty()) {
      return fail(Errc::kInvalid,
                  "origins: '" + origin.url + "' is no http, https, s3, hf, oci or file URL");
    }
    // Of a directory each node sees inodes and times of its own mount.
    std::string version = text_field(entry, "version");
    if (origin.kind != "dir" && version.size() <= api::kMaxEtag) origin.etag = std::move(version);
    // Files with the same bytes: a few places are enough to read them at.
    std::vector<api::Origin>& places = by_blob[*blob];
    if (places.size() < api::kMaxOrigins) places.push_back(std::move(origin));
  }
  return std::vector<BlobOrigins>(by_blob.begin(), by_blob.end());
}

Result<OriginQuery> query_fields(const Json& object) {
  OriginQuery query;
  query.source = text_field(object, "source");
  if (query.source.empty()) return fail(Errc::kInvalid, "source: what shall be listed");
  Result<std::vector<std::string>> include = texts_field(object, "include");
  if (!include) return fail(include.error());
  Result<std::vector<std::string>> exclude = texts_field(object, "exclude");
  if (!exclude) return fail(exclude.error());
  query.include = std::move(*include);
  query.exclude = std::move(*exclude);
  query.platform = text_field(object, "platform");
  return query;
}

Json listing_json(const OriginListing& listing) {
  Json files = Json::array();
  for (const OriginEntry& entry : listing.files) {
    files.push_back({{"path", entry.path.str()},
                     {"url", entry.file.url},
                     {"size", entry.file.size},
                     {"version", entry.file.version},
                     {"digest", entry.digest ? entry.digest->str() : ""}});
  }
  return {{"source", listing.source},
          {"annotations", listing.annotations},
          {"files", std::move(files)}};
}

Result<RemoteFile> remote_file_fields(const Json& object) {
  RemoteFile file;
  file.file.url = text_field(object, "url");
  file.file.version = text_field(object, "version");
  auto size = object.find("size");
  if (size == object.end() || !size->is_number_unsigned()) {
    return fail(Errc::kInvalid, "size: of the file, in bytes");
  }
  file.file.size = size->get<std::uint64_t>();
  if (std::string text = text_field(object, "digest"); !text.empty()) {
    Result<content::Digest> digest = content::Digest::parse(text);
    if (!digest) return fail(digest.error());
    file.digest = *digest;
  }
  return file;
}

Result<WantFields> want_fields(const Json& object) {
  WantFields want;
  Result<content::Digest> digest = content::Digest::parse(text_field(object, "digest"));
  if (!digest) return fail(digest.error());
  want.digest = *digest;
  std::string cls = text_field(object, "class");
  if (cls == "fault") {
    want.cls = swarm::Class::kFault;
  } else if (cls == "plan") {
    want.cls = swarm::Class::kPlan;
  } else if (!cls.empty() && cls != "window") {
    return fail(Errc::kInvalid, "class: fault, window or plan");
  }
  if (auto by = object.find("by_ms"); by != object.end()) {
    Result<std::uint32_t> ms = get<std::uint32_t>(*by, "by_ms");
    if (!ms) return fail(ms.error());
    want.by = std::chrono::milliseconds(*ms);
  }
  auto ranges = object.find("ranges");
  if (ranges == object.end() || !ranges->is_array() || ranges->size() > kMaxRanges) {
    return fail(Errc::kInvalid, "ranges: a list of [offset, length]");
  }
  for (const Json& entry : *ranges) {
    bool pair = entry.is_array() && entry.size() == 2 && entry[0].is_number_unsigned() &&
                entry[1].is_number_unsigned();
    if (!pair) return fail(Errc::kInvalid, "ranges: a list of [offset, length]");
    ByteRange range{entry[0].get<std::uint64_t>(), entry[1].get<std::uint64_t>()};
    if (range.offset > content::kMaxBlobSize || range.length > content::kMaxBlobSize) {
      return fail(Errc::kInvalid, "ranges: beyond any blob");
    }
    want.ranges.push_back(range);
  }
  return want;
}

Json blob_json(const store::BlobInfo& info, const std::vector<std::string>& references) {
  std::uint64_t have = info.complete ? info.size
                       : info.piece_count == 0
                           ? 0
                           : std::min(info.size, std::uint64_t{info.have_count} *
                                                     content::BlobLayout(info.size).piece_length());
  const char* state = info.failed ? "failed" : info.complete ? "complete" : "live";
  std::int64_t used_ago = -1;
  if (info.last_used_ns > 0) {
    auto now = std::chrono::system_clock::now().time_since_epoch();
    used_ago = std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(
                                             now - std::chrono::nanoseconds(info.last_used_ns))
                                             .count());
  }
  return {{"digest", info.digest.str()},  {"size", info.size},
          {"bytes_have", have},           {"state", state},
          {"pinned", !info.pins.empty()}, {"opened", info.open_readers > 0},
          {"last_used_ms_ago", used_ago}, {"references", references}};
}

Json ingest_json(const IngestView& view) {
  Json json{{"state", view.running ? "running"
                      : view.error ? "failed"
                                   : "done"},
            {"bytes_done", view.bytes_done},
            {"bytes_total", view.bytes_total}};
  if (view.table) {
    json["digest"] = view.table->digest().str();
    json["size"] = view.table->layout().size();
    if (view.table->pieces_root()) json["pieces_root"] = to_hex(*view.table->pieces_root());
    json["how"] = view.how;
  }
  if (view.error) json["error"] = error_json(*view.error);
  return json;
}

Json pull_json(const PullView& view) {
  Json files = Json::array();
  for (const PullView::File& file : view.files) {
    files.push_back({{"path", file.path},
                     {"digest", file.digest.str()},
                     {"size", file.size},
                     {"bytes_done", file.bytes_done}});
  }
  Json json{{"version", view.version},
            {"state", state_name(view.state)},
            {"manifest", view.manifest.str()},
            {"reference", view.reference},
            {"bytes_total", view.bytes_total},
            {"bytes_done", view.bytes_done},
            {"bytes_peers", view.by_source.peers},
            {"bytes_origin", view.by_source.origin},
            {"bytes_local", view.by_source.local},
            {"rate", view.rate},
            {"waiting_for", view.waiting_for},
            {"files", std::move(files)}};
  if (view.eta) json["eta_ms"] = view.eta->count();
  if (view.error) json["error"] = error_json(*view.error);
  return json;
}

Json verify_json(const VerifyView& view) {
  Json bad = Json::array();
  for (const VerifyView::Bad& file : view.bad) {
    bad.push_back({{"digest", file.digest.str()}, {"path", file.path}, {"pieces", file.pieces}});
  }
  Json missing = Json::array();
  for (const std::string& path : view.missing) missing.push_back({{"path", path}});
  Json json{{"state", view.running ? "running"
                      : view.error ? "failed"
                                   : "done"},
            {"bytes_done", view.bytes_done},
            {"bytes_total", view.bytes_total},
            {"bad", std::move(bad)},
            {"missing", std::move(missing)}};
  if (view.error) json["error"] = error_json(*view.error);
  return json;
}

Json garbage_json(const Garbage& garbage) {
  Json evicted = Json::array();
  for (const content::Digest& digest : garbage.evicted) evicted.push_back(digest.str());
  Json kept = Json::array();
  for (const LastCopies::Kept& one : garbage.kept) {
    kept.push_back({{"digest", one.blob.str()}, {"reason", one.reason}});
  }
  return {
      {"freed_bytes", garbage.freed}, {"evicted", std::move(evicted)}, {"kept", std::move(kept)}};
}

Json explain_json(const content::ModelFile& file, const store::BlobInfo* info,
                  const Fetcher::Report* report) {
  std::uint32_t total = content::BlobLayout(file.size).piece_count();
  Json json{{"path", file.path.str()}, {"digest", file.digest.str()},
            {"size", file.size},       {"pieces_have", info ? info->have_count : 0},
            {"pieces_total", total},   {"sources", Json::array()},
            {"waits", Json::array()},  {"last_errors", Json::array()}};
  if (report == nullptr) return json;
  for (const Fetcher::SourceReport& source : report->sources) {
    json["sources"].push_back({{"kind", source.kind},
                               {"name", source.name},
                               {"rate", source.rate},
                               {"in_flight", source.in_flight}});
  }
  const swarm::Explanation& why = report->swarm;
  if (const char* kind = wait_kind(why.wait); *kind != 0) {
    std::string text = "waiting for " + wait_text(*report, file.path.str());
    auto since = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - why.since);
    json["waits"].push_back(
        {{"kind", kind}, {"text", std::move(text)}, {"since_ms", since.count()}});
  }
  for (const std::string& error : report->last_errors) json["last_errors"].push_back(error);
  return json;
}

}  // namespace shoal::agent
