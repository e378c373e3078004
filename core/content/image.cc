#include "core/content/image.h"

#include <sys/utsname.h>

#include <algorithm>
#include <utility>

#include "core/content/oci_json.h"
#include "core/content/relative_path.h"

namespace shoal::content {
namespace {

using oci::find;
using oci::Json;

std::string text_or_empty(const Json& object, std::string_view key) {
  const Json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

Result<std::vector<const Json*>> read_array(const Json& document, std::string_view key,
                                            std::size_t most) {
  const Json* array = find(document, key);
  const std::string name = "'" + std::string(key) + "'";
  if (array == nullptr || !array->is_array())
    return fail(Errc::kInvalid, name + " is not an array");
  if (array->size() > most) {
    return fail(Errc::kInvalid, name + " has more than " + std::to_string(most) + " entries");
  }
  std::vector<const Json*> entries;
  for (const Json& entry : *array) entries.push_back(&entry);
  return entries;
}

Result<ImageManifest> read_image(const Json& document) {
  ImageManifest manifest;
  manifest.media_type = text_or_empty(document, "mediaType");
  manifest.artifact_type = text_or_empty(document, "artifactType");
  const Json* config = find(document, "config");
  if (config == nullptr) return fail(Errc::kInvalid, "'config' is missing");
  Result<Descriptor> described = oci::read_descriptor(*config);
  if (!described) return fail(described.error().with_context("config"));
  manifest.config = std::move(*described);
  auto layers = read_array(document, "layers", kMaxLayers);
  if (!layers) return fail(layers.error());
  for (const Json* entry : *layers) {
    Result<Descriptor> layer = oci::read_descriptor(*entry);
    if (!layer) {
      return fail(layer.error().with_context("layer " + std::to_string(manifest.layers.size())));
    }
    manifest.layers.push_back(std::move(*layer));
  }
  auto annotations = oci::read_annotations(document);
  if (!annotations) return fail(annotations.error());
  manifest.annotations = std::move(*annotations);
  return manifest;
}

Result<ImageIndex> read_index(const Json& document) {
  ImageIndex index;
  auto manifests = read_array(document, "manifests", kMaxIndexEntries);
  if (!manifests) return fail(manifests.error());
  for (const Json* entry : *manifests) {
    Result<Descriptor> manifest = oci::read_descriptor(*entry);
    if (!manifest) {
      return fail(
          manifest.error().with_context("manifest " + std::to_string(index.entries.size())));
    }
    std::optional<Platform> platform;
    if (const Json* given = find(*entry, "platform"); given != nullptr && given->is_object()) {
      platform = Platform{text_or_empty(*given, "os"), text_or_empty(*given, "architecture"),
                          text_or_empty(*given, "variant")};
    }
    index.entries.push_back({std::move(*manifest), std::move(platform)});
  }
  return index;
}

Result<ImageDocument> read_document(const Json& document) {
  if (find(document, "schemaVersion") != nullptr && *find(document, "schemaVersion") == 1) {
    return fail(Errc::kInvalid, "Docker's schema 1, which is not understood: push the image anew");
  }
  SHOAL_TRY(oci::check_schema_version(document));
  const std::string media_type = text_or_empty(document, "mediaType");
  const bool index_type = media_type == kIndexMediaType || media_type == kDockerIndexMediaType;
  const bool image_type =
      media_type == kManifestMediaType || media_type == kDockerManifestMediaType;
  if (!media_type.empty() && !index_type && !image_type) {
    return fail(Errc::kInvalid,
                "the media type '" + escape_for_message(media_type) + "' is not understood");
  }
  // One that can be read as either is read as neither: who checks it may see the other.
  const bool has_layers = find(document, "layers") != nullptr;
  const bool has_manifests = find(document, "manifests") != nullptr;
  if (has_layers && has_manifests) {
    return fail(Errc::kInvalid, "has both 'layers' and 'manifests'");
  }
  if (index_type || (!image_type && has_manifests)) {
    Result<ImageIndex> index = read_index(document);
    if (!index) return fail(index.error());
    return ImageDocument(std::move(*index));
  }
  Result<ImageManifest> manifest = read_image(document);
  if (!manifest) return fail(manifest.error());
  return ImageDocument(std::move(*manifest));
}

}  // namespace

Result<Platform> Platform::parse(std::string_view text) {
  std::vector<std::string> parts{""};
  for (char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (c == '/') {
      parts.emplace_back();
    } else if (plain) {
      parts.back() += c;
    } else {
      parts.clear();
      break;
    }
  }
  const bool empty =
      std::any_of(parts.begin(), parts.end(), [](const std::string& part) { return part.empty(); });
  if (parts.size() < 2 || parts.size() > 3 || empty) {
    return fail(Errc::kInvalid, "'" + escape_for_message(text) +
                                    "' is not a platform: write linux/amd64 or linux/arm64/v8");
  }
  return Platform{parts[0], parts[1], parts.size() == 3 ? parts[2] : ""};
}

std::string Platform::str() const {
  return os + "/" + architecture + (variant.empty() ? "" : "/" + variant);
}

Platform Platform::of_this_machine() {
  struct utsname name {};
  std::string machine = ::uname(&name) == 0 ? name.machine : "x86_64";
  if (machine == "x86_64") machine = "amd64";
  if (machine == "aarch64") machine = "arm64";
  return {"linux", machine, ""};
}

Result<Descriptor> ImageIndex::choose(const Platform& platform) const {
  const Descriptor* fallback = nullptr;
  std::string there;
  for (const Entry& entry : entries) {
    if (!entry.platform) continue;
    const Platform& has = *entry.platform;
    there += (there.empty() ? "" : ", ") + escape_for_message(has.str());
    if (has.os != platform.os || has.architecture != platform.architecture) continue;
    if (has.variant == platform.variant) return entry.manifest;
    const bool either_open = has.variant.empty() || platform.variant.empty();
    if (either_open && fallback == nullptr) fallback = &entry.manifest;
  }
  if (fallback != nullptr) return *fallback;
  return fail(Errc::kNotFound, "there is none for " + platform.str() + ", only for " +
                                   (there.empty() ? "unnamed platforms" : there));
}

Result<ImageDocument> parse_image_document(std::string_view json) {
  Result<Json> parsed = oci::parse_document(json);
  if (!parsed) return fail(parsed.error().with_context("manifest"));
  Result<ImageDocument> document = read_document(*parsed);
  if (!document) return fail(document.error().with_context("manifest"));
  return document;
}

}  // namespace shoal::content
