// The models this node knows: their manifests, which are blobs like others, and under which
// references they were published or pulled here. What a node needs to name its content without the
// tracker.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/manifest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread safe; functions that say "blocks" belong on the blocking pool. Lifetime: borrows the
// store.
class Library {
 public:
  struct Model {
    content::Digest digest;  // of the manifest
    content::ModelManifest manifest;
    std::set<std::string> references;
  };

  explicit Library(store::BlobStore& store) : store_(store) {}

  // Reads the manifests that the store has. Blocks.
  void load();

  // Stores a manifest, and that `reference` (may be empty) names it here; another manifest that it
  // named before loses it. Blocks. Errors: invalid (not a model manifest), and the store's.
  Result<std::shared_ptr<const Model>> record(const std::string& reference,
                                              std::string_view manifest,
                                              const std::set<std::string>& pins);

  // By "name:tag" as last seen here, or by "name@sha256:…". Null if unknown here.
  std::shared_ptr<const Model> find(const std::string& reference) const;
  std::shared_ptr<const Model> find(const content::Digest& manifest) const;
  std::vector<std::shared_ptr<const Model>> list() const;
  // References of models that contain the blob, manifests and configs included.
  std::vector<std::string> references_of(const content::Digest& blob) const;

  // The reference does not name anything here any more. Blocks.
  Status forget(const std::string& reference);
  // A blob left the store: if it was a manifest, its model is not known any more.
  void removed(const content::Digest& blob);

  // Keeps, or no longer keeps, the model's blobs that are here for the name. Blocks.
  Status pin(const Model& model, const std::string& name);
  Status unpin(const Model& model, const std::string& name);
  // Names that pin a manifest which is here, with it.
  std::vector<std::pair<std::string, content::Digest>> pins() const;

  // Whether it is the manifest or the config of a model some of whose files are here: without the
  // one nobody here could name them, without the other this is no copy of the model.
  bool goes_with_stored_files(const content::Digest& blob) const;

  // Every blob of the model once: manifest, config, files.
  static std::vector<content::Digest> blobs(const Model& model);

 private:
  using Models = std::map<content::Digest, std::shared_ptr<const Model>>;

  store::BlobStore& store_;
  mutable std::mutex mutex_;
  Models models_;                                      // guarded by mutex_
  std::map<std::string, content::Digest> references_;  // guarded by mutex_
};

// Puts bytes that are in memory into the store as a blob, durably. Blocks. Errors: the store's.
Result<std::shared_ptr<store::Blob>> store_bytes(
    store::BlobStore& store, std::string_view bytes, const std::set<std::string>& pins,
    const std::map<std::string, std::string>& annotations);

// All bytes of a complete blob of at most `limit` bytes. Blocks. Errors: invalid (longer,
// incomplete), and the store's.
Result<std::string> read_whole(store::BlobStore& store, const content::Digest& blob,
                               std::uint64_t limit);

}  // namespace shoal::agent
