// What `shoal gc` asks of the store, and what it would do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/model/last_copies.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

struct Garbage {
  std::uint64_t freed = 0;  // bytes
  std::vector<content::Digest> evicted;
  std::vector<LastCopies::Kept> kept;
};

// Evicts blobs, least recently used first, that give back at least `target` bytes; without one, as
// many as keep to the watermarks. `dry_run` only says what would go. Blocks; not for
// the control thread. Errors: none so far; what could not go is in `kept`.
Result<Garbage> collect_garbage(store::BlobStore& store, LastCopies& copies,
                                std::optional<std::uint64_t> target, bool dry_run);

}  // namespace shoal::agent
