#include "core/store/blob_meta.h"

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

#include "core/content/layout.h"

namespace shoal::store {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;  // docs/formats/store.md, "meta.json"

Error bad(const std::string& what) { return Error(Errc::kCorrupt, "meta.json: " + what); }

// Without this the library makes whole numbers of fractions, whatever their size.
template <typename T>
T whole_number(const json& object, const char* name) {
  const json& value = object.at(name);
  const bool fits = std::is_signed_v<T> ? value.is_number_integer() : value.is_number_unsigned();
  if (!fits) throw std::invalid_argument(std::string(name) + " is not a whole number");
  return value.get<T>();
}

// json::at() throws with the field's name, from_json with the type: one place turns both into
// Error.
BlobMeta parse(const json& root) {
  BlobMeta meta;
  auto digest = content::Digest::parse_name(root.at("digest").get<std::string>());
  if (!digest) throw std::invalid_argument(digest.error().message());
  meta.digest = *digest;
  meta.size = whole_number<std::uint64_t>(root, "size");
  meta.settled = root.value("settled", true);
  if (meta.settled && digest->is_ingest()) throw std::invalid_argument("settled without a digest");
  const auto reservation = root.at("reservation").get<std::string>();
  if (reservation != "full" && reservation != "sparse") {
    throw std::invalid_argument("unknown reservation");
  }
  meta.reservation = reservation == "full" ? Reservation::kFull : Reservation::kSparse;
  meta.pins = root.value("pins", std::set<std::string>{});
  meta.annotations = root.value("annotations", std::map<std::string, std::string>{});
  if (auto found = root.find("in_place"); found != root.end()) {
    InPlaceSource source;
    source.path = found->at("path").get<std::string>();
    source.size = whole_number<std::uint64_t>(*found, "size");
    source.mtime_ns = whole_number<std::int64_t>(*found, "mtime_ns");
    source.inode = whole_number<std::uint64_t>(*found, "inode");
    meta.in_place = std::move(source);
  }
  return meta;
}

}  // namespace

Result<std::string> encode_meta(const BlobMeta& meta) {
  json root = {{"format", kFormat},
               {"digest", meta.digest.str()},
               {"size", meta.size},
               {"reservation", meta.reservation == Reservation::kFull ? "full" : "sparse"},
               {"pins", meta.pins},
               {"annotations", meta.annotations}};
  if (!meta.settled) root["settled"] = false;
  if (meta.in_place) {
    root["in_place"] = {{"path", meta.in_place->path},
                        {"size", meta.in_place->size},
                        {"mtime_ns", meta.in_place->mtime_ns},
                        {"inode", meta.in_place->inode}};
  }
  std::string text;
  try {
    text = root.dump(2) + "\n";
  } catch (const json::exception&) {
    return fail(Errc::kInvalid, "a pin, an annotation or a path is not UTF-8");
  }
  if (text.size() > kMaxMetaSize) {
    return fail(Errc::kInvalid, "pins and annotations of " + meta.digest.str() + " take " +
                                    std::to_string(text.size()) + " bytes, more than " +
                                    std::to_string(kMaxMetaSize));
  }
  return text;
}

Result<BlobMeta> decode_meta(std::string_view text) {
  if (text.size() > kMaxMetaSize) return fail(bad("too long"));
  try {
    const json root = json::parse(text);
    if (!root.is_object()) return fail(bad("not an object"));
    if (whole_number<std::int64_t>(root, "format") != kFormat) return fail(bad("unknown format"));
    BlobMeta meta = parse(root);
    SHOAL_TRY(content::BlobLayout::of_size(meta.size));
    return meta;
  } catch (const std::exception& e) {
    return fail(bad(e.what()));
  }
}

}  // namespace shoal::store
