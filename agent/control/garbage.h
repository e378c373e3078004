// What `shoal gc` asks of the store, and what it would do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

struct Garbage {
  struct Kept {
    content::Digest digest;
    std::string reason;
  };
  std::uint64_t freed = 0;  // bytes
  std::vector<content::Digest> evicted;
  std::vector<Kept> kept;
};

// Evicts blobs, least recently used first, until the store's own bytes are at most `target`;
// without one, until the watermarks are kept. `dry_run` only says what would go. Blocks. Errors:
// none so far; what could not go is in `kept`.
Result<Garbage> collect_garbage(store::BlobStore& store, std::optional<std::uint64_t> target,
                                bool dry_run);

}  // namespace shoal::agent
