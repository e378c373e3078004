#include "tracker/catalogue/catalogue.h"

#include <span>
#include <system_error>
#include <utility>

#include "core/api/limits.h"
#include "core/base/hex.h"
#include "core/content/manifest.h"
#include "core/content/piece_table.h"
#include "tracker/catalogue/database.h"

namespace shoal::tracker {
namespace {

// "shol": marks the file as ours (PRAGMA application_id).
constexpr std::int64_t kApplicationId = 0x73686f6c;

// Version 1. Digests are 32 raw bytes.
constexpr const char* kSchema[] = {
    "CREATE TABLE manifests (digest BLOB PRIMARY KEY, media_type TEXT NOT NULL, bytes BLOB NOT "
    "NULL,"
    " files INTEGER NOT NULL, unreferenced_since INTEGER)",
    "CREATE TABLE manifest_blobs (manifest BLOB NOT NULL REFERENCES manifests ON DELETE CASCADE,"
    " blob BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (manifest, blob)) WITHOUT ROWID",
    "CREATE INDEX manifest_blobs_blob ON manifest_blobs (blob)",
    "CREATE TABLE tags (name TEXT NOT NULL, tag TEXT NOT NULL,"
    " manifest BLOB NOT NULL REFERENCES manifests, created INTEGER NOT NULL,"
    " updated INTEGER NOT NULL, PRIMARY KEY (name, tag)) WITHOUT ROWID",
    "CREATE INDEX tags_manifest ON tags (manifest)",
    "CREATE TABLE tables (blob BLOB PRIMARY KEY, bytes BLOB NOT NULL, added INTEGER NOT NULL)",
    "CREATE TABLE origins (blob BLOB NOT NULL, kind TEXT NOT NULL, url TEXT NOT NULL,"
    " details TEXT NOT NULL, PRIMARY KEY (blob, kind, url)) WITHOUT ROWID",
    "CREATE TABLE statements (blob BLOB NOT NULL, node TEXT NOT NULL, text TEXT NOT NULL,"
    " PRIMARY KEY (blob, node)) WITHOUT ROWID",
    "CREATE TABLE prefetches (id TEXT PRIMARY KEY, manifest BLOB NOT NULL, request TEXT NOT NULL,"
    " created INTEGER NOT NULL, state INTEGER NOT NULL, ended INTEGER NOT NULL) WITHOUT ROWID",
    "PRAGMA application_id=0x73686f6c",
    "PRAGMA user_version=1",
};

// Not known to the first catalogues, and not missed by programs that do not know it.
constexpr const char* kWithdrawals =
    "CREATE TABLE IF NOT EXISTS withdrawals (blob BLOB NOT NULL, root TEXT NOT NULL,"
    " signer TEXT NOT NULL, reporters TEXT NOT NULL, added INTEGER NOT NULL,"
    " PRIMARY KEY (blob, root)) WITHOUT ROWID";

// Nor these. A row goes with its manifest.
constexpr const char* kIngests[] = {
    "CREATE TABLE IF NOT EXISTS ingests (manifest BLOB PRIMARY KEY REFERENCES manifests ON DELETE"
    " CASCADE, name TEXT NOT NULL, tag TEXT NOT NULL, node TEXT NOT NULL, epoch TEXT NOT NULL,"
    " state INTEGER NOT NULL, settled_as BLOB, error_code TEXT NOT NULL, error TEXT NOT NULL,"
    " created INTEGER NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID",
    // A reference means one thing.
    "CREATE UNIQUE INDEX IF NOT EXISTS ingests_running ON ingests (name, tag) WHERE state = 0",
};

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Result<std::int64_t> single_number(Database& database, const char* sql) {
  Query query(database, sql);
  Result<bool> row = query.next();
  if (!row) return fail(row.error());
  return *row ? query.integer(0) : 0;
}

Status check_or_create_schema(Database& database, const std::filesystem::path& file) {
  Result<std::int64_t> application = single_number(database, "PRAGMA application_id");
  if (!application) return fail(application.error());
  Result<std::int64_t> version = single_number(database, "PRAGMA user_version");
  if (!version) return fail(version.error());
  Result<std::int64_t> tables = single_number(database, "SELECT count(*) FROM sqlite_schema");
  if (!tables) return fail(tables.error());

  if (*application == 0 && *version == 0 && *tables == 0) {
    Transaction transaction(database);
    SHOAL_TRY(transaction.begun());
    for (const char* sql : kSchema) SHOAL_TRY(database.run(sql));
    return transaction.commit();
  }
  if (*application != kApplicationId) {
    return fail(Errc::kConflict, file.string() + " is not a tracker's catalogue");
  }
  if (*version > Catalogue::kSchemaVersion) {
    return fail(Errc::kConflict, file.string() + " has schema " + std::to_string(*version) +
                                     ", made by a newer tracker; this one knows schema " +
                                     std::to_string(Catalogue::kSchemaVersion) +
                                     ": start the newer tracker, or give another --data");
  }
  return {};
}

}  // namespace

std::uint64_t ManifestBlobs::bytes_total() const {
  std::uint64_t total = 0;
  for (const BlobEntry& blob : blobs) total += blob.size;
  return total;
}

Catalogue::Catalogue(std::unique_ptr<Database> database) : database_(std::move(database)) {}
Catalogue::~Catalogue() = default;

Result<std::unique_ptr<Catalogue>> Catalogue::open(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(errno_error("making the folder " + folder.string(), error.value()));
  std::filesystem::path file = folder / "catalogue.db";
  Result<std::unique_ptr<Database>> database = Database::open(file);
  if (!database) return fail(database.error());
  SHOAL_TRY(check_or_create_schema(**database, file));
  SHOAL_TRY((*database)->run(kWithdrawals));
  for (const char* sql : kIngests) SHOAL_TRY((*database)->run(sql));
  return std::unique_ptr<Catalogue>(new Catalogue(*std::move(database)));
}

Status Catalogue::put_manifest(const content::Digest& digest, std::string_view media_type,
                               std::string_view bytes, std::int64_t now_unix_ms) {
  if (media_type.empty() || media_type.size() > api::kMaxName) {
    return fail(Errc::kInvalid, "a manifest needs a Content-Type of at most " +
                                    std::to_string(api::kMaxName) + " bytes");
  }
  content::Digest found = content::digest_of(bytes);
  if (found != digest) {
    return fail(Errc::kCorrupt, "the manifest has digest " + found.str() + ", not " + digest.str());
  }
  Result<content::ModelManifest> parsed = content::ModelManifest::parse(bytes);
  if (!parsed) return fail(parsed.error().with_context("manifest " + digest.str()));

  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Query insert(*database_,
               "INSERT INTO manifests (digest, media_type, bytes, files, unreferenced_since)"
               " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING");
  insert.bind(digest).bind(media_type).bind_bytes(bytes);
  insert.bind(static_cast<std::int64_t>(parsed->files.size())).bind(now_unix_ms);
  SHOAL_TRY(insert.run());
  if (database_->changes() == 0) return {};  // it is here already
  auto add_blob = [&](const content::Digest& blob, std::uint64_t size) -> Status {
    Query add(*database_,
              "INSERT INTO manifest_blobs (manifest, blob, size) VALUES (?1, ?2, ?3)"
              " ON CONFLICT DO NOTHING");
    return add.bind(digest).bind(blob).bind(static_cast<std::int64_t>(size)).run();
  };
  SHOAL_TRY(add_blob(parsed->config.digest, parsed->config.size));
  for (const content::ModelFile& file : parsed->files) SHOAL_TRY(add_blob(file.digest, file.size));
  return transaction.commit();
}

Result<StoredManifest> Catalogue::manifest(const content::Digest& digest) {
  Query query(*database_, "SELECT media_type, bytes FROM manifests WHERE digest = ?1");
  Result<bool> row = query.bind(digest).next();
  if (!row) return fail(row.error());
  if (!*row) return fail(Errc::kNotFound, "no manifest " + digest.str() + " in the catalogue");
  return StoredManifest{query.text(0), query.text(1)};
}

Result<ManifestBlobs> Catalogue::manifest_blobs(const content::Digest& digest) {
  ManifestBlobs out;
  out.manifest = digest;
  {
    Query query(*database_,
                "SELECT media_type, length(bytes), files FROM manifests WHERE digest = ?1");
    Result<bool> row = query.bind(digest).next();
    if (!row) return fail(row.error());
    if (!*row) return fail(Errc::kNotFound, "no manifest " + digest.str() + " in the catalogue");
    out.media_type = query.text(0);
    out.manifest_size = static_cast<std::uint64_t>(query.integer(1));
    out.files = static_cast<std::uint64_t>(query.integer(2));
  }
  Query query(*database_, "SELECT blob, size FROM manifest_blobs WHERE manifest = ?1");
  query.bind(digest);
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    Result<content::Digest> blob = query.digest(0);
    if (!blob) return fail(blob.error());
    out.blobs.push_back({*blob, static_cast<std::uint64_t>(query.integer(1))});
  }
}

