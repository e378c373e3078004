// Internal to core/api: each message lists its fields once, in a function
//   template <class V> void visit(V& v, Message& m)
// and both directions follow that list: Writer makes the JSON, Reader checks and takes it. Included
// by .cc files only, because it includes the JSON library.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/api/limits.h"
#include "core/base/error.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::api::detail {

using Json = nlohmann::json;
using Milliseconds = std::chrono::milliseconds;

enum class Presence { kOptional, kRequired };
inline constexpr Presence kRequired = Presence::kRequired;

// The JSON names of an enum's values; specialised beside the visit() that uses it as
//   static constexpr std::pair<E, std::string_view> kAll[] = {…};
template <typename E>
struct Names;

template <typename E>
std::string_view name_of(E value) {
  for (const auto& [known, name] : Names<E>::kAll) {
    if (known == value) return name;
  }
  return "";
}

// `text` cut to at most `limit` bytes, not within a character.
std::string cut_text(std::string_view text, std::size_t limit);

// Makes the JSON object of a message. Only reads what it visits.
class Writer {
 public:
  static constexpr bool kReads = false;

  void text(const char* key, const std::string& value, std::size_t, Presence = {}) {
    object_[key] = value;
  }
  void sentence(const char* key, const std::string& value) {
    object_[key] = cut_text(value, kMaxText);
  }
  void node_id(const char* key, const std::string& value) { object_[key] = value; }
  void epoch(const char* key, const std::string& value, Presence = {}) { object_[key] = value; }
  void address(const char* key, const std::string& value, bool, Presence = {}) {
    object_[key] = value;
  }
  template <std::integral N>
  void number(const char* key, const N& value, N = 0, Presence = {}) {
    object_[key] = value;
  }
  template <std::integral N>
  void number(const char* key, const std::optional<N>& value) {
    if (value) object_[key] = *value;
  }
  void flag(const char* key, const bool& value) { object_[key] = value; }
  void duration(const char* key, const Milliseconds& value, Milliseconds) {
    object_[key] = value.count();
  }
  void digest(const char* key, const content::Digest& value) { object_[key] = value.str(); }
  void digest(const char* key, const std::optional<content::Digest>& value) {
    if (value) object_[key] = value->str();
  }
  template <typename E>
  void choice(const char* key, const E& value, Presence = {}) {
    object_[key] = name_of(value);
  }
  void error(const char* key, const std::optional<Error>& value) {
    if (value) object_[key] = error_json(*value);
  }
  void labels(const char* key, const std::map<std::string, std::string>& value) {
    object_[key] = value;
  }
  template <typename T>
  void object(const char* key, const T& value) {
    object_[key] = json_of(value);
  }
  template <typename T>
  void object(const char* key, const std::optional<T>& value) {
    if (value) object_[key] = json_of(*value);
  }
  template <typename T>
  void list(const char* key, const std::vector<T>& values, std::size_t,
            std::size_t text_limit = kMaxName) {
    Json& array = object_[key] = Json::array();
    for (const T& value : values) {
      if constexpr (std::same_as<T, std::string>) {
        array.push_back(cut_text(value, text_limit));
      } else {
        array.push_back(json_of(value));
      }
    }
  }
  template <typename T>
  void list(const char* key, const std::optional<std::vector<T>>& values, std::size_t limit) {
    if (values) list(key, *values, limit);
  }

  Json& raw(const char* key) { return object_[key]; }
  Json take() { return std::move(object_); }

  template <typename T>
  static Json json_of(const T& value) {
    if constexpr (std::same_as<T, content::Digest>) {
      return value.str();
    } else if constexpr (std::same_as<T, content::PieceRange>) {
      return Json::array({value.first.value(), value.count});
    } else {
      Writer writer;
      visit(writer, const_cast<T&>(value));  // shared with Reader; a Writer never changes it
      return writer.take();
    }
  }

 private:
  static Json error_json(const Error& value) {
    return {{"code", errc_name(value.code())}, {"message", cut_text(value.message(), kMaxText)}};
  }

  Json object_ = Json::object();
};

// Takes the fields out of a JSON object. The first thing that is wrong is kept; what follows is
// skipped.
class Reader {
 public:
  static constexpr bool kReads = true;

  Reader(const Json& value, const Reader* parent, std::string key, std::optional<Error>& error)
      : value_(value), parent_(parent), key_(std::move(key)), error_(error) {
    if (!value.is_object()) wrong("", "must be an object");
  }

