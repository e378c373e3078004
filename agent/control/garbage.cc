#include "agent/control/garbage.h"

#include <algorithm>
#include <utility>

#include "core/store/eviction.h"

namespace shoal::agent {

Result<Garbage> collect_garbage(store::BlobStore& store, std::optional<std::uint64_t> target,
                                bool dry_run) {
  Garbage result;
  std::vector<store::EvictionCandidate> candidates;
  for (const store::BlobInfo& info : store.list()) {
    store::EvictionCandidate candidate{info.digest, info.used, info.last_used_ns, true};
    if (!info.pins.empty()) {
      result.kept.push_back({info.digest, "pinned by " + *info.pins.begin()});
    } else if (info.open_readers > 0) {
      result.kept.push_back({info.digest, "open"});
    } else if (store.must_stay(info)) {
      result.kept.push_back({info.digest, "one of the last copies, and no origin has it"});
    } else {
      candidate.kept = false;
    }
    candidates.push_back(candidate);
  }
  store::SpaceReport space = store.space();
  std::uint64_t bytes = target ? space.use.used - std::min(space.use.used, *target)
                               : store::bytes_to_free(store.limits(), space.use, 0);
  for (const content::Digest& digest : store::choose_evictions(candidates, bytes)) {
    auto candidate =
        std::find_if(candidates.begin(), candidates.end(),
                     [&](const store::EvictionCandidate& one) { return one.digest == digest; });
    if (!dry_run) {
      if (Status removed = store.remove(digest); !removed) {
        result.kept.push_back({digest, removed.error().message()});
        continue;
      }
    }
    result.freed += candidate->bytes;
    result.evicted.push_back(digest);
  }
  return result;
}

}  // namespace shoal::agent
