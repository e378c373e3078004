// What the tracker is told of a publication: that it has begun, and how it ended.
#include <map>
#include <utility>

#include "agent/model/publication.h"
#include "core/api/limits.h"
#include "core/base/log.h"

namespace shoal::agent {
namespace {

constexpr std::chrono::milliseconds kCallTimeout{15'000};
// Giving a model with thousands of files takes as many calls.
constexpr std::chrono::minutes kGiveTimeout{10};

}  // namespace

std::vector<BlobOrigins> Publications::origins(const Publication& publication, bool settled) const {
  // Files that turned out to have the same bytes are one blob with several places: a few are
  // enough.
  std::map<content::Digest, std::vector<api::Origin>> out;
  for (const auto& [name, part] : publication.parts) {
    if (part->size == 0) continue;
    std::vector<api::Origin>& places = out[settled ? *part->digest : name];
    for (std::size_t index : part->files) {
      if (places.size() == api::kMaxOrigins) break;
      const PublicationFile& file = publication.request.files[index];
      api::Origin place = publication.request.readers;
      place.kind = file.origin->kind();
      place.url = file.file.url;
      // Of a directory each node sees inodes and times of its own mount.
      const bool told = place.kind != "dir" && file.file.version.size() <= api::kMaxEtag;
      if (told) place.etag = file.file.version;
      if (file.file.version.empty() && !settled) {
        place.nodes = {node_};
        place.labels.clear();
      }
      places.push_back(std::move(place));
    }
  }
  return {out.begin(), out.end()};
}

Result<content::PieceTable> Publications::stored_table(const content::Digest& digest) const {
  auto blob = parts_.store.find_quietly(digest);
  if (!blob) return fail(blob.error());
  if (!(*blob)->settled()) return fail(Errc::kNotFound, digest.str() + " is not settled");
  return (*blob)->table();
}

// From here on others can begin.
Task<Status> Publications::announce(Publication* publication) {
  for (const auto& [name, part] : publication->parts) {
    if (part->size == 0) {
      auto empty = [this] { return store_bytes(parts_.store, "", {}, {}); };
      auto made = co_await pool_.run(empty);
      if (!made) co_return fail(made.error().with_context("storing an empty file"));
      parts_.inventory.set(**made);
      part->how = "copy";
    } else {
      Result<store::BlobInfo> info = parts_.store.info(name);
      if (!info || !info->complete) continue;
      auto find = [this, digest = name] { return parts_.store.find(digest); };
      auto blob = co_await pool_.run(find);
      if (!blob || (*blob)->layout().size() != part->size) continue;
      part->root = (*blob)->table().pieces_root();
      part->keep = (*blob)->keep();
      part->how = "present";
    }
    part->digest = name;
    part->done = part->size;
    publication->view.bytes_done += part->size * part->files.size();
    publication->view.by_source.local += part->size * part->files.size();
    --publication->left;
  }
  std::vector<content::ModelFile> files;
  for (const auto& [name, part] : publication->parts) {
    for (std::size_t index : part->files) {
      files.push_back({publication->request.files[index].path, name, part->size, part->root, ""});
    }
  }
  Result<content::ModelDocuments> documents = content::make_provisional_model(
      publication->request.title, std::move(files), publication->request.annotations);
  if (!documents) co_return fail(documents.error());
  const content::Digest manifest = documents->manifest_digest;
  TableSource tables{[this](const content::Digest& digest) { return stored_table(digest); },
                     [](const content::Digest&) { return false; }};
  SHOAL_CO_TRY(co_await parts_.publisher.give_provisional(
      std::move(*documents), origins(*publication, false), tables, Deadline::after(kGiveTimeout)));
  api::IngestUpdate update{.reference = publication->request.reference,
                           .node = node_,
                           .epoch = epoch_,
                           .state = api::IngestState::kRunning};
  SHOAL_CO_TRY(co_await parts_.catalogue.put_ingest(manifest, std::move(update),
                                                    Deadline::after(kCallTimeout)));
  publication->view.provisional = manifest;
  publication->announced = true;
  co_return Status{};
}

Task<Status> Publications::finish(Publication* publication) {
  std::vector<content::ModelFile> files;
  std::map<content::Digest, bool> read_here;
  for (const auto& [name, part] : publication->parts) {
    read_here[*part->digest] = part->how == "copy";
    for (std::size_t index : part->files) {
      files.push_back(
          {publication->request.files[index].path, *part->digest, part->size, part->root, ""});
      publication->view.files[index].digest = *part->digest;
      publication->view.files[index].how = part->how;
    }
  }
  Result<content::ModelDocuments> documents = content::make_model(
      publication->request.title, std::move(files), std::nullopt, publication->request.annotations);
  if (!documents) co_return fail(documents.error());
  TableSource tables{[this](const content::Digest& digest) { return stored_table(digest); },
                     [read_here](const content::Digest& digest) {
                       auto it = read_here.find(digest);
                       return it != read_here.end() && it->second;
                     }};
  NewModel model{publication->request.reference, documents->manifest_json, documents->config_json,
                 origins(*publication, true)};
  auto given = co_await parts_.publisher.give(std::move(model), std::move(tables),
                                              Deadline::after(kGiveTimeout));
  if (!given) co_return fail(given.error());
  api::IngestUpdate update{.reference = publication->request.reference,
                           .node = node_,
                           .epoch = epoch_,
                           .state = api::IngestState::kSettled,
                           .settled_as = documents->manifest_digest};
  SHOAL_CO_TRY(co_await parts_.catalogue.put_ingest(
      publication->view.provisional, std::move(update), Deadline::after(kCallTimeout)));
  publication->view.manifest = documents->manifest_digest;
  for (const auto& [name, part] : publication->parts) parts_.settler.retire(name, *part->digest);
  co_return Status{};
}

Task<void> Publications::clean_up(Publication* publication, Error why) {
  // What is here of it is good for the next try after a restart.
  if (stop_.is_set()) co_return;
  if (publication->announced) {
    api::IngestUpdate update{.reference = publication->request.reference,
                             .node = node_,
                             .epoch = epoch_,
                             .state = api::IngestState::kFailed,
                             .error = why};
    Status told = co_await parts_.catalogue.put_ingest(
        publication->view.provisional, std::move(update), Deadline::after(kCallTimeout));
    if (!told)
      log::warn("the tracker does not know of a failed publication", {{"err", told.error()}});
  }
  for (const auto& [name, part] : publication->parts) {
    const bool brought = part->blob || part->how == "copy";
    part->keep.reset();
    part->blob.reset();
    const bool needed = parts_.wanted_elsewhere(name) || wanted(name, publication);
    if (!brought || part->size == 0 || needed) continue;
    if (part->digest) {
      parts_.settler.retire(name, *part->digest);
      parts_.unwanted(*part->digest);
    } else {
      co_await parts_.settler.drop(name);
    }
  }
}

}  // namespace shoal::agent
