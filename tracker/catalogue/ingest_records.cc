// Ingests of the catalogue: provisional manifests that references mean for a while.
#include <utility>

#include "core/content/manifest.h"
#include "tracker/catalogue/catalogue.h"
#include "tracker/catalogue/database.h"

namespace shoal::tracker {
namespace {

Error of_another(const StoredIngest& ingest) {
  return Error(Errc::kConflict, "node " + ingest.node + " is publishing " + ingest.reference +
                                    ": wait for it, or remove the reference");
}

// The columns of every SELECT below. Errors: internal (damaged).
Result<StoredIngest> ingest_at(const Query& query) {
  StoredIngest ingest;
  Result<content::Digest> manifest = query.digest(0);
  if (!manifest) return fail(manifest.error());
  Result<std::optional<content::Digest>> settled_as = query.optional_digest(6);
  if (!settled_as) return fail(settled_as.error());
  const std::int64_t state = query.integer(5);
  if (state < 0 || state > static_cast<std::int64_t>(api::IngestState::kFailed)) {
    return fail(Errc::kInternal, "the catalogue's record of ingest " + manifest->str() +
                                     " is damaged: remove the database's row, or start anew");
  }
  ingest.manifest = *manifest;
  ingest.reference = query.text(1) + ":" + query.text(2);
  ingest.node = query.text(3);
  ingest.epoch = query.text(4);
  ingest.state = static_cast<api::IngestState>(state);
  ingest.settled_as = *settled_as;
  if (std::string code = query.text(7); !code.empty()) {
    ingest.error = Error(errc_from_name(code), query.text(8));
  }
  ingest.created_unix_ms = query.integer(9);
  ingest.updated_unix_ms = query.integer(10);
  return ingest;
}

}  // namespace

Result<bool> Catalogue::is_provisional(const content::Digest& digest) {
  Result<StoredManifest> stored = manifest(digest);
  if (!stored) return fail(stored.error());
  Result<content::ModelManifest> parsed = content::ModelManifest::parse(stored->bytes);
  if (!parsed) return fail(parsed.error().with_context("manifest " + digest.str()));
  return parsed->provisional;
}

Result<std::optional<StoredIngest>> Catalogue::one_ingest(Query& query) {
  Result<bool> row = query.next();
  if (!row) return fail(row.error());
  if (!*row) return std::nullopt;
  Result<StoredIngest> ingest = ingest_at(query);
  if (!ingest) return fail(ingest.error());
  return *std::move(ingest);
}

Result<std::optional<StoredIngest>> Catalogue::find_ingest(const content::Digest& manifest) {
  Query query(*database_,
              "SELECT manifest, name, tag, node, epoch, state, settled_as, error_code, error,"
              " created, updated FROM ingests WHERE manifest = ?1");
  return one_ingest(query.bind(manifest));
}

Result<std::optional<StoredIngest>> Catalogue::running_ingest(const content::Reference& reference) {
  if (!reference.tag()) return std::nullopt;
  Query query(*database_,
              "SELECT manifest, name, tag, node, epoch, state, settled_as, error_code, error,"
              " created, updated FROM ingests WHERE name = ?1 AND tag = ?2 AND state = 0");
  return one_ingest(query.bind(reference.name()).bind(*reference.tag()));
}

Result<std::vector<StoredIngest>> Catalogue::ingests() {
  std::vector<StoredIngest> out;
  Query query(*database_,
              "SELECT manifest, name, tag, node, epoch, state, settled_as, error_code, error,"
              " created, updated FROM ingests ORDER BY created, manifest");
  for (;;) {
    Result<std::optional<StoredIngest>> ingest = one_ingest(query);
    if (!ingest) return fail(ingest.error());
    if (!*ingest) return out;
    out.push_back(**std::move(ingest));
  }
}

Result<StoredIngest> Catalogue::ingest_of(const content::Digest& manifest,
                                          const Publisher& publisher) {
  Result<std::optional<StoredIngest>> found = find_ingest(manifest);
  if (!found) return fail(found.error());
  if (!*found) return fail(Errc::kNotFound, "no ingest of manifest " + manifest.str());
  if ((*found)->node != publisher.node) return fail(of_another(**found));
  if ((*found)->epoch != publisher.epoch) {
    return fail(Errc::kConflict, "node " + publisher.node + " published " + (*found)->reference +
                                     " with epoch " + (*found)->epoch + ", not " + publisher.epoch +
                                     ": publish it again");
  }
  return **std::move(found);
}

Status Catalogue::write_ingest(const StoredIngest& ingest) {
  // Neither names nor tags have a colon.
  const std::size_t colon = ingest.reference.rfind(':');
  const std::string_view reference = ingest.reference;
  Query put(*database_,
            "INSERT INTO ingests (manifest, name, tag, node, epoch, state, settled_as,"
            " error_code, error, created, updated)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            " ON CONFLICT (manifest) DO UPDATE SET name = ?2, tag = ?3, node = ?4, epoch = ?5,"
            " state = ?6, settled_as = ?7, error_code = ?8, error = ?9, created = ?10,"
            " updated = ?11");
  put.bind(ingest.manifest).bind(reference.substr(0, colon)).bind(reference.substr(colon + 1));
  put.bind(ingest.node).bind(ingest.epoch).bind(static_cast<std::int64_t>(ingest.state));
  put.bind(ingest.settled_as);
  put.bind(ingest.error ? errc_name(ingest.error->code()) : std::string_view());
  put.bind(ingest.error ? std::string_view(ingest.error->message()) : std::string_view());
  return put.bind(ingest.created_unix_ms).bind(ingest.updated_unix_ms).run();
}

Status Catalogue::end_ingest(StoredIngest& ingest, const Error& error, std::int64_t now_unix_ms) {
  ingest.state = api::IngestState::kFailed;
  ingest.error = error;
  ingest.updated_unix_ms = now_unix_ms;
  return write_ingest(ingest);
}

Result<Catalogue::IngestChange> Catalogue::begin_ingest(const content::Reference& reference,
                                                        const content::Digest& manifest,
                                                        const Publisher& publisher,
                                                        std::string_view absent_node,
                                                        std::int64_t now_unix_ms) {
  if (!reference.tag()) {
    return fail(Errc::kInvalid,
                "an ingest is for a reference NAME:TAG, not for " + reference.str());
  }
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Result<bool> provisional = is_provisional(manifest);
  if (!provisional) return fail(provisional.error());
  if (!*provisional) {
    return fail(Errc::kInvalid, "manifest " + manifest.str() +
                                    " is not provisional: it needs no ingest, only a reference");
  }
  auto gives_way = [&](const StoredIngest& other) {
    return other.node == publisher.node || (!absent_node.empty() && other.node == absent_node);
  };
  Result<std::optional<StoredIngest>> known = find_ingest(manifest);
  if (!known) return fail(known.error());
  IngestChange change;
  change.ingest = {.manifest = manifest,
                   .reference = reference.str(),
                   .node = publisher.node,
                   .epoch = publisher.epoch,
                   .created_unix_ms = now_unix_ms,
                   .updated_unix_ms = now_unix_ms};
  if (*known && (*known)->running()) {
    if (!gives_way(**known)) return fail(of_another(**known));
    if ((*known)->reference != change.ingest.reference) {
      return fail(Errc::kConflict, "manifest " + manifest.str() + " is being published as " +
                                       (*known)->reference + ", not as " + change.ingest.reference +
                                       ": wait until it has settled");
    }
    change.ingest.created_unix_ms = (*known)->created_unix_ms;
    if ((*known)->node == publisher.node && (*known)->epoch == publisher.epoch) {
      change.ingest = **known;
      return change;
    }
  }
  Result<std::optional<StoredIngest>> other = running_ingest(reference);
  if (!other) return fail(other.error());
  if (*other && (*other)->manifest != manifest) {
    if (!gives_way(**other)) return fail(of_another(**other));
    SHOAL_TRY(end_ingest(**other, Error(Errc::kConflict, "replaced by a newer publication"),
                         now_unix_ms));
    change.replaced = *std::move(other);
  }
  SHOAL_TRY(write_ingest(change.ingest));
  Query mark(*database_, "UPDATE manifests SET unreferenced_since = NULL WHERE digest = ?1");
  SHOAL_TRY(mark.bind(manifest).run());
  Result<std::vector<content::Digest>> orphans = mark_orphans(now_unix_ms);
  if (!orphans) return fail(orphans.error());
  change.orphans = *std::move(orphans);
  SHOAL_TRY(transaction.commit());
  return change;
}

Result<Catalogue::IngestChange> Catalogue::settle_ingest(const content::Digest& manifest,
                                                         const Publisher& publisher,
                                                         const content::Digest& settled_as,
                                                         std::int64_t now_unix_ms) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Result<StoredIngest> ingest = ingest_of(manifest, publisher);
  if (!ingest) return fail(ingest.error());
  Result<content::Reference> reference = content::Reference::parse(ingest->reference);
  if (!reference) return fail(Errc::kInternal, reference.error().message());
  IngestChange change;
  change.ingest = *std::move(ingest);
  if (!change.ingest.running()) {
    if (change.ingest.settled_as == settled_as) return change;
    return fail(Errc::kConflict,
                "the ingest of " + change.ingest.reference + " has ended already: " +
                    (change.ingest.error ? change.ingest.error->message()
                                         : "settled as " + change.ingest.settled_as->str()));
  }
  SHOAL_TRY(set_tag(*reference, settled_as, now_unix_ms));
  change.ingest.state = api::IngestState::kSettled;
  change.ingest.settled_as = settled_as;
  change.ingest.updated_unix_ms = now_unix_ms;
  SHOAL_TRY(write_ingest(change.ingest));
  Query orders(*database_, "UPDATE prefetches SET manifest = ?2 WHERE manifest = ?1 AND ended = 0");
  SHOAL_TRY(orders.bind(manifest).bind(settled_as).run());
  Result<std::vector<content::Digest>> orphans = mark_orphans(now_unix_ms);
  if (!orphans) return fail(orphans.error());
  change.orphans = *std::move(orphans);
  Result<api::ReferenceRecord> record = this->reference(*reference);
  if (!record) return fail(record.error());
  change.record = *std::move(record);
  SHOAL_TRY(transaction.commit());
  return change;
}

Result<Catalogue::IngestChange> Catalogue::fail_ingest(const content::Digest& manifest,
                                                       const Publisher& publisher,
                                                       const Error& error,
                                                       std::int64_t now_unix_ms) {
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Result<StoredIngest> ingest = ingest_of(manifest, publisher);
  if (!ingest) return fail(ingest.error());
  IngestChange change;
  change.ingest = *std::move(ingest);
  if (change.ingest.state == api::IngestState::kFailed) return change;
  if (change.ingest.state == api::IngestState::kSettled) {
    return fail(Errc::kConflict, "the ingest of " + change.ingest.reference +
                                     " has ended already: settled as " +
                                     change.ingest.settled_as->str());
  }
  SHOAL_TRY(end_ingest(change.ingest, error, now_unix_ms));
  Result<std::vector<content::Digest>> orphans = mark_orphans(now_unix_ms);
  if (!orphans) return fail(orphans.error());
  change.orphans = *std::move(orphans);
  SHOAL_TRY(transaction.commit());
  return change;
}

}  // namespace shoal::tracker
