#include "core/agent_client/request_json.h"

#include <nlohmann/json.hpp>

namespace shoal::agent_client {
namespace {

using Json = nlohmann::json;

// Bytes that are not UTF-8 (a file's path may have any) must not make the library throw.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string_view mode_name(IngestMode mode) {
  switch (mode) {
    case IngestMode::kCopy:
      return "copy";
    case IngestMode::kInPlace:
      return "in-place";
    case IngestMode::kHash:
      return "hash";
  }
  return "";
}

std::string_view class_name(PullClass pull_class) {
  switch (pull_class) {
    case PullClass::kPlan:
      return "plan";
    case PullClass::kPrefetch:
      return "prefetch";
    case PullClass::kBackground:
      return "background";
  }
  return "";
}

std::string_view class_name(WantClass want_class) {
  switch (want_class) {
    case WantClass::kFault:
      return "fault";
    case WantClass::kWindow:
      return "window";
    case WantClass::kPlan:
      return "plan";
  }
  return "";
}

Json readers_json(const OriginReaders& readers) {
  switch (readers.kind) {
    case OriginReaders::Kind::kAll:
      return "all";
    case OriginReaders::Kind::kPublisher:
      return "publisher";
    case OriginReaders::Kind::kNodes:
      return readers.nodes;
    case OriginReaders::Kind::kLabels:
      return readers.labels;
  }
  return "all";
}

Json file_json(const OriginFile& file) {
  return {{"url", file.url},
          {"size", file.size},
          {"version", file.version},
          {"digest", file.digest ? file.digest->str() : ""}};
}

}  // namespace

std::string ingest_json(IngestMode mode, const std::string& path) {
  return dump({{"mode", mode_name(mode)}, {"path", path}});
}

std::string listing_json(const OriginQuery& query) {
  return dump({{"source", query.source},
               {"include", query.include},
               {"exclude", query.exclude},
               {"platform", query.platform}});
}

std::string ingest_json(IngestMode mode, const OriginFile& file) {
  Json json = file_json(file);
  json["mode"] = mode_name(mode);
  return dump(json);
}

std::string publication_json(const PublicationRequest& request) {
  Json files = Json::array();
  for (const OriginFile& file : request.files) {
    files.push_back(file_json(file));
    files.back()["path"] = file.path;
  }
  return dump({{"reference", request.reference},
               {"title", request.title},
               {"files", std::move(files)},
               {"annotations", request.annotations},
               {"origin_nodes", readers_json(request.readers)}});
}

std::string publish_json(const PublishRequest& request) {
  Json origins = Json::array();
  for (const BlobOrigin& origin : request.origins) {
    Json& entry = origins.emplace_back(Json{{"blob", origin.blob.str()}, {"url", origin.url}});
    if (!origin.version.empty()) entry["version"] = origin.version;
  }
  return dump({{"reference", request.reference},
               {"manifest", request.manifest},
               {"config", request.config},
               {"origins", origins},
               {"origin_nodes", readers_json(request.readers)}});
}

std::string pull_json(std::string_view reference, bool pin, PullClass pull_class) {
  return dump({{"reference", reference}, {"pin", pin}, {"class", class_name(pull_class)}});
}

std::string digest_json(const content::Digest& digest) { return dump({{"digest", digest.str()}}); }

std::string want_json(const Want& want) {
  Json ranges = Json::array();
  for (const ByteRange& range : want.ranges) {
    ranges.push_back(Json::array({range.offset, range.length}));
  }
  return dump({{"digest", want.digest.str()},
               {"ranges", ranges},
               {"by_ms", want.by.count()},
               {"class", class_name(want.want_class)}});
}

std::string target_json(std::string_view target) {
  bool is_digest = content::Digest::parse(target).has_value();
  return dump({{is_digest ? "manifest" : "reference", target}});
}

std::string gc_json(bool dry_run, std::optional<std::uint64_t> target_bytes) {
  Json body{{"dry_run", dry_run}, {"target_bytes", nullptr}};
  if (target_bytes) body["target_bytes"] = *target_bytes;
  return dump(body);
}

}  // namespace shoal::agent_client
