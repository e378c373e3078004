#include "core/content/manifest.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/base/check.h"
#include "core/base/hex.h"
#include "core/content/layout.h"
#include "core/content/oci_json.h"
#include "core/content/piece_hasher.h"

namespace shoal::content {

std::optional<Hash32> Descriptor::pieces_root() const {
  auto annotation = annotations.find(std::string(kPiecesRootAnnotation));
  Hash32 root{};
  if (annotation == annotations.end() || !from_hex(annotation->second, root)) return {};
  return root;
}
namespace {

using oci::annotation;
using oci::find;
using oci::Json;
using oci::read_annotations;
using oci::read_descriptor;
// Keeps fields in the order they are written, so that a document has one form.
using OrderedJson = nlohmann::ordered_json;

auto invalid(std::string why) { return fail(Errc::kInvalid, std::move(why)); }

// ---- rules that hold for documents read and written

Status check_title(std::string_view title) {
  if (title.size() > kMaxTitle || !is_plain_text(title)) {
    return invalid("title '" + escape_for_message(title) +
                   "' is not at most 255 bytes of UTF-8 without control characters");
  }
  return {};
}

Status check_origin(std::string_view origin) {
  auto bad = [&](const char* fault) {
    // Not shown: what is refused here may be a secret.
    return invalid("the origin " + std::string(fault) +
                   ": write http(s)://host[:port]/path without user, query or fragment");
  };
  if (origin.size() > kMaxOrigin) return bad("is too long");
  std::size_t scheme = 0;
  if (origin.starts_with("http://")) scheme = 7;
  if (origin.starts_with("https://")) scheme = 8;
  if (scheme == 0) return bad("is not an http or https URL");
  // RFC 3986 allows no other bytes in a URL.
  constexpr std::string_view kForbidden = " \"<>\\^`{|}\x7f";
  for (char c : origin) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7f || kForbidden.find(c) != std::string_view::npos) {
      return bad("has a character that must be percent-encoded");
    }
  }
  std::string_view rest = origin.substr(scheme);
  std::string_view authority = rest.substr(0, rest.find('/'));
  if (authority.empty()) return bad("has no host");
  if (authority.find('@') != std::string_view::npos) return bad("has a user");
  if (rest.find_first_of("?#") != std::string_view::npos) return bad("has a query or fragment");
  return {};
}

Status check_annotations(const std::map<std::string, std::string>& annotations) {
  if (annotations.size() + 3 > kMaxAnnotations) return invalid("too many annotations");
  for (const auto& [key, value] : annotations) {
    const bool ours =
        key == kTitleAnnotation || key == kOriginAnnotation || key == kProvisionalAnnotation;
    const bool plain = is_plain_text(key) && is_plain_text(value);
    if (key.empty() || ours || !plain || key.size() > kMaxAnnotationLength ||
        value.size() > kMaxAnnotationLength) {
      return invalid("the annotation '" + escape_for_message(key) + "' cannot be made");
    }
  }
  return {};
}

Status check_root(std::uint64_t size, bool has_root) {
  if (size == 0 && has_root) return invalid("an empty file has no pieces root");
  return {};
}

// The same blob must be described in the same way wherever it is listed.
Status check_files_agree(const std::vector<ModelFile>& files) {
  std::map<Digest, const ModelFile*> known;
  for (const ModelFile& file : files) {
    auto [it, added] = known.emplace(file.digest, &file);
    const ModelFile& first = *it->second;
    if (!added && (first.size != file.size || first.pieces_root != file.pieces_root)) {
      return invalid("'" + escape_for_message(first.path.str()) + "' and '" +
                     escape_for_message(file.path.str()) +
                     "' have one digest but differ in size or pieces root");
    }
  }
  return {};
}

Status check_files(const std::vector<ModelFile>& files) {
  if (files.empty()) return invalid("a model has at least one file");
  if (files.size() > kMaxModelFiles) {
    return invalid("more than " + std::to_string(kMaxModelFiles) + " files");
  }
  std::vector<RelativePath> paths;
  paths.reserve(files.size());
  for (const ModelFile& file : files) paths.push_back(file.path);
  SHOAL_TRY(check_paths_coexist(paths));
  return check_files_agree(files);
}

