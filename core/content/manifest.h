// A model as an OCI artifact in the CNCF ModelPack layout: one raw layer per file. Hides JSON.
//
// The documents are made deterministically: the same files under the same title give the same
// bytes, hence the same manifest digest, wherever they are published.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/descriptor.h"
#include "core/content/digest.h"
#include "core/content/relative_path.h"

namespace shoal::content {

// Limits for documents made by others, checked before anything is built from them.
inline constexpr std::size_t kMaxManifestSize = 4 * 1024 * 1024;  // OCI distribution spec's minimum
inline constexpr std::size_t kMaxModelFiles = 10'000;
inline constexpr std::size_t kMaxAnnotations = 256;          // per object
inline constexpr std::size_t kMaxAnnotationLength = 16'384;  // key or value
inline constexpr std::size_t kMaxJsonDepth = 32;
inline constexpr std::size_t kMaxJsonValues = 250'000;  // kMaxModelFiles layers of 25 values each
inline constexpr std::size_t kMaxTitle = 255;
inline constexpr std::size_t kMaxOrigin = 2048;

struct ModelFile {
  RelativePath path;
  Digest digest;  // of a provisional manifest perhaps an ingest name
  std::uint64_t size = 0;
  // None for an empty file, in manifests that Shoal did not make, and where it is not known yet.
  std::optional<Hash32> pieces_root;
  std::string media_type;

  friend bool operator==(const ModelFile&, const ModelFile&) = default;
};

// The ModelPack media type for a file of that name: weights, their configuration, documentation,
// code.
std::string_view model_media_type(const RelativePath& path);

// Thread: a value.
struct ModelManifest {
  std::string title;  // empty when the manifest has none
  // See kOriginAnnotation. http:// or https://, without user, query or fragment: what identifies a
  // person or grants access does not belong into a published document.
  std::optional<std::string> origin;
  std::map<std::string, std::string> annotations;  // all others
  bool provisional = false;                        // see kProvisionalAnnotation
  Descriptor config;
  std::vector<ModelFile> files;  // in the order of the layers

  std::uint64_t total_size() const;  // of the files

  // Accepts what any ModelPack writer may have made, as long as each layer is one raw file. Unknown
  // fields are ignored. Errors: invalid (not JSON, over a limit, not a model manifest, an archive
  // as a layer, a bad digest, size, path or root); the message says where.
  static Result<ModelManifest> parse(std::span<const std::byte> json);
  static Result<ModelManifest> parse(std::string_view json);

  friend bool operator==(const ModelManifest&, const ModelManifest&) = default;
};

// What `publish` stores besides the files.
struct ModelDocuments {
  std::string config_json;
  std::string manifest_json;
  Digest manifest_digest;
  ModelManifest manifest;  // what parse(manifest_json) gives
};

// Makes both documents. Files are sorted by path, so their order does not matter; media types that
// are empty are filled in by model_media_type(). Nothing in the documents depends on time or
// machine. Errors: invalid (no file, too many, paths that cannot coexist, a root where there must
// be none or none where there must be one, a title or origin that is not UTF-8 or too long, a
// manifest above kMaxManifestSize).
Result<ModelDocuments> make_model(std::string title, std::vector<ModelFile> files,
                                  std::optional<std::string> origin,
                                  std::map<std::string, std::string> annotations = {});

// The same for files that are still being read: their digests may be ingest names, and only what is
// known of their roots is said. The config says nothing. Errors: as make_model().
Result<ModelDocuments> make_provisional_model(std::string title, std::vector<ModelFile> files,
                                              std::map<std::string, std::string> annotations = {});

}  // namespace shoal::content
