#include "agent/origin/hf_listing.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/origin/text.h"
#include "core/base/json_shape.h"
#include "core/content/relative_path.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxValues = 1'000'000;
constexpr std::size_t kCommitDigits = 40;

bool is_commit(std::string_view text) {
  return text.size() == kCommitDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// What the Hub lets names be made of.
bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 96 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::string_view take_component(std::string_view& rest) {
  auto slash = rest.find('/');
  std::string_view component = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  return component;
}

Result<Json> parse(std::string_view text) {
  JsonShape shape = json_shape(text);
  if (shape.depth > kMaxDepth || shape.values > kMaxValues) {
    return fail(Errc::kInvalid, "the Hub's answer is too deep or has too many values");
  }
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(Errc::kInvalid, "the Hub's answer is not JSON");
  return json;
}

std::string text_of(const Json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::optional<std::uint64_t> number_of(const Json& object, const char* key) {
  auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned()) return std::nullopt;
  return it->get<std::uint64_t>();
}

std::string api_base(const std::string& endpoint, const HfPlace& place) {
  return endpoint + "/api/" + place.type + "/" + http::percent_encode_path(place.repo);
}

}  // namespace

std::string HfPlace::str() const {
  std::string out =
      "hf://" + (type == "models" ? "" : type + "/") + repo + "@" + http::percent_encode(revision);
  if (!path.empty()) out += "/" + http::percent_encode_path(path);
  return out;
}

Result<HfPlace> parse_hf_url(std::string_view url) {
  constexpr std::string_view kScheme = "hf://";
  auto bad = [&](std::string_view why) {
    return fail(Errc::kInvalid, "'" + content::escape_for_message(url, 200) +
                                    "': " + std::string(why) +
                                    "; write hf://org/repo or "
                                    "hf://org/repo@revision");
  };
  if (!url.starts_with(kScheme)) return bad("not a Hugging Face URL");
  std::string_view rest = url.substr(kScheme.size());
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return bad("neither a query nor a fragment is understood");
  }
  HfPlace place;
  if (rest.starts_with("datasets/") || rest.starts_with("spaces/") || rest.starts_with("models/")) {
    place.type = std::string(take_component(rest));
  }
  if (rest.find('/') + 1 == rest.size()) return bad("no repository");  // "org/"
  std::string_view first = take_component(rest);
  std::string_view last = first;
  // "gpt2@main" is a whole name: what follows is a path.
  const bool alone = first.find('@') != std::string_view::npos || rest.empty();
  if (!alone) last = take_component(rest);
  auto at = last.find('@');
  std::string_view revision = at == std::string_view::npos ? "" : last.substr(at + 1);
  std::string_view name = last.substr(0, at);
  if (!valid_name(name) || (!alone && !valid_name(first))) return bad("not a repository's name");
  place.repo = alone ? std::string(name) : std::string(first) + "/" + std::string(name);
  if (at != std::string_view::npos) {
    Result<std::string> decoded = http::percent_decode(revision);
    if (!decoded || decoded->empty() || !content::is_plain_text(*decoded)) {
      return bad("not a revision");
    }
    place.revision = std::move(*decoded);
  }
  Result<std::string> path = http::percent_decode(rest);
  if (!path) return bad(path.error().message());
  place.path = std::move(*path);
  while (place.path.ends_with('/')) place.path.pop_back();
  return place;
}

std::string hf_revision_url(const std::string& endpoint, const HfPlace& place) {
  return api_base(endpoint, place) + "/revision/" + http::percent_encode(place.revision);
}

std::string hf_tree_url(const std::string& endpoint, const HfPlace& place) {
  std::string url = api_base(endpoint, place) + "/tree/" + http::percent_encode(place.revision);
  if (!place.path.empty()) url += "/" + http::percent_encode_path(place.path);
  return url + "?recursive=true";
}

std::string hf_file_url(const std::string& endpoint, const HfPlace& place) {
  return endpoint + "/" + (place.type == "models" ? "" : place.type + "/") +
         http::percent_encode_path(place.repo) + "/resolve/" +
         http::percent_encode(place.revision) + "/" + http::percent_encode_path(place.path);
}

Result<std::string> parse_hf_revision(std::string_view json) {
  Result<Json> parsed = parse(json);
  if (!parsed) return fail(parsed.error());
  std::string sha = parsed->is_object() ? text_of(*parsed, "sha") : "";
  if (!is_commit(sha)) return fail(Errc::kInvalid, "the Hub's answer names no commit");
  return sha;
}

Result<std::vector<HfFile>> parse_hf_tree(std::string_view json) {
  Result<Json> parsed = parse(json);
  if (!parsed) return fail(parsed.error());
  if (!parsed->is_array()) return fail(Errc::kInvalid, "the Hub's listing is not an array");
  std::vector<HfFile> files;
  for (const Json& entry : *parsed) {
    if (!entry.is_object()) return fail(Errc::kInvalid, "the Hub's listing has a non-object");
    if (text_of(entry, "type") != "file") continue;
    HfFile file{text_of(entry, "path"), 0, text_of(entry, "oid"), std::nullopt};
    const std::string shown = "'" + content::escape_for_message(file.path) + "'";
    std::optional<std::uint64_t> size = number_of(entry, "size");
    if (auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
      size = number_of(*lfs, "size");
      file.oid = text_of(*lfs, "oid");
      // Written with or without the algorithm's name.
      if (file.oid.starts_with("sha256:")) file.oid.erase(0, 7);
      Result<content::Digest> digest = content::Digest::from_hex(file.oid);
      if (!digest) {
        return fail(digest.error().with_context("the Hub's listing gives no SHA-256 of " + shown));
      }
      file.digest = *digest;
    }
    if (file.path.empty() || !size) {
      return fail(Errc::kInvalid, "the Hub's listing has no size of " + shown);
    }
    file.size = *size;
    files.push_back(std::move(file));
  }
  return files;
}

std::string next_link(std::string_view header) {
  while (!header.empty()) {
    auto open = header.find('<');
    auto close = header.find('>', open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos) return {};
    std::string_view url = header.substr(open + 1, close - open - 1);
    header.remove_prefix(close + 1);
    auto next = header.find('<');
    std::string_view parameters = header.substr(0, next);
    header = next == std::string_view::npos ? std::string_view() : header.substr(next);
    std::string lowered = lower(parameters);
    if (lowered.find("rel=\"next\"") != std::string::npos ||
        lowered.find("rel=next") != std::string::npos) {
      return std::string(url);
    }
  }
  return {};
}

}  // namespace shoal::agent
