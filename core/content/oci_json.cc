#include "core/content/oci_json.h"

#include <utility>

#include "core/base/json_shape.h"
#include "core/content/layout.h"
#include "core/content/manifest.h"
#include "core/content/relative_path.h"

namespace shoal::content::oci {

Result<Json> parse_document(std::string_view text) {
  if (text.size() > kMaxManifestSize) return fail(Errc::kInvalid, "larger than 4 MiB");
  JsonShape shape = json_shape(text);
  if (shape.depth > kMaxJsonDepth) return fail(Errc::kInvalid, "nested too deeply");
  if (shape.values > kMaxJsonValues) return fail(Errc::kInvalid, "too many JSON values");
  Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return fail(Errc::kInvalid, "not JSON");
  if (!parsed.is_object()) return fail(Errc::kInvalid, "not a JSON object");
  return parsed;
}

Status check_schema_version(const Json& document) {
  const Json* version = find(document, "schemaVersion");
  if (version == nullptr || *version != 2) {
    return fail(Errc::kInvalid, "'schemaVersion' is not 2");
  }
  return {};
}

const Json* find(const Json& object, std::string_view key) {
  auto it = object.find(key);
  return it == object.end() ? nullptr : &*it;
}

Result<std::string> read_string(const Json& object, std::string_view key) {
  const Json* value = find(object, key);
  if (value == nullptr || !value->is_string()) {
    return fail(Errc::kInvalid, "'" + std::string(key) + "' is missing or not a string");
  }
  return value->get_ref<const std::string&>();
}

Result<std::map<std::string, std::string>> read_annotations(const Json& object) {
  std::map<std::string, std::string> annotations;
  const Json* value = find(object, "annotations");
  if (value == nullptr || value->is_null()) return annotations;
  if (!value->is_object()) return fail(Errc::kInvalid, "'annotations' is not an object");
  if (value->size() > kMaxAnnotations) return fail(Errc::kInvalid, "more than 256 annotations");
  for (const auto& [key, text] : value->items()) {
    if (!text.is_string())
      return fail(Errc::kInvalid, "annotation '" + escape_for_message(key) + "' is not text");
    const auto& content = text.get_ref<const std::string&>();
    if (key.size() > kMaxAnnotationLength || content.size() > kMaxAnnotationLength) {
      return fail(Errc::kInvalid, "annotation '" + escape_for_message(key) + "' is too long");
    }
    annotations.emplace(key, content);
  }
  return annotations;
}

Result<Descriptor> read_descriptor(const Json& json, bool names) {
  if (!json.is_object()) return fail(Errc::kInvalid, "is not an object");
  Result<std::string> media_type = read_string(json, "mediaType");
  if (!media_type) return fail(media_type.error());
  if (media_type->size() > kMaxAnnotationLength)
    return fail(Errc::kInvalid, "the media type is too long");
  Result<std::string> digest_text = read_string(json, "digest");
  if (!digest_text) return fail(digest_text.error());
  Result<Digest> digest = names ? Digest::parse_name(*digest_text) : Digest::parse(*digest_text);
  if (!digest) return fail(digest.error());
  const Json* size = find(json, "size");
  if (size == nullptr || !size->is_number_unsigned()) {
    return fail(Errc::kInvalid, "'size' is missing or not a whole number");
  }
  Result<BlobLayout> layout = BlobLayout::of_size(size->get<std::uint64_t>());
  if (!layout) return fail(layout.error());
  if (layout->empty() && *digest != digest_of(std::string_view())) {
    return fail(Errc::kInvalid, "size 0 with a digest that is not that of nothing");
  }
  Result<std::map<std::string, std::string>> annotations = read_annotations(json);
  if (!annotations) return fail(annotations.error());
  return Descriptor{*std::move(media_type), *digest, layout->size(), *std::move(annotations)};
}

const std::string* annotation(const std::map<std::string, std::string>& annotations,
                              std::string_view key) {
  auto it = annotations.find(std::string(key));
  return it == annotations.end() ? nullptr : &it->second;
}

}  // namespace shoal::content::oci