Result<ModelFile> file_from_layer(Descriptor layer) {
  if (layer.media_type.find(".tar") != std::string::npos) {
    return invalid("is an archive (" + escape_for_message(layer.media_type) +
                   "); only one raw file per layer is supported");
  }
  const std::string* path_text = annotation(layer.annotations, kFilepathAnnotation);
  if (path_text == nullptr) return invalid("has no " + std::string(kFilepathAnnotation));
  Result<RelativePath> path = RelativePath::parse(*path_text);
  if (!path) return fail(path.error());
  ModelFile file{*std::move(path), layer.digest, layer.size, std::nullopt,
                 std::move(layer.media_type)};
  if (const std::string* root = annotation(layer.annotations, kPiecesRootAnnotation)) {
    Hash32 hash;
    if (!from_hex(*root, hash)) {
      return invalid("'" + escape_for_message(*root) + "' is not a pieces root: 64 hex digits");
    }
    file.pieces_root = hash;
  }
  SHOAL_TRY(check_root(file.size, file.pieces_root.has_value()));
  return file;
}

Result<ModelManifest> read_manifest(const Json& json) {
  if (!json.is_object()) return invalid("not a JSON object");
  SHOAL_TRY(oci::check_schema_version(json));
  const Json* media_type = find(json, "mediaType");
  if (media_type != nullptr && *media_type != kManifestMediaType) {
    return invalid("'mediaType' is not " + std::string(kManifestMediaType));
  }
  const Json* artifact_type = find(json, "artifactType");
  if (artifact_type == nullptr || *artifact_type != kModelArtifactType) {
    return invalid("not a model: 'artifactType' is not " + std::string(kModelArtifactType));
  }
  const Json* config = find(json, "config");
  if (config == nullptr) return invalid("'config' is missing");
  Result<Descriptor> config_descriptor = read_descriptor(*config);
  if (!config_descriptor) return fail(config_descriptor.error().with_context("config"));
  if (config_descriptor->media_type != kModelConfigMediaType) {
    return invalid("the config's media type is not " + std::string(kModelConfigMediaType));
  }
  const Json* layers = find(json, "layers");
  if (layers == nullptr || !layers->is_array()) return invalid("'layers' is not an array");
  if (layers->size() > kMaxModelFiles) {
    return invalid("more than " + std::to_string(kMaxModelFiles) + " layers");
  }
  Result<std::map<std::string, std::string>> annotations = read_annotations(json);
  if (!annotations) return fail(annotations.error());
  ModelManifest manifest;
  if (const std::string* mark = annotation(*annotations, kProvisionalAnnotation)) {
    manifest.provisional = *mark == "true";
  }
  manifest.config = *std::move(config_descriptor);
  manifest.files.reserve(layers->size());
  for (std::size_t i = 0; i < layers->size(); ++i) {
    std::string where = "layer " + std::to_string(i);
    Result<Descriptor> layer = read_descriptor((*layers)[i], manifest.provisional);
    if (!layer) return fail(layer.error().with_context(where));
    Result<ModelFile> file = file_from_layer(*std::move(layer));
    if (!file) return fail(file.error().with_context(where));
    manifest.files.push_back(*std::move(file));
  }
  SHOAL_TRY(check_files(manifest.files));
  if (const std::string* title = annotation(*annotations, kTitleAnnotation)) {
    SHOAL_TRY(check_title(*title));
    manifest.title = *title;
  }
  if (const std::string* origin = annotation(*annotations, kOriginAnnotation)) {
    SHOAL_TRY(check_origin(*origin));
    manifest.origin = *origin;
  }
  annotations->erase(std::string(kTitleAnnotation));
  annotations->erase(std::string(kOriginAnnotation));
  annotations->erase(std::string(kProvisionalAnnotation));
  manifest.annotations = std::move(*annotations);
  return manifest;
}

// ---- writing

struct FileKind {
  std::string_view suffix;  // of the lower-case file name
  std::string_view media_type;
  std::string_view format;  // ModelPack docs/config.md, "format"; empty if it says nothing
};

