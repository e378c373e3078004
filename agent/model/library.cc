#include "agent/model/library.h"

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"
#include "core/content/reference.h"

namespace shoal::agent {
namespace {

// Annotations of the manifest's blob in the store.
constexpr std::string_view kKindKey = "kind";
constexpr std::string_view kManifestKind = "model-manifest";
constexpr std::string_view kReferencePrefix = "reference:";

}  // namespace

Result<std::shared_ptr<store::Blob>> store_bytes(
    store::BlobStore& store, std::string_view bytes, const std::set<std::string>& pins,
    const std::map<std::string, std::string>& annotations) {
  Result<content::BlobLayout> layout = content::BlobLayout::of_size(bytes.size());
  if (!layout) return fail(layout.error());
  auto data = std::as_bytes(std::span(bytes));
  content::BlobHasher hasher(*layout);
  SHOAL_TRY(hasher.update(data));
  Result<content::BlobHashes> hashes = hasher.finish();
  if (!hashes) return fail(hashes.error());
  content::PieceTable table = content::PieceTable::make(std::move(*hashes));
  auto blob = store.create(table, store::Reservation::kFull, pins, annotations);
  if (!blob) return blob;
  // It may have been there before, without these.
  for (const std::string& pin : pins) SHOAL_TRY(store.pin(table.digest(), pin));
  for (const auto& [key, value] : annotations) {
    SHOAL_TRY(store.annotate(table.digest(), key, value));
  }
  if (!data.empty() && !(*blob)->complete()) {
    Result<std::uint32_t> committed = (*blob)->commit(content::PieceIndex(0), data);
    if (!committed) return fail(committed.error());
  }
  SHOAL_TRY((*blob)->sync());
  return blob;
}

Result<std::string> read_whole(store::BlobStore& store, const content::Digest& digest,
                               std::uint64_t limit) {
  auto blob = store.find(digest);
  if (!blob) return fail(blob.error());
  std::uint64_t size = (*blob)->layout().size();
  if (size > limit)
    return fail(Errc::kInvalid, digest.str() + " is too long for what it should be");
  std::string bytes(size, '\0');
  SHOAL_TRY((*blob)->read({0, size}, std::as_writable_bytes(std::span(bytes))));
  return bytes;
}

void Library::load() {
  for (const store::BlobInfo& info : store_.list()) {
    auto kind = info.annotations.find(std::string(kKindKey));
    if (kind == info.annotations.end() || kind->second != kManifestKind || !info.complete) continue;
    Result<std::string> bytes = read_whole(store_, info.digest, content::kMaxManifestSize);
    Result<content::ModelManifest> manifest =
        bytes ? content::ModelManifest::parse(std::string_view(*bytes))
              : Result<content::ModelManifest>(fail(bytes.error()));
    if (!manifest) {
      log::warn("stored manifest cannot be used",
                {{"digest", info.digest.str()}, {"err", manifest.error()}});
      continue;
    }
    auto model = std::make_shared<Model>(Model{info.digest, std::move(*manifest), {}});
    std::lock_guard lock(mutex_);
    for (const auto& [key, value] : info.annotations) {
      if (!key.starts_with(kReferencePrefix)) continue;
      std::string reference = key.substr(kReferencePrefix.size());
      model->references.insert(reference);
      references_[reference] = info.digest;
    }
    models_[info.digest] = std::move(model);
  }
}

Result<std::shared_ptr<const Library::Model>> Library::record(const std::string& reference,
                                                              std::string_view text,
                                                              const std::set<std::string>& pins) {
  Result<content::ModelManifest> manifest = content::ModelManifest::parse(text);
  if (!manifest) return fail(manifest.error());
  std::map<std::string, std::string> annotations{
      {std::string(kKindKey), std::string(kManifestKind)}};
  if (!reference.empty()) annotations[std::string(kReferencePrefix) + reference] = "1";
  auto blob = store_bytes(store_, text, pins, annotations);
  if (!blob) return fail(blob.error().with_context("storing the manifest"));
  const content::Digest digest = (*blob)->digest();
  auto model = std::make_shared<Model>(Model{digest, std::move(*manifest), {}});
  std::optional<content::Digest> before;
  std::lock_guard lock(mutex_);
  if (auto known = models_.find(digest); known != models_.end()) {
    model->references = known->second->references;
  }
  if (!reference.empty()) {
    if (auto it = references_.find(reference); it != references_.end() && it->second != digest) {
      before = it->second;
      if (auto old = models_.find(it->second); old != models_.end()) {
        auto changed = std::make_shared<Model>(*old->second);
        changed->references.erase(reference);
        old->second = std::move(changed);
      }
    }
    references_[reference] = digest;
    model->references.insert(reference);
  }
  models_[digest] = model;
  if (before) SHOAL_TRY(store_.annotate(*before, std::string(kReferencePrefix) + reference, ""));
  return std::shared_ptr<const Model>(model);
}

std::shared_ptr<const Library::Model> Library::find(const std::string& reference) const {
  Result<content::Reference> parsed = content::Reference::parse(reference);
  if (parsed && parsed->digest() != nullptr) return find(*parsed->digest());
  std::lock_guard lock(mutex_);
  auto it = references_.find(reference);
  if (it == references_.end()) return nullptr;
  auto model = models_.find(it->second);
  return model == models_.end() ? nullptr : model->second;
}

std::shared_ptr<const Library::Model> Library::find(const content::Digest& manifest) const {
  std::lock_guard lock(mutex_);
  auto it = models_.find(manifest);
  return it == models_.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<const Library::Model>> Library::list() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Model>> out;
  for (const auto& [digest, model] : models_) out.push_back(model);
  return out;
}

std::vector<content::Digest> Library::blobs(const Model& model) {
  std::set<content::Digest> seen{model.digest, model.manifest.config.digest};
  for (const content::ModelFile& file : model.manifest.files) seen.insert(file.digest);
  return {seen.begin(), seen.end()};
}

std::vector<std::string> Library::references_of(const content::Digest& blob) const {
  std::set<std::string> out;
  for (const auto& model : list()) {
    std::vector<content::Digest> parts = blobs(*model);
    if (!std::binary_search(parts.begin(), parts.end(), blob)) continue;
    out.insert(model->references.begin(), model->references.end());
  }
  return {out.begin(), out.end()};
}

bool Library::goes_with_stored_files(const content::Digest& blob) const {
  std::vector<std::shared_ptr<const Model>> models;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [digest, model] : models_) {
      if (digest == blob || model->manifest.config.digest == blob) models.push_back(model);
    }
  }
  return std::any_of(models.begin(), models.end(), [this](const auto& model) {
    return std::any_of(model->manifest.files.begin(), model->manifest.files.end(),
                       [this](const content::ModelFile& file) {
                         return file.size > 0 && store_.info(file.digest).has_value();
                       });
  });
}

