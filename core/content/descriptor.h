// What OCI documents say about one blob, and the media types and annotation keys that Shoal writes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/content/digest.h"

namespace shoal::content {

// OCI image spec, descriptor.md. Thread: a value.
struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;  // at most kMaxBlobSize
  std::map<std::string, std::string> annotations;

  // What kPiecesRootAnnotation says; nothing if it is absent or no hash.
  std::optional<Hash32> pieces_root() const;

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

// OCI image spec, media-types.md.
inline constexpr std::string_view kManifestMediaType = "application/vnd.oci.image.manifest.v1+json";

// CNCF ModelPack model-spec, docs/spec.md.
inline constexpr std::string_view kModelArtifactType =
    "application/vnd.cncf.model.manifest.v1+json";
inline constexpr std::string_view kModelConfigMediaType =
    "application/vnd.cncf.model.config.v1+json";
inline constexpr std::string_view kWeightMediaType = "application/vnd.cncf.model.weight.v1.raw";
inline constexpr std::string_view kWeightConfigMediaType =
    "application/vnd.cncf.model.weight.config.v1.raw";
inline constexpr std::string_view kDocMediaType = "application/vnd.cncf.model.doc.v1.raw";
inline constexpr std::string_view kCodeMediaType = "application/vnd.cncf.model.code.v1.raw";

// ModelPack docs/annotations.md; OCI image spec, annotations.md; ours.
inline constexpr std::string_view kFilepathAnnotation = "org.cncf.model.filepath";
inline constexpr std::string_view kTitleAnnotation = "org.opencontainers.image.title";
// 64 hex digits: the BEP 52 pieces root of the layer. Absent for an empty one.
inline constexpr std::string_view kPiecesRootAnnotation = "dev.shoal.pieces-root";
// On the manifest: a URL under which every file can be read by ranges at its path.
inline constexpr std::string_view kOriginAnnotation = "dev.shoal.origin";
// On the manifest, "true": its files are still being read from their origin. Layers may have ingest
// names, and no roots; another manifest will take its place (ADR 0008).
inline constexpr std::string_view kProvisionalAnnotation = "dev.shoal.provisional";

}  // namespace shoal::content