Result<std::vector<content::Digest>> Catalogue::digests(Query& query) {
  std::vector<content::Digest> out;
  for (;;) {
    Result<bool> row = query.next();
    if (!row) return fail(row.error());
    if (!*row) return out;
    Result<content::Digest> digest = query.digest(0);
    if (!digest) return fail(digest.error());
    out.push_back(*digest);
  }
}

Result<std::vector<content::Digest>> Catalogue::manifests() {
  Query query(*database_, "SELECT digest FROM manifests");
  return digests(query);
}

Result<std::vector<content::Digest>> Catalogue::blobs_with_origins() {
  Query query(*database_, "SELECT DISTINCT blob FROM origins");
  return digests(query);
}

Status Catalogue::put_table(const content::Digest& blob, std::string_view bytes,
                            std::int64_t now_unix_ms) {
  Result<content::PieceTable> parsed = content::PieceTable::parse(as_bytes(bytes));
  if (!parsed) return fail(parsed.error());
  if (parsed->digest() != blob) {
    return fail(Errc::kCorrupt,
                "this is the piece table of " + parsed->digest().str() + ", not of " + blob.str());
  }
  if (parsed->pieces_root()) {
    Query known(*database_, "SELECT 1 FROM withdrawals WHERE blob = ?1 AND root = ?2");
    Result<bool> row = known.bind(blob).bind(to_hex(*parsed->pieces_root())).next();
    if (!row) return fail(row.error());
    if (*row) {
      return fail(Errc::kConflict, "this piece table of " + blob.str() +
                                       " was withdrawn: its bytes do not have that digest");
    }
  }
  if (Result<std::string> stored = table(blob)) {
    if (*stored == bytes) return {};
    return fail(Errc::kConflict, "another piece table of " + blob.str() + " is stored");
  } else if (stored.error().code() != Errc::kNotFound) {
    return fail(stored.error());
  }
  Query insert(*database_, "INSERT INTO tables (blob, bytes, added) VALUES (?1, ?2, ?3)");
  return insert.bind(blob).bind_bytes(bytes).bind(now_unix_ms).run();
}

