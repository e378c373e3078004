#include "tracker/bittorrent/known_torrents.h"

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/api/limits.h"
#include "core/base/log.h"
#include "core/content/manifest.h"
#include "core/content/piece_table.h"

namespace shoal::tracker {
namespace {

using content::Digest;

// The manifests that references name.
Result<std::set<Digest>> named_manifests(Catalogue& catalogue) {
  std::set<Digest> out;
  std::string after;
  do {
    Result<api::ReferenceList> page = catalogue.references(after, api::kMaxPage);
    if (!page) return fail(page.error());
    for (const api::ReferenceRecord& record : page->references) out.insert(record.manifest);
    after = std::move(page->next);
  } while (!after.empty());
  return out;
}

Result<content::InfoHash> info_hash_of(Catalogue& catalogue, const Digest& digest) {
  Result<StoredManifest> stored = catalogue.manifest(digest);
  if (!stored) return fail(stored.error());
  Result<content::ModelManifest> manifest = content::ModelManifest::parse(stored->bytes);
  if (!manifest) return fail(manifest.error());
  Result<content::ModelTorrent> torrent = content::ModelTorrent::of(*manifest, digest);
  if (!torrent) return fail(torrent.error());
  for (const content::ModelFile& file : torrent->missing()) {
    if (file.pieces_root) continue;  // the layers are no part of what the info-hash is made of
    Result<std::string> bytes = catalogue.table(file.digest);
    if (!bytes) return fail(bytes.error());
    Result<content::PieceTable> table =
        content::PieceTable::parse(std::as_bytes(std::span(*bytes)));
    if (!table) return fail(table.error());
    SHOAL_TRY(torrent->add(*table));
  }
  return torrent->info_hash();
}

// Whether an error means that the catalogue could not be read, rather than that there is no
// torrent.
bool is_failure(const Error& error) {
  switch (error.code()) {
    case Errc::kNotFound:
    case Errc::kInvalid:
    case Errc::kCorrupt:
      return false;
    case Errc::kTimedOut:
    case Errc::kOverloaded:
    case Errc::kUnavailable:
    case Errc::kDenied:
    case Errc::kConflict:
    case Errc::kNoSpace:
    case Errc::kCancelled:
    case Errc::kInternal:
      return true;
  }
  return true;
}

}  // namespace

KnownTorrents::KnownTorrents(Executor executor, Control& control)
    : control_(control), loaded_(std::move(executor)) {}

Task<Status> KnownTorrents::refresh(Deadline deadline) {
  while (loading_) SHOAL_CO_TRY(co_await loaded_.wait(deadline));
  const std::uint64_t version = control_.references_version();
  if (version == version_) co_return Status();
  if (loaded_.closed()) co_return fail(Errc::kCancelled, "stopping");
  loading_ = true;
  Status loaded = co_await load();
  loading_ = false;
  if (loaded) version_ = version;
  loaded_.notify_all();
  co_return loaded;
}

// A job of its own for each manifest: the catalogue has others to serve in between.
Task<Status> KnownTorrents::load() {
  auto list = [](Catalogue& catalogue) { return named_manifests(catalogue); };
  Result<std::set<Digest>> named = co_await control_.with_catalogue(list);
  if (!named) co_return fail(named.error());
  std::map<Digest, content::TruncatedInfoHash> found;
  for (const Digest& digest : *named) {
    if (auto known = by_manifest_.find(digest); known != by_manifest_.end()) {
      found.insert(*known);
      continue;
    }
    if (loaded_.closed()) co_return fail(Errc::kCancelled, "stopping");
    auto look = [digest](Catalogue& catalogue) { return info_hash_of(catalogue, digest); };
    Result<content::InfoHash> hash = co_await control_.with_catalogue(look);
    if (hash) {
      found.emplace(digest, hash->truncated());
    } else if (is_failure(hash.error())) {
      co_return fail(hash.error());
    } else {
      log::debug("a model has no torrent", {{"digest", digest.str()}, {"err", hash.error()}});
    }
  }
  by_manifest_ = std::move(found);
  torrents_.clear();
  for (const auto& [digest, torrent] : by_manifest_) torrents_.insert(torrent);
  co_return Status();
}

}  // namespace shoal::tracker
