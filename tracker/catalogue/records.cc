// References, origins, statements and prefetch orders of the catalogue.
#include <algorithm>
#include <span>
#include <utility>

#include "core/api/limits.h"
#include "core/base/hex.h"
#include "core/content/piece_table.h"
#include "tracker/catalogue/catalogue.h"
#include "tracker/catalogue/database.h"

namespace shoal::tracker {
namespace {

constexpr const char* kByTag = "a reference that can be set, read or removed is NAME:TAG";

api::ReferenceRecord record_of(const Query& query, const content::Digest& manifest) {
  api::ReferenceRecord record;
  record.reference = query.text(0) + ":" + query.text(1);
  record.manifest = manifest;
  record.created_unix_ms = query.integer(3);
  record.updated_unix_ms = query.integer(4);
  return record;
}

}  // namespace

Status Catalogue::set_tag(const content::Reference& reference, const content::Digest& manifest,
                          std::int64_t now_unix_ms) {
  if (!reference.tag()) return fail(Errc::kInvalid, kByTag);
  Result<bool> provisional = is_provisional(manifest);
  if (!provisional) {
    if (provisional.error().code() != Errc::kNotFound) return fail(provisional.error());
    return fail(Errc::kNotFound, "no manifest " + manifest.str() +
                                     " in the catalogue: put it there before its reference");
  }
  if (*provisional) {
    return fail(Errc::kInvalid, "manifest " + manifest.str() +
                                    " is provisional: a reference means it only through its "
                                    "ingest, while its publisher reads the model");
  }
  Query put(*database_,
            "INSERT INTO tags (name, tag, manifest, created, updated) VALUES (?1, ?2, ?3, ?4, ?4)"
            " ON CONFLICT (name, tag) DO UPDATE SET manifest = ?3, updated = ?4");
  put.bind(reference.name()).bind(*reference.tag()).bind(manifest).bind(now_unix_ms);
  SHOAL_TRY(put.run());
  Query mark(*database_, "UPDATE manifests SET unreferenced_since = NULL WHERE digest = ?1");
  return mark.bind(manifest).run();
}

Result<std::vector<content::Digest>> Catalogue::mark_orphans(std::int64_t now_unix_ms) {
  Query orphan(*database_,
               "UPDATE manifests SET unreferenced_since = ?1 WHERE unreferenced_since IS NULL"
               " AND digest NOT IN (SELECT manifest FROM tags)"
               " AND digest NOT IN (SELECT manifest FROM ingests WHERE state = 0)"
               " RETURNING digest");
  return digests(orphan.bind(now_unix_ms));
}

Result<Catalogue::Named> Catalogue::put_reference(const content::Reference& reference,
                                                  const content::Digest& manifest,
                                                  std::int64_t now_unix_ms) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  SHOAL_TRY(set_tag(reference, manifest, now_unix_ms));
  // The tag may have been the last one of the manifest it named before.
  Result<std::vector<content::Digest>> orphans = mark_orphans(now_unix_ms);
  if (!orphans) return fail(orphans.error());
  SHOAL_TRY(transaction.commit());
  Named named;
  if (!orphans->empty()) named.orphan = orphans->front();
  Result<api::ReferenceRecord> record = this->reference(reference);
  if (!record) return fail(record.error());
  named.record = *std::move(record);
  return named;
}

Result<api::ReferenceRecord> Catalogue::reference(const content::Reference& reference) {
  if (!reference.tag()) return fail(Errc::kInvalid, kByTag);
  Query query(
      *database_,
      "SELECT name, tag, manifest, created, updated FROM tags WHERE name = ?1 AND tag = ?2");
  Result<bool> row = query.bind(reference.name()).bind(*reference.tag()).next();
  if (!row) return fail(row.error());
  if (!*row) return fail(Errc::kNotFound, "no reference " + reference.str());
  Result<content::Digest> manifest = query.digest(2);
  if (!manifest) return fail(manifest.error());
  return record_of(query, *manifest);
}