  void text(const char* key, std::string& value, std::size_t limit, Presence presence = {});
  void sentence(const char* key, std::string& value);
  void node_id(const char* key, std::string& value);
  void epoch(const char* key, std::string& value, Presence presence = {});
  void address(const char* key, std::string& value, bool may_omit_host, Presence presence = {});
  template <std::integral N>
  void number(const char* key, N& value, N limit = std::numeric_limits<N>::max(),
              Presence presence = {}) {
    const Json* field = find(key, presence);
    if (field) integer(key, *field, value, limit);
  }
  template <std::integral N>
  void number(const char* key, std::optional<N>& value) {
    const Json* field = find(key, {});
    if (field) integer(key, *field, value.emplace(), std::numeric_limits<N>::max());
  }
  void flag(const char* key, bool& value);
  void duration(const char* key, Milliseconds& value, Milliseconds limit);
  // Required.
  void digest(const char* key, content::Digest& value);
  void digest(const char* key, std::optional<content::Digest>& value);
  template <typename E>
  void choice(const char* key, E& value, Presence presence = {}) {
    const Json* field = find(key, presence);
    if (!field) return;
    if (field->is_string()) {
      const auto& text = field->get_ref<const std::string&>();
      for (const auto& [known, name] : Names<E>::kAll) {
        if (name == text) {
          value = known;
          return;
        }
      }
    }
    std::string accepted;
    for (const auto& [known, name] : Names<E>::kAll) {
      accepted += accepted.empty() ? "" : ", ";
      accepted += name;
    }
    wrong(key, "must be one of " + accepted);
  }
  void error(const char* key, std::optional<Error>& value);
  void labels(const char* key, std::map<std::string, std::string>& value);
  template <typename T>
  void object(const char* key, T& value) {
    const Json* field = find(key, {});
    if (field) take(*field, key, value);
  }
  template <typename T>
  void object(const char* key, std::optional<T>& value) {
    const Json* field = find(key, {});
    if (field) take(*field, key, value.emplace());
  }
  // At most `limit` elements; `text_limit` bytes each if they are text.
  template <typename T>
  void list(const char* key, std::vector<T>& values, std::size_t limit,
            std::size_t text_limit = kMaxName) {
    const Json* field = find(key, {});
    if (!field) return;
    if (!field->is_array()) return wrong(key, "must be an array");
    if (field->size() > limit) {
      return wrong(key, "has more than " + std::to_string(limit) + " entries");
    }
    values.clear();
    values.reserve(field->size());
    for (const Json& element : *field) {
      if (error_) return;
      std::string name = std::string(key) + "[" + std::to_string(values.size()) + "]";
      if constexpr (std::same_as<T, std::string>) {
        if (!element.is_string() || element.get_ref<const std::string&>().size() > text_limit) {
          return wrong(name, "must be text of at most " + std::to_string(text_limit) + " bytes");
        }
        values.push_back(element.get<std::string>());
      } else {
        take(element, name, values.emplace_back());
      }
    }
  }
  template <typename T>
  void list(const char* key, std::optional<std::vector<T>>& values, std::size_t limit) {
    if (find(key, {})) list(key, values.emplace(), limit);
  }

  // The field, or null when it is absent (or null) or something was wrong before.
  const Json* find(std::string_view key, Presence presence);
  void wrong(std::string_view key, std::string_view what);
  bool failed() const { return error_.has_value(); }

 private:
  template <std::integral N>
  void integer(std::string_view key, const Json& field, N& value, N limit) {
    if (field.is_number_unsigned()) {
      auto number = field.get<std::uint64_t>();
      if (number <= static_cast<std::uint64_t>(limit)) {
        value = static_cast<N>(number);
        return;
      }
    } else if (std::signed_integral<N> && field.is_number_integer()) {
      auto number = field.get<std::int64_t>();
      if (number <= static_cast<std::int64_t>(limit) &&
          number >= static_cast<std::int64_t>(std::numeric_limits<N>::min())) {
        value = static_cast<N>(number);
        return;
      }
    }
    wrong(key, std::string("must be a whole number ") +
                   (std::signed_integral<N> ? "of at most " : "from 0 to ") +
                   std::to_string(limit));
  }

  template <typename T>
  void take(const Json& field, std::string_view key, T& value) {
    if constexpr (std::same_as<T, content::Digest>) {
      take_digest(field, key, value);
    } else if constexpr (std::same_as<T, content::PieceRange>) {
      take_pieces(field, key, value);
    } else {
      Reader reader(field, this, std::string(key), error_);
      if (!error_) visit(reader, value);
    }
  }
  void take_digest(const Json& field, std::string_view key, content::Digest& value);
  void take_pieces(const Json& field, std::string_view key, content::PieceRange& value);
  void take_error(const Json& field, std::string_view key, std::optional<Error>& value);
  std::string path(std::string_view key) const;

  const Json& value_;
  const Reader* parent_;
  std::string key_;
  std::optional<Error>& error_;
};

// Errors: invalid (not JSON, too deep).
Result<Json> parse_json(std::string_view body);
std::string dump_json(const Json& value);

template <typename T>
std::string encode_message(const T& message) {
  return dump_json(Writer::json_of(message));
}

template <typename T>
Result<T> decode_message(std::string_view body) {
  Result<Json> json = parse_json(body);
  if (!json) return fail(json.error());
  T message{};
  std::optional<Error> error;
  Reader reader(*json, nullptr, "", error);
  if (!error) visit(reader, message);
  if (error) return fail(*error);
  return message;
}

}  // namespace shoal::api::detail

// Defines encode() and decode() of one message; at the end of a .cc file, within namespace
// shoal::api.
#define SHOAL_API_MESSAGE(Message)                \
  template <>                                     \
  std::string encode(const Message& message) {    \
    return detail::encode_message(message);       \
  }                                               \
  template <>                                     \
  Result<Message> decode(std::string_view body) { \
    return detail::decode_message<Message>(body); \
  }
