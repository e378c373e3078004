#include "core/api/json_fields.h"

#include "core/base/json_shape.h"

namespace shoal::api::detail {

std::string cut_text(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return std::string(text.substr(0, limit));
}

void Reader::text(const char* key, std::string& value, std::size_t limit, Presence presence) {
  const Json* field = find(key, presence);
  if (!field) return;
  if (!field->is_string() || field->get_ref<const std::string&>().size() > limit) {
    return wrong(key, "must be text of at most " + std::to_string(limit) + " bytes");
  }
  value = field->get_ref<const std::string&>();
  if (presence == kRequired && value.empty()) wrong(key, "must not be empty");
}

// Words for people are shortened, not refused: an error text must never stop a heartbeat.
void Reader::sentence(const char* key, std::string& value) {
  const Json* field = find(key, {});
  if (!field) return;
  if (!field->is_string()) return wrong(key, "must be text");
  value = cut_text(field->get_ref<const std::string&>(), kMaxText);
}

void Reader::node_id(const char* key, std::string& value) {
  text(key, value, kMaxNodeId, kRequired);
  if (!failed() && !valid_node_id(value)) wrong(key, "is not a node id");
}

void Reader::epoch(const char* key, std::string& value, Presence presence) {
  text(key, value, kMaxEpoch, presence);
  if (!failed() && !value.empty() && !valid_epoch(value)) {
    wrong(key, "must be lower-case hexadecimal digits");
  }
}

void Reader::address(const char* key, std::string& value, bool may_omit_host, Presence presence) {
  text(key, value, kMaxAddress, presence);
  if (!failed() && !value.empty() && !valid_address(value, may_omit_host)) {
    wrong(key, may_omit_host ? "must be HOST:PORT or :PORT" : "must be HOST:PORT");
  }
}

void Reader::flag(const char* key, bool& value) {
  const Json* field = find(key, {});
  if (!field) return;
  if (!field->is_boolean()) return wrong(key, "must be true or false");
  value = field->get<bool>();
}

void Reader::duration(const char* key, Milliseconds& value, Milliseconds limit) {
  std::uint64_t count = 0;
  const Json* field = find(key, {});
  if (!field) return;
  integer(key, *field, count, static_cast<std::uint64_t>(limit.count()));
  value = Milliseconds(count);
}

void Reader::digest(const char* key, content::Digest& value) {
  const Json* field = find(key, kRequired);
  if (field) take_digest(*field, key, value);
}

void Reader::digest(const char* key, std::optional<content::Digest>& value) {
  const Json* field = find(key, {});
  if (field) take_digest(*field, key, value.emplace());
}

void Reader::error(const char* key, std::optional<Error>& value) {
  const Json* field = find(key, {});
  if (field) take_error(*field, key, value);
}

void Reader::labels(const char* key, std::map<std::string, std::string>& value) {
  const Json* field = find(key, {});
  if (!field) return;
  if (!field->is_object()) return wrong(key, "must be an object");
  if (field->size() > kMaxLabels) {
    return wrong(key, "has more than " + std::to_string(kMaxLabels) + " entries");
  }
  value.clear();
  for (const auto& [name, text] : field->items()) {
    if (name.empty() || name.size() > kMaxName || !text.is_string() ||
        text.get_ref<const std::string&>().size() > kMaxName) {
      return wrong(
          key, "must map names to text, each of at most " + std::to_string(kMaxName) + " bytes");
    }
    value.emplace(name, text.get<std::string>());
  }
}

const Json* Reader::find(std::string_view key, Presence presence) {
  if (error_) return nullptr;
  auto field = value_.find(key);
  if (field != value_.end() && !field->is_null()) return &*field;
  if (presence == kRequired) wrong(key, "is required");
  return nullptr;
}

void Reader::wrong(std::string_view key, std::string_view what) {
  if (error_) return;
  std::string where = path(key);
  error_.emplace(Errc::kInvalid, (where.empty() ? "the body" : where) + " " + std::string(what));
}

std::string Reader::path(std::string_view key) const {
  std::string prefix = parent_ ? parent_->path(key_) : key_;
  if (prefix.empty()) return std::string(key);
  if (key.empty()) return prefix;
  return prefix + "." + std::string(key);
}

void Reader::take_digest(const Json& field, std::string_view key, content::Digest& value) {
  if (field.is_string()) {
    if (auto parsed = content::Digest::parse_name(field.get_ref<const std::string&>())) {
      value = *parsed;
      return;
    }
  }
  wrong(key, "must be sha256: and 64 lower-case hexadecimal digits");
}

void Reader::take_pieces(const Json& field, std::string_view key, content::PieceRange& value) {
  if (field.is_array() && field.size() == 2 && field[0].is_number_unsigned() &&
      field[1].is_number_unsigned()) {
    auto first = field[0].get<std::uint64_t>();
    auto count = field[1].get<std::uint64_t>();
    if (first < content::kMaxPieces && count >= 1 && count <= content::kMaxPieces - first) {
      value = {content::PieceIndex(static_cast<std::uint32_t>(first)),
               static_cast<std::uint32_t>(count)};
      return;
    }
  }
  wrong(key, "must be [first piece, number of pieces]");
}

void Reader::take_error(const Json& field, std::string_view key, std::optional<Error>& value) {
  auto code = field.is_object() ? field.find("code") : field.end();
  if (code == field.end() || !code->is_string()) {
    return wrong(key, "must be an object with code and message");
  }
  Reader reader(field, this, std::string(key), error_);
  std::string message;
  reader.sentence("message", message);
  if (!error_) value.emplace(errc_from_name(code->get_ref<const std::string&>()), message);
}

Result<Json> parse_json(std::string_view body) {
  if (json_shape(body).depth > kMaxDepth) {
    return fail(Errc::kInvalid, "the body nests deeper than " + std::to_string(kMaxDepth));
  }
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return fail(Errc::kInvalid, "the body is not JSON");
  return json;
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace shoal::api::detail
