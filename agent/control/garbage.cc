#include "agent/control/garbage.h"

#include <limits>
#include <map>
#include <utility>

#include "core/store/eviction.h"

namespace shoal::agent {

Result<Garbage> collect_garbage(store::BlobStore& store, LastCopies& copies,
                                std::optional<std::uint64_t> target, bool dry_run) {
  Garbage result;
  std::map<content::Digest, store::BlobInfo> infos;
  std::vector<store::EvictionCandidate> candidates;
  for (const store::BlobInfo& info : store.list()) {
    if (!info.pins.empty()) {
      result.kept.push_back({info.digest, "pinned by " + *info.pins.begin()});
      continue;
    }
    if (info.open_readers > 0) {
      result.kept.push_back({info.digest, "open"});
      continue;
    }
    candidates.push_back({info.digest, info.used, info.last_used_ns});
    infos.emplace(info.digest, info);
  }
  const std::uint64_t bytes =
      target ? *target : store::bytes_to_free(store.limits(), store.space().use, 0);
  if (bytes == 0) return result;
  std::vector<store::BlobInfo> in_order;
  for (const content::Digest& digest :
       store::choose_evictions(candidates, std::numeric_limits<std::uint64_t>::max())) {
    in_order.push_back(infos.at(digest));
  }
  LastCopies::Plan plan = copies.plan(in_order, bytes, dry_run);
  result.evicted = dry_run ? std::move(plan.choice.blobs) : store.evict(plan.choice);
  for (const content::Digest& digest : result.evicted) result.freed += infos.at(digest).used;
  result.kept.insert(result.kept.end(), plan.kept.begin(), plan.kept.end());
  return result;
}

}  // namespace shoal::agent
