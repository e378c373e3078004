#include "agent/model/order_pins.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "core/base/log.h"

namespace shoal::agent {
namespace {

// Annotation of the manifest's blob, with the pin's name behind it.
constexpr std::string_view kPrefix = "pinned-by-order:";
constexpr std::chrono::seconds kCallTimeout{15};

std::string key_of(const std::string& name) { return std::string(kPrefix) + name; }

}  // namespace

OrderPins::OrderPins(store::BlobStore& store, Library& library, CatalogueClient& catalogue,
                     BlockingPool& pool)
    : store_(store), library_(library), catalogue_(catalogue), pool_(pool) {}

Status OrderPins::pin(const Library::Model& model, const std::string& name) {
  Result<store::BlobInfo> info = store_.info(model.digest);
  if (!info) return fail(info.error());
  if (!info->pins.contains(name)) SHOAL_TRY(store_.annotate(model.digest, key_of(name), "1"));
  return library_.pin(model, name);
}

void OrderPins::keep(const Library::Model& model, const std::string& name) {
  if (Status kept = store_.annotate(model.digest, key_of(name), ""); !kept) {
    log::debug("noting whose pin it is", {{"err", kept.error()}});
  }
}

std::vector<content::Digest> OrderPins::pinned() const {
  std::vector<content::Digest> manifests;
  for (const auto& model : library_.list()) {
    Result<store::BlobInfo> info = store_.info(model->digest);
    if (!info) continue;
    auto note = info->annotations.lower_bound(std::string(kPrefix));
    if (note != info->annotations.end() && note->first.starts_with(kPrefix)) {
      manifests.push_back(model->digest);
    }
  }
  return manifests;
}

Status OrderPins::unpin(const content::Digest& manifest) {
  auto model = library_.find(manifest);
  Result<store::BlobInfo> info = store_.info(manifest);
  if (!model || !info) return {};
  for (const auto& [key, value] : info->annotations) {
    if (!key.starts_with(kPrefix)) continue;
    const std::string name = key.substr(kPrefix.size());
    SHOAL_TRY(library_.unpin(*model, name));
    SHOAL_TRY(store_.annotate(manifest, key, ""));
    log::info("a pin ended: no reference names the model any more",
              {{"digest", manifest.str()}, {"pin", name}});
  }
  return {};
}

Task<Status> OrderPins::removed(std::vector<content::Digest> manifests) {
  auto work = [this, manifests = std::move(manifests)]() -> Status {
    for (const content::Digest& manifest : manifests) SHOAL_TRY(unpin(manifest));
    return {};
  };
  co_return co_await pool_.run(work);
}

Task<Status> OrderPins::reconcile() {
  std::vector<content::Digest> manifests = pinned();
  if (manifests.empty()) co_return Status{};
  auto named = co_await catalogue_.named_manifests(kCallTimeout);
  if (!named) co_return fail(named.error());
  std::erase_if(manifests, [&](const auto& manifest) { return named->contains(manifest); });
  co_return co_await removed(std::move(manifests));
}

}  // namespace shoal::agent