constexpr std::array<FileKind, 19> kFileKinds{{
    {".safetensors", kWeightMediaType, "safetensors"},
    {".gguf", kWeightMediaType, "gguf"},
    {".onnx", kWeightMediaType, "onnx"},
    {".pt", kWeightMediaType, "pt"},
    {".pth", kWeightMediaType, "pt"},
    {".bin", kWeightMediaType, ""},
    {".h5", kWeightMediaType, ""},
    {".msgpack", kWeightMediaType, ""},
    {".npz", kWeightMediaType, ""},
    {".md", kDocMediaType, ""},
    {".pdf", kDocMediaType, ""},
    {".png", kDocMediaType, ""},
    {".jpg", kDocMediaType, ""},
    {"license", kDocMediaType, ""},
    {"license.txt", kDocMediaType, ""},
    {"notice", kDocMediaType, ""},
    {".py", kCodeMediaType, ""},
    {".ipynb", kCodeMediaType, ""},
    {".sh", kCodeMediaType, ""},
}};

const FileKind* kind_of(const RelativePath& path) {
  std::string name = path.str().substr(path.str().rfind('/') + 1);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  for (const FileKind& kind : kFileKinds) {
    if (name.ends_with(kind.suffix)) return &kind;
  }
  return nullptr;
}

OrderedJson to_json(const Descriptor& descriptor) {
  OrderedJson json;
  json["mediaType"] = descriptor.media_type;
  json["digest"] = descriptor.digest.str();
  json["size"] = descriptor.size;
  if (!descriptor.annotations.empty()) json["annotations"] = descriptor.annotations;
  return json;
}

Descriptor layer_of(const ModelFile& file) {
  Descriptor layer{file.media_type, file.digest, file.size, {}};
  layer.annotations.emplace(kFilepathAnnotation, file.path.str());
  if (file.pieces_root) {
    layer.annotations.emplace(kPiecesRootAnnotation, to_hex(*file.pieces_root));
  }
  return layer;
}

// ModelPack docs/config.md. createdAt stays out: the same files must give the same digest.
std::string config_json(const std::string& title, const std::vector<ModelFile>& files) {
  std::set<std::string_view> formats;
  OrderedJson diff_ids = OrderedJson::array();
  for (const ModelFile& file : files) {
    const FileKind* kind = kind_of(file.path);
    if (kind != nullptr && !kind->format.empty()) formats.insert(kind->format);
    diff_ids.push_back(file.digest.str());  // of the uncompressed layer, which a raw layer is
  }
  OrderedJson json;
  json["descriptor"] = OrderedJson::object();
  if (!title.empty()) json["descriptor"]["title"] = title;
  json["config"] = OrderedJson::object();
  if (formats.size() == 1) json["config"]["format"] = *formats.begin();
  json["modelfs"]["type"] = "layers";
  json["modelfs"]["diffIds"] = std::move(diff_ids);
  return json.dump();
}

Descriptor describe_config(std::string_view text) {
  BlobHasher hasher{BlobLayout(text.size())};
  SHOAL_CHECK(hasher.update(std::as_bytes(std::span(text))).has_value(), "exactly its size");
  Result<BlobHashes> hashes = hasher.finish();
  SHOAL_CHECK(hashes.has_value() && hashes->pieces_root, "a config is never empty");
  Descriptor config{std::string(kModelConfigMediaType), hashes->digest, text.size(), {}};
  config.annotations.emplace(kPiecesRootAnnotation, to_hex(*hashes->pieces_root));
  return config;
}

std::string manifest_json(const ModelManifest& manifest) {
  OrderedJson json;
  json["schemaVersion"] = 2;
  json["mediaType"] = kManifestMediaType;
  json["artifactType"] = kModelArtifactType;
  json["config"] = to_json(manifest.config);
  json["layers"] = OrderedJson::array();
  for (const ModelFile& file : manifest.files) json["layers"].push_back(to_json(layer_of(file)));
  std::map<std::string, std::string> annotations = manifest.annotations;
  if (!manifest.title.empty()) annotations.emplace(kTitleAnnotation, manifest.title);
  if (manifest.origin) annotations.emplace(kOriginAnnotation, *manifest.origin);
  if (manifest.provisional) annotations.emplace(kProvisionalAnnotation, "true");
  if (!annotations.empty()) json["annotations"] = annotations;
  return json.dump();
}

