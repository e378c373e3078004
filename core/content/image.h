// Manifests and indices as registries hand them out: OCI's and Docker's of schema 2. Hides JSON.
// OCI image spec, manifest.md and image-index.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/result.h"
#include "core/content/descriptor.h"

namespace shoal::content {

inline constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kDockerManifestMediaType =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerIndexMediaType =
    "application/vnd.docker.distribution.manifest.list.v2+json";

inline constexpr std::size_t kMaxLayers = 10'000;
inline constexpr std::size_t kMaxIndexEntries = 1'000;

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;

  // "linux/arm64/v8". Errors: invalid.
  static Result<Platform> parse(std::string_view text);
  std::string str() const;
  // Of the machine this runs on.
  static Platform of_this_machine();
  friend bool operator==(const Platform&, const Platform&) = default;
};

// One image, or another artifact.
struct ImageManifest {
  std::string media_type;
  std::string artifact_type;  // empty for an image
  Descriptor config;
  std::vector<Descriptor> layers;
  std::map<std::string, std::string> annotations;
};

// Images of one name for several platforms.
struct ImageIndex {
  struct Entry {
    Descriptor manifest;
    std::optional<Platform> platform;
  };
  std::vector<Entry> entries;

  // The entry for a platform: the same variant before none. Errors: not_found, naming those there
  // are.
  Result<Descriptor> choose(const Platform& platform) const;
};

using ImageDocument = std::variant<ImageManifest, ImageIndex>;

// Which of the two it is follows from its media type, without one from its fields. Errors: invalid
// (not JSON, over a limit, neither, Docker's schema 1, a bad descriptor); the message says where.
Result<ImageDocument> parse_image_document(std::string_view json);

}  // namespace shoal::content