Result<Catalogue::Removed> Catalogue::remove_reference(const content::Reference& reference,
                                                       std::int64_t now_unix_ms) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Result<api::ReferenceRecord> record = this->reference(reference);
  if (!record && record.error().code() != Errc::kNotFound) return fail(record.error());
  Result<std::optional<StoredIngest>> ingest = running_ingest(reference);
  if (!ingest) return fail(ingest.error());
  if (!record && !*ingest) return fail(record.error());
  Removed removed;
  if (record) {
    removed.record = *std::move(record);
    Query remove(*database_, "DELETE FROM tags WHERE name = ?1 AND tag = ?2");
    SHOAL_TRY(remove.bind(reference.name()).bind(*reference.tag()).run());
  } else {
    removed.record = {(*ingest)->reference, (*ingest)->manifest, (*ingest)->created_unix_ms,
                      (*ingest)->updated_unix_ms};
  }
  if (*ingest) {
    SHOAL_TRY(end_ingest(**ingest, Error(Errc::kNotFound, "removed by an operator"), now_unix_ms));
    removed.ingest = *std::move(ingest);
  }
  Result<std::vector<content::Digest>> orphans = mark_orphans(now_unix_ms);
  if (!orphans) return fail(orphans.error());
  removed.was_last =
      std::find(orphans->begin(), orphans->end(), removed.record.manifest) != orphans->end();
  SHOAL_TRY(transaction.commit());
  return removed;
}

Result<api::ReferenceList> Catalogue::references(std::string_view after, std::size_t limit) {
  // Tags contain no colon, names neither: the last one divides them.
  std::size_t colon = after.rfind(':');
  std::string_view name = after.substr(0, colon);
  std::string_view tag = colon == std::string_view::npos ? "" : after.substr(colon + 1);
  api::ReferenceList list;
  Query query(*database_,
              "SELECT name, tag, manifest, created, updated FROM tags WHERE (name, tag) > (?1, ?2)"
              " ORDER BY name, tag LIMIT ?3");
  query.bind(name).bind(tag).bind(static_cast<std::int64_t>(limit) + 1);
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return list;
    if (list.references.size() == limit) {
      list.next = list.references.back().reference;
      return list;
    }
    Result<content::Digest> manifest = query.digest(2);
    if (!manifest) return fail(manifest.error());
    list.references.push_back(record_of(query, *manifest));
  }
}

Result<ManifestBlobs> Catalogue::resolve(const content::Reference& reference) {
  if (const content::Digest* digest = reference.digest()) return manifest_blobs(*digest);
  Result<std::optional<StoredIngest>> ingest = running_ingest(reference);
  if (!ingest) return fail(ingest.error());
  if (*ingest) return manifest_blobs((*ingest)->manifest);
  Result<api::ReferenceRecord> record = this->reference(reference);
  if (!record) return fail(record.error());
  return manifest_blobs(record->manifest);
}

Status Catalogue::put_origins(const content::Digest& blob, const api::Origins& origins) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  for (const api::Origin& origin : origins.origins) {
    std::string details = api::encode(api::Origins{{origin}});
    Query put(*database_,
              "INSERT INTO origins (blob, kind, url, details) VALUES (?1, ?2, ?3, ?4)"
              " ON CONFLICT (blob, kind, url) DO UPDATE SET details = ?4");
    SHOAL_TRY(put.bind(blob).bind(origin.kind).bind(origin.url).bind(details).run());
  }
  {
    Query count(*database_, "SELECT count(*) FROM origins WHERE blob = ?1");
    Result<bool> row = count.bind(blob).next();
    if (!row) return fail(row.error());
    if (count.integer(0) > static_cast<std::int64_t>(api::kMaxOrigins)) {
      return fail(Errc::kInvalid, blob.str() + " would have more than " +
                                      std::to_string(api::kMaxOrigins) + " origins");
    }
  }
  return transaction.commit();
}

Result<api::Origins> Catalogue::origins(const content::Digest& blob) {
  api::Origins out;
  Query query(*database_, "SELECT details FROM origins WHERE blob = ?1 ORDER BY kind, url");
  query.bind(blob);
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    Result<api::Origins> one = api::decode<api::Origins>(query.text(0));
    if (!one || one->origins.size() != 1) {
      return fail(Errc::kInternal, "the catalogue's record of an origin of " + blob.str() +
                                       " is damaged: publish it again");
    }
    out.origins.push_back(std::move(one->origins.front()));
  }
}

