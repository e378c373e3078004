// Reading JSON objects of the agent's answers: absent and null fields have defaults, wrong types
// are corrupt. Internal to core/agent_client; included by .cc files only, for it includes the JSON
// library.
#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"

namespace shoal::agent_client {

using Json = nlohmann::json;

// Keeps the first problem; what is read after it has defaults.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : root_(Json::parse(text, nullptr, false)) {
    if (root_.is_discarded()) wrong("", "is not JSON");
  }

  const Json& root() const { return root_; }
  Status status() const {
    return problem_.empty()
               ? Status()
               : fail(Errc::kCorrupt, "the agent's answer is not understood: " + problem_);
  }

  // The member, or null if it is absent (or `object` is no object, which is a problem).
  const Json& get(const Json& object, const char* key) {
    static const Json kNull;
    if (!object.is_object()) {
      wrong(key, "is missing: its place is not an object");
      return kNull;
    }
    auto it = object.find(key);
    return it == object.end() ? kNull : *it;
  }
  std::string text(const Json& object, const char* key) {
    const Json& value = get(object, key);
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_null()) wrong(key, "must be text");
    return {};
  }
  std::uint64_t number(const Json& object, const char* key) {
    const Json& value = get(object, key);
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    if (!value.is_null()) wrong(key, "must be a whole number of at least 0");
    return 0;
  }
  double real(const Json& object, const char* key) {
    const Json& value = get(object, key);
    if (value.is_number()) return value.get<double>();
    if (!value.is_null()) wrong(key, "must be a number");
    return 0;
  }
  bool flag(const Json& object, const char* key) {
    const Json& value = get(object, key);
    if (value.is_boolean()) return value.get<bool>();
    if (!value.is_null()) wrong(key, "must be true or false");
    return false;
  }
  // The elements, none if absent.
  const Json& list(const Json& object, const char* key) {
    static const Json kEmpty = Json::array();
    const Json& value = get(object, key);
    if (value.is_array()) return value;
    if (!value.is_null()) wrong(key, "must be an array");
    return kEmpty;
  }
  std::vector<std::string> texts(const Json& object, const char* key) {
    std::vector<std::string> out;
    for (const Json& element : list(object, key)) {
      if (!element.is_string()) {
        wrong(key, "must hold texts");
        break;
      }
      out.push_back(element.get<std::string>());
    }
    return out;
  }
  content::Digest digest(const Json& object, const char* key) {
    return digest_of(get(object, key), key);
  }
  content::Digest digest_of(const Json& value, const char* key) {
    if (value.is_string()) {
      Result<content::Digest> parsed =
          content::Digest::parse_name(value.get_ref<const std::string&>());
      if (parsed) return *parsed;
    }
    wrong(key, "must be a digest");
    return {};
  }
  // The index of the text in `names`.
  template <std::size_t N>
  std::size_t choice(const Json& object, const char* key, const std::string_view (&names)[N]) {
    std::string value = text(object, key);
    for (std::size_t i = 0; i < N; ++i) {
      if (names[i] == value) return i;
    }
    wrong(key, "has an unknown value");
    return 0;
  }

  void wrong(std::string_view key, std::string_view what) {
    if (problem_.empty())
      problem_ = (key.empty() ? "it" : std::string(key)) + " " + std::string(what);
  }

 private:
  Json root_;
  std::string problem_;
};

// {"code","message"}; nothing if `value` is null.
inline std::optional<Error> error_of(JsonReader& reader, const Json& value) {
  if (value.is_null()) return std::nullopt;
  return Error(errc_from_name(reader.text(value, "code")), reader.text(value, "message"));
}

}  // namespace shoal::agent_client
