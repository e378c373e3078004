// What the store remembers about a blob beside its bytes: meta.json (docs/formats/store.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/content/digest.h"

namespace shoal::store {

// A file elsewhere that holds a blob's bytes, and how it looked when they were hashed.
struct InPlaceSource {
  std::string path;  // absolute, UTF-8, not a symbolic link
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;

  friend bool operator==(const InPlaceSource&, const InPlaceSource&) = default;
};

enum class Reservation {
  kFull,    // the space of the whole blob is set aside at once: a full fetch cannot run out of it
  kSparse,  // pieces take space as they come: for a blob of which only parts are wanted
};

struct BlobMeta {
  content::Digest digest;
  std::uint64_t size = 0;
  // Its piece table is known, and so its digest. Until then `digest` may be an ingest name.
  bool settled = true;
  Reservation reservation = Reservation::kFull;
  // Names of those who want it kept ("model:tag", a user's pin). Pinned while there is one.
  std::set<std::string> pins;
  // Free for the agent: the origin, the file name. Keys and values are UTF-8.
  std::map<std::string, std::string> annotations;
  std::optional<InPlaceSource> in_place;

  friend bool operator==(const BlobMeta&, const BlobMeta&) = default;
};

inline constexpr std::size_t kMaxMetaSize = 256 * 1024;  // of the JSON text

// Errors: invalid when a text is not UTF-8 or the whole is longer than kMaxMetaSize.
Result<std::string> encode_meta(const BlobMeta& meta);

// Errors: corrupt, naming what is wrong. Unknown fields are ignored.
Result<BlobMeta> decode_meta(std::string_view json);

}  // namespace shoal::store