Status Library::forget(const std::string& reference) {
  std::optional<content::Digest> digest;
  {
    std::lock_guard lock(mutex_);
    auto it = references_.find(reference);
    if (it == references_.end()) return {};
    digest = it->second;
    references_.erase(it);
    if (auto model = models_.find(*digest); model != models_.end()) {
      auto changed = std::make_shared<Model>(*model->second);
      changed->references.erase(reference);
      model->second = std::move(changed);
    }
  }
  return store_.annotate(*digest, std::string(kReferencePrefix) + reference, "");
}

void Library::removed(const content::Digest& blob) {
  std::lock_guard lock(mutex_);
  if (models_.erase(blob) == 0) return;
  std::erase_if(references_, [&](const auto& entry) { return entry.second == blob; });
}

Status Library::pin(const Model& model, const std::string& name) {
  for (const content::Digest& blob : blobs(model)) {
    Status pinned = store_.pin(blob, name);
    if (!pinned && pinned.error().code() != Errc::kNotFound) return pinned;
  }
  return {};
}

Status Library::unpin(const Model& model, const std::string& name) {
  for (const content::Digest& blob : blobs(model)) {
    Status unpinned = store_.unpin(blob, name);
    if (!unpinned && unpinned.error().code() != Errc::kNotFound) return unpinned;
  }
  return {};
}

std::vector<std::pair<std::string, content::Digest>> Library::pins() const {
  std::vector<std::pair<std::string, content::Digest>> out;
  for (const auto& model : list()) {
    Result<store::BlobInfo> info = store_.info(model->digest);
    if (!info) continue;
    for (const std::string& name : info->pins) out.emplace_back(name, model->digest);
  }
  return out;
}

}  // namespace shoal::agent
