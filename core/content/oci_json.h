// Reading OCI documents: what manifests of models, manifests of images and indices have in common.
// Internal to core/content.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/content/descriptor.h"

namespace shoal::content::oci {

using Json = nlohmann::json;

// A whole document within the limits of manifest.h. Errors: invalid.
Result<Json> parse_document(std::string_view text);

const Json* find(const Json& object, std::string_view key);
// Errors of all below: invalid, naming the key.
Result<std::string> read_string(const Json& object, std::string_view key);
Result<std::map<std::string, std::string>> read_annotations(const Json& object);
// `names`: the digest may be an ingest name.
Result<Descriptor> read_descriptor(const Json& json, bool names = false);
// 'schemaVersion' is 2.
Status check_schema_version(const Json& document);

// Null if it is not there.
const std::string* annotation(const std::map<std::string, std::string>& annotations,
                              std::string_view key);

}  // namespace shoal::content::oci
