#include "tracker/ingests/ingest_book.h"

#include <algorithm>

#include "core/api/limits.h"

namespace shoal::tracker {

void IngestBook::put(const StoredIngest& ingest, swarm::Time now) {
  Entry& entry = entries_[ingest.manifest];
  if (entry.stored != ingest) {
    // From the time of the change: a poll that began before a restart of the tracker sees it, too.
    entry.version =
        std::max(entry.version + 1,
                 static_cast<std::uint64_t>(std::max<std::int64_t>(ingest.updated_unix_ms, 0)));
  }
  entry.stored = ingest;
  entry.absent_since = now;
  entry.restarted = false;
  entry.taken.reset();
}

void IngestBook::node_came(std::string_view node, std::string_view epoch) {
  for (auto& [manifest, entry] : entries_) {
    if (!entry.stored.running() || entry.stored.node != node) continue;
    entry.absent_since.reset();
    entry.restarted = entry.stored.epoch != epoch;
  }
}

void IngestBook::node_left(std::string_view node, swarm::Time now) {
  for (auto& [manifest, entry] : entries_) {
    if (!entry.stored.running() || entry.stored.node != node || entry.absent_since) continue;
    entry.absent_since = now;
  }
}

std::vector<IngestBook::Lost> IngestBook::take_lost(swarm::Time now) {
  std::vector<Lost> out;
  for (auto& [manifest, entry] : entries_) {
    const bool gone = entry.absent_since && *entry.absent_since + options_.publisher_grace < now;
    if (!entry.stored.running() || (!entry.restarted && !gone)) continue;
    if (entry.taken && now < *entry.taken + options_.retry) continue;
    entry.taken = now;
    const std::string who = "node " + entry.stored.node + ", which was publishing it, ";
    out.push_back({entry.stored,
                   Error(Errc::kUnavailable,
                         who + (entry.restarted ? "was restarted: publish it again"
                                                : "is gone: publish it again there or on another "
                                                  "node"))});
  }
  return out;
}

void IngestBook::tick(std::int64_t now_unix_ms) {
  std::erase_if(entries_, [&](const auto& entry) {
    const StoredIngest& stored = entry.second.stored;
    return !stored.running() && stored.updated_unix_ms + options_.keep_ended.count() < now_unix_ms;
  });
}

const StoredIngest* IngestBook::find(const content::Digest& manifest) const {
  auto it = entries_.find(manifest);
  return it == entries_.end() ? nullptr : &it->second.stored;
}

const StoredIngest* IngestBook::running_for(std::string_view reference) const {
  for (const auto& [manifest, entry] : entries_) {
    if (entry.stored.running() && entry.stored.reference == reference) return &entry.stored;
  }
  return nullptr;
}

api::IngestStatus IngestBook::status_of(const Entry& entry) {
  return {.reference = entry.stored.reference,
          .manifest = entry.stored.manifest,
          .node = entry.stored.node,
          .state = entry.stored.state,
          .settled_as = entry.stored.settled_as,
          .error = entry.stored.error,
          .version = entry.version,
          .created_unix_ms = entry.stored.created_unix_ms,
          .updated_unix_ms = entry.stored.updated_unix_ms};
}

Result<api::IngestStatus> IngestBook::status(const content::Digest& manifest) const {
  auto it = entries_.find(manifest);
  if (it == entries_.end()) {
    return fail(Errc::kNotFound, "no ingest of manifest " + manifest.str());
  }
  return status_of(it->second);
}

std::uint64_t IngestBook::version(const content::Digest& manifest) const {
  auto it = entries_.find(manifest);
  return it == entries_.end() ? 0 : it->second.version;
}

api::IngestList IngestBook::list(std::int64_t now_unix_ms) const {
  api::IngestList out;
  for (const auto& [manifest, entry] : entries_) {
    const bool lately = now_unix_ms <= entry.stored.updated_unix_ms + options_.list_ended.count();
    if (entry.stored.running() || lately) out.ingests.push_back(status_of(entry));
  }
  std::stable_sort(out.ingests.begin(), out.ingests.end(), [](const auto& a, const auto& b) {
    return a.created_unix_ms > b.created_unix_ms;
  });
  if (out.ingests.size() > api::kMaxIngests) out.ingests.resize(api::kMaxIngests);
  return out;
}

std::size_t IngestBook::running() const {
  return static_cast<std::size_t>(std::count_if(
      entries_.begin(), entries_.end(), [](const auto& e) { return e.second.stored.running(); }));
}

}  // namespace shoal::tracker