Result<std::string> Catalogue::table(const content::Digest& blob) {
  Query query(*database_, "SELECT bytes FROM tables WHERE blob = ?1");
  Result<bool> row = query.bind(blob).next();
  if (!row) return fail(row.error());
  if (!*row) return fail(Errc::kNotFound, "no piece table of " + blob.str() + " in the catalogue");
  return query.text(0);
}

Result<std::vector<content::Digest>> Catalogue::collect(
    std::int64_t now_unix_ms, std::int64_t prefetches_ended_before_unix_ms) {
  const std::int64_t before = now_unix_ms - kKeepUnreferencedMs;
  Transaction transaction(*database_);
  SHOAL_TRY(transaction.begun());
  Query gone(*database_,
             "DELETE FROM manifests WHERE unreferenced_since <= ?1 AND digest NOT IN"
             " (SELECT manifest FROM prefetches WHERE ended = 0) RETURNING digest");
  Result<std::vector<content::Digest>> removed = digests(gone.bind(before));
  if (!removed) return fail(removed.error());
  Query tables(*database_,
               "DELETE FROM tables WHERE added <= ?1 AND blob NOT IN"
               " (SELECT blob FROM manifest_blobs)");
  SHOAL_TRY(tables.bind(before).run());
  if (!removed->empty()) {
    // Origins and statements carry no time; they go when a manifest goes, and those of a publishing
    // under way come before its reference but after its manifest.
    SHOAL_TRY(
        Query(*database_, "DELETE FROM origins WHERE blob NOT IN (SELECT blob FROM manifest_blobs)")
            .run());
    SHOAL_TRY(Query(*database_,
                    "DELETE FROM statements WHERE blob NOT IN (SELECT blob FROM manifest_blobs)")
                  .run());
  }
  Query prefetches(*database_, "DELETE FROM prefetches WHERE ended > 0 AND ended < ?1");
  SHOAL_TRY(prefetches.bind(prefetches_ended_before_unix_ms).run());
  SHOAL_TRY(transaction.commit());
  return removed;
}

Status Catalogue::limit_size(std::uint64_t bytes) {
  std::string sql = "PRAGMA max_page_count=" + std::to_string(bytes / 16384);
  return database_->run(sql.c_str());
}

}  // namespace shoal::tracker