// Completes what the caller has checked and filled in, and writes both documents.
Result<ModelDocuments> make_documents(ModelManifest manifest) {
  SHOAL_TRY(check_files(manifest.files));
  SHOAL_TRY(check_annotations(manifest.annotations));
  SHOAL_TRY(check_title(manifest.title));
  for (ModelFile& file : manifest.files) {
    if (file.media_type.empty()) file.media_type = model_media_type(file.path);
    if (Result<BlobLayout> layout = BlobLayout::of_size(file.size); !layout) {
      return fail(layout.error().with_context("'" + escape_for_message(file.path.str()) + "'"));
    }
  }
  std::sort(manifest.files.begin(), manifest.files.end(),
            [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  ModelDocuments documents;
  documents.config_json = manifest.provisional ? "{}" : config_json(manifest.title, manifest.files);
  manifest.config = describe_config(documents.config_json);
  documents.manifest_json = manifest_json(manifest);
  if (documents.manifest_json.size() > kMaxManifestSize) {
    return invalid("the manifest of " + std::to_string(manifest.files.size()) +
                   " files is larger than 4 MiB");
  }
  documents.manifest = std::move(manifest);
  documents.manifest_digest = digest_of(documents.manifest_json);
  return documents;
}

}  // namespace

std::string_view model_media_type(const RelativePath& path) {
  const FileKind* kind = kind_of(path);
  return kind != nullptr ? kind->media_type : kWeightConfigMediaType;
}

std::uint64_t ModelManifest::total_size() const {
  std::uint64_t total = 0;  // cannot overflow: kMaxModelFiles * kMaxBlobSize < 2^64
  for (const ModelFile& file : files) total += file.size;
  return total;
}

Result<ModelManifest> ModelManifest::parse(std::span<const std::byte> json) {
  return parse(std::string_view(reinterpret_cast<const char*>(json.data()), json.size()));
}

Result<ModelManifest> ModelManifest::parse(std::string_view json) {
  auto named = [](const Error& error) { return fail(error.with_context("manifest")); };
  Result<Json> parsed = oci::parse_document(json);
  if (!parsed) return named(parsed.error());
  Result<ModelManifest> manifest = read_manifest(*parsed);
  if (!manifest) return named(manifest.error());
  return manifest;
}

Result<ModelDocuments> make_model(std::string title, std::vector<ModelFile> files,
                                  std::optional<std::string> origin,
                                  std::map<std::string, std::string> annotations) {
  for (const ModelFile& file : files) {
    std::string where = "'" + escape_for_message(file.path.str()) + "'";
    if (file.pieces_root.has_value() != (file.size > 0)) {
      return invalid(where + ": a file has a pieces root exactly when it is not empty");
    }
    if (file.digest.is_ingest()) return invalid(where + ": its digest is not known yet");
  }
  if (origin) SHOAL_TRY(check_origin(*origin));
  ModelManifest manifest;
  manifest.title = std::move(title);
  manifest.origin = std::move(origin);
  manifest.annotations = std::move(annotations);
  manifest.files = std::move(files);
  return make_documents(std::move(manifest));
}

Result<ModelDocuments> make_provisional_model(std::string title, std::vector<ModelFile> files,
                                              std::map<std::string, std::string> annotations) {
  for (const ModelFile& file : files) {
    if (file.size > 0 || (!file.pieces_root && file.digest == digest_of(std::string_view()))) {
      continue;
    }
    return invalid("'" + escape_for_message(file.path.str()) +
                   "': an empty file has no pieces root and the digest of nothing");
  }
  ModelManifest manifest;
  manifest.title = std::move(title);
  manifest.provisional = true;
  manifest.annotations = std::move(annotations);
  manifest.files = std::move(files);
  return make_documents(std::move(manifest));
}

}  // namespace shoal::content