Status Catalogue::put_statement(const content::Digest& blob, const api::Statement& statement) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Query put(*database_,
            "INSERT INTO statements (blob, node, text) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (blob, node) DO UPDATE SET text = ?3");
  SHOAL_TRY(put.bind(blob).bind(statement.node).bind(statement.text).run());
  {
    Query count(*database_, "SELECT count(*) FROM statements WHERE blob = ?1");
    Result<bool> row = count.bind(blob).next();
    if (!row) return fail(row.error());
    if (count.integer(0) > static_cast<std::int64_t>(api::kMaxStatements)) {
      return fail(Errc::kConflict, std::to_string(api::kMaxStatements) +
                                       " nodes have signed statements about " + blob.str() +
                                       ", more are not kept");
    }
  }
  return transaction.commit();
}

Result<api::Statements> Catalogue::statements(const content::Digest& blob) {
  api::Statements out;
  Query query(*database_, "SELECT node, text FROM statements WHERE blob = ?1 ORDER BY node");
  query.bind(blob);
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    out.statements.push_back({query.text(0), query.text(1)});
  }
}

Status Catalogue::withdraw(const api::Withdrawal& withdrawal, const std::string& reporters,
                           std::int64_t now_unix_ms) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Query put(*database_,
            "INSERT INTO withdrawals (blob, root, signer, reporters, added)"
            " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING");
  put.bind(withdrawal.blob).bind(withdrawal.pieces_root).bind(withdrawal.signer).bind(reporters);
  SHOAL_TRY(put.bind(now_unix_ms).run());
  Query statements(*database_, "DELETE FROM statements WHERE blob = ?1");
  SHOAL_TRY(statements.bind(withdrawal.blob).run());
  if (Result<std::string> stored = table(withdrawal.blob)) {
    Result<content::PieceTable> parsed =
        content::PieceTable::parse(std::as_bytes(std::span(stored->data(), stored->size())));
    if (!parsed || !parsed->pieces_root() ||
        to_hex(*parsed->pieces_root()) == withdrawal.pieces_root) {
      Query drop(*database_, "DELETE FROM tables WHERE blob = ?1");
      SHOAL_TRY(drop.bind(withdrawal.blob).run());
    }
  }
  return transaction.commit();
}

Result<std::vector<api::Withdrawal>> Catalogue::withdrawals() {
  std::vector<api::Withdrawal> out;
  Query query(*database_,
              "SELECT blob, root, signer FROM withdrawals ORDER BY added DESC LIMIT ?1");
  query.bind(static_cast<std::int64_t>(api::kMaxWithdrawals));
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    Result<content::Digest> blob = query.digest(0);
    if (!blob) return fail(blob.error());
    out.push_back({*blob, query.text(1), query.text(2)});
  }
}

Status Catalogue::put_prefetch(const StoredPrefetch& prefetch) {
  std::string request = api::encode(prefetch.request);
  Query put(*database_,
            "INSERT INTO prefetches (id, manifest, request, created, state, ended)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            " ON CONFLICT (id) DO UPDATE SET state = ?5, ended = ?6");
  put.bind(prefetch.id).bind(prefetch.manifest).bind(request).bind(prefetch.created_unix_ms);
  put.bind(static_cast<std::int64_t>(prefetch.state)).bind(prefetch.ended_unix_ms);
  return put.run();
}

Result<std::vector<StoredPrefetch>> Catalogue::prefetches() {
  std::vector<StoredPrefetch> out;
  Query query(*database_,
              "SELECT id, manifest, request, created, state, ended FROM prefetches"
              " ORDER BY created, id");
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    StoredPrefetch prefetch;
    prefetch.id = query.text(0);
    Result<content::Digest> manifest = query.digest(1);
    Result<api::PrefetchRequest> request = api::decode<api::PrefetchRequest>(query.text(2));
    std::int64_t state = query.integer(4);
    if (!manifest || !request || state < 0 ||
        state > static_cast<std::int64_t>(api::PrefetchState::kCancelled)) {
      return fail(Errc::kInternal, "the catalogue's record of prefetch " + prefetch.id +
                                       " is damaged: remove the database's row, or start anew");
    }
    prefetch.manifest = *manifest;
    prefetch.request = *std::move(request);
    prefetch.created_unix_ms = query.integer(3);
    prefetch.state = static_cast<api::PrefetchState>(state);
    prefetch.ended_unix_ms = query.integer(5);
    out.push_back(std::move(prefetch));
  }
}

}  // namespace shoal::tracker
