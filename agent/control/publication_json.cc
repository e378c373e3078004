// JSON of publications from origins.
#include <algorithm>
#include <utility>

#include "agent/control/json.h"
#include "core/content/reference.h"

namespace shoal::agent {
namespace {

std::string_view state_name(PublicationView::State state) {
  switch (state) {
    case PublicationView::State::kRunning:
      return "running";
    case PublicationView::State::kComplete:
      return "complete";
    case PublicationView::State::kFailed:
      return "failed";
    case PublicationView::State::kCancelled:
      return "cancelled";
  }
  return "";
}

std::string digest_text(const content::Digest& digest) {
  return digest == content::Digest() ? std::string() : digest.str();
}

}  // namespace

Result<Publications::Request> publication_fields(const Json& object, const std::string& self) {
  Publications::Request request;
  request.reference = text_field(object, "reference");
  Result<content::Reference> reference = content::Reference::parse(request.reference);
  if (!reference || reference->tag() == nullptr) {
    return fail(Errc::kInvalid, "reference: write NAME:TAG");
  }
  request.title = text_field(object, "title");
  SHOAL_TRY(set_readers(object, self, request.readers));
  if (auto notes = object.find("annotations"); notes != object.end() && !notes->is_null()) {
    if (!notes->is_object()) return fail(Errc::kInvalid, "annotations: an object of texts");
    for (const auto& [key, value] : notes->items()) {
      if (!value.is_string()) return fail(Errc::kInvalid, "annotations: an object of texts");
      request.annotations[key] = value.get<std::string>();
    }
  }
  auto files = object.find("files");
  if (files == object.end() || !files->is_array() || files->empty() ||
      files->size() > content::kMaxModelFiles) {
    return fail(Errc::kInvalid,
                "files: a list of 1 to " + std::to_string(content::kMaxModelFiles) + " files");
  }
  for (const Json& entry : *files) {
    if (!entry.is_object()) return fail(Errc::kInvalid, "files: objects with path, url and size");
    Result<content::RelativePath> path = content::RelativePath::parse(text_field(entry, "path"));
    if (!path) return fail(path.error().with_context("files"));
    Result<RemoteFile> file = remote_file_fields(entry);
    if (!file) return fail(file.error().with_context(path->str()));
    request.files.push_back({std::move(*path), nullptr, std::move(file->file), file->digest});
  }
  std::sort(request.files.begin(), request.files.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  return request;
}

Json publication_json(const PublicationView& view) {
  Json files = Json::array();
  for (const PublicationView::File& file : view.files) {
    files.push_back({{"path", file.path},
                     {"size", file.size},
                     {"bytes_done", file.bytes_done},
                     {"digest", digest_text(file.digest)},
                     {"how", file.how}});
  }
  Json json = {{"state", state_name(view.state)},
               {"bytes_total", view.bytes_total},
               {"bytes_done", view.bytes_done},
               {"bytes_origin", view.by_source.origin},
               {"bytes_peers", view.by_source.peers},
               {"bytes_local", view.by_source.local},
               {"provisional", digest_text(view.provisional)},
               {"manifest", digest_text(view.manifest)},
               {"waiting_for", view.waiting_for},
               {"files", std::move(files)}};
  if (view.error) json["error"] = error_json(*view.error);
  return json;
}

}  // namespace shoal::agent
