// What the tracker must not forget: manifests, references, piece tables, origins, statements,
// prefetch orders and ingests. Hides SQLite: only this folder knows it.
//
// Everything else of the tracker is soft state. A call that changes something has it on disk when
// it returns success (it survives kill -9 and power loss), and has changed nothing after an error.
//
// Thread: one at a time; calls block on the disk, so the service makes them on its pool.
// Errors of every call, beside those named: no_space (the file system is full), internal (the disk
// failed, or the database file is damaged; the message says what to do).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/catalogue.h"
#include "core/api/ingest.h"
#include "core/api/operate.h"
#include "core/api/trust.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/reference.h"

namespace shoal::tracker {

class Database;

struct StoredManifest {
  std::string media_type = {};
  std::string bytes = {};
};

// A blob that a manifest names.
struct BlobEntry {
  content::Digest digest = {};
  std::uint64_t size = 0;

  friend bool operator==(const BlobEntry&, const BlobEntry&) = default;
};

// The blobs of a manifest (config and layers), each once; bytes_total() is what a node needs.
struct ManifestBlobs {
  content::Digest manifest = {};
  std::string media_type = {};
  std::uint64_t manifest_size = 0;
  std::uint64_t files = 0;  // layers
  std::vector<BlobEntry> blobs = {};

  std::uint64_t bytes_total() const;
};

struct StoredPrefetch {
  std::string id = {};
  content::Digest manifest = {};
  api::PrefetchRequest request = {};
  std::int64_t created_unix_ms = 0;
  api::PrefetchState state = api::PrefetchState::kRunning;
  std::int64_t ended_unix_ms = 0;  // 0 while running

  friend bool operator==(const StoredPrefetch&, const StoredPrefetch&) = default;
};

// A provisional manifest that a reference means, or meant, while it was being read.
struct StoredIngest {
  content::Digest manifest = {};
  std::string reference = {};  // "name:tag"
  std::string node = {};       // its publisher, in that life
  std::string epoch = {};
  api::IngestState state = api::IngestState::kRunning;
  std::optional<content::Digest> settled_as = {};
  std::optional<Error> error = {};
  std::int64_t created_unix_ms = 0;
  std::int64_t updated_unix_ms = 0;

  bool running() const { return state == api::IngestState::kRunning; }
  friend bool operator==(const StoredIngest&, const StoredIngest&) = default;
};

class Catalogue {
 public:
  static constexpr int kSchemaVersion = 1;
  // How long a manifest that nothing names is kept: publishing gives the reference last, and those
  // who were not there when an ingest ended can follow it.
  static constexpr std::int64_t kKeepUnreferencedMs = 24LL * 3600 * 1000;

  // Opens or creates `folder`/catalogue.db. Errors: conflict (another tracker has it open; or it
  // was made by a newer version, or by another program), denied, not_found (the folder cannot be
  // made).
  static Result<std::unique_ptr<Catalogue>> open(const std::filesystem::path& folder);
  ~Catalogue();
  Catalogue(const Catalogue&) = delete;
  Catalogue& operator=(const Catalogue&) = delete;

  // Errors: corrupt (bytes have another digest), invalid (not a model manifest, media type too
  // long). Putting it again changes nothing.
  Status put_manifest(const content::Digest& digest, std::string_view media_type,
                      std::string_view bytes, std::int64_t now_unix_ms);
  // Errors: not_found.
  Result<StoredManifest> manifest(const content::Digest& digest);
  // Errors: not_found.
  Result<ManifestBlobs> manifest_blobs(const content::Digest& digest);
  // All of them, for the fleet's view at start.
  Result<std::vector<content::Digest>> manifests();
  // Every blob that has origins.
  Result<std::vector<content::Digest>> blobs_with_origins();

  // Errors: corrupt (not a table, contradicts itself, of another blob), conflict (a table with
  // another root is stored, or this root was withdrawn).
  Status put_table(const content::Digest& blob, std::string_view bytes, std::int64_t now_unix_ms);
  // Errors: not_found.
  Result<std::string> table(const content::Digest& blob);

  struct Named {
    api::ReferenceRecord record = {};
    std::optional<content::Digest> orphan =
        {};  // the tag's former manifest, if it was its last one
  };
  // `reference` is by tag. Errors: not_found (no such manifest), invalid (by digest, or the
  // manifest is provisional).
  Result<Named> put_reference(const content::Reference& reference, const content::Digest& manifest,
                              std::int64_t now_unix_ms);
  // Errors: not_found, invalid (by digest).
  Result<api::ReferenceRecord> reference(const content::Reference& reference);
  struct Removed {
    api::ReferenceRecord record = {};
    bool was_last = false;                    // no reference names the manifest any more
    std::optional<StoredIngest> ingest = {};  // was running for it, and has failed by this
  };
  // With a running ingest of it, whose record it gives where no tag was set. Errors: not_found,
  // invalid (by digest).
  Result<Removed> remove_reference(const content::Reference& reference, std::int64_t now_unix_ms);
  // `limit` is at least 1. `after` as in ReferenceList::next; empty: from the start.
  Result<api::ReferenceList> references(std::string_view after, std::size_t limit);
  // The manifest a reference means: that of its running ingest, else the one it names. Errors:
  // not_found.
  Result<ManifestBlobs> resolve(const content::Reference& reference);

  // Replaces origins of equal kind and URL, adds the others. Errors: invalid (more than
  // api::kMaxOrigins of the blob).
  Status put_origins(const content::Digest& blob, const api::Origins& origins);
  // Empty if none is known.
  Result<api::Origins> origins(const content::Digest& blob);

  // Errors: conflict (api::kMaxStatements of other nodes are there).
  Status put_statement(const content::Digest& blob, const api::Statement& statement);
  Result<api::Statements> statements(const content::Digest& blob);

  // The table with that root, and every statement about the blob, are forgotten; no table with that
  // root is taken any more. `reporters` is for people. Again: changes nothing.
  Status withdraw(const api::Withdrawal& withdrawal, const std::string& reporters,
                  std::int64_t now_unix_ms);
  // The newest api::kMaxWithdrawals.
  Result<std::vector<api::Withdrawal>> withdrawals();

  // Who publishes, in which life.
  struct Publisher {
    std::string node = {};
    std::string epoch = {};
  };
  struct IngestChange {
    StoredIngest ingest = {};                         // as it is now
    std::optional<StoredIngest> replaced = {};        // failed, because this one began
    std::optional<api::ReferenceRecord> record = {};  // of what it settled as
    std::vector<content::Digest> orphans = {};        // manifests that nothing names any more
  };
  // From now on `reference`, which is by tag, means this manifest. Replaces what the same node, or
  // `absent_node`, is publishing for it; also begins again what has ended. Again: changes nothing
  // but the epoch. Errors: not_found (no such manifest), invalid (by digest, not provisional),
  // conflict (another node is publishing the reference or the manifest; or it is for another one).
  Result<IngestChange> begin_ingest(const content::Reference& reference,
                                    const content::Digest& manifest, const Publisher& publisher,
                                    std::string_view absent_node, std::int64_t now_unix_ms);
  // At once: the reference names `settled_as`, the ingest has ended, and running prefetches are for
  // that manifest. Again: changes nothing. Errors: not_found (no such ingest or manifest), invalid
  // (`settled_as` is provisional), conflict (of another publisher, or it has ended otherwise).
  Result<IngestChange> settle_ingest(const content::Digest& manifest, const Publisher& publisher,
                                     const content::Digest& settled_as, std::int64_t now_unix_ms);
  // The reference means what it meant before. Again: changes nothing, the first error stays.
  // Errors: not_found, conflict (of another publisher, or it has settled).
  Result<IngestChange> fail_ingest(const content::Digest& manifest, const Publisher& publisher,
                                   const Error& error, std::int64_t now_unix_ms);
  // Those that run, and those that ended within kKeepUnreferencedMs.
  Result<std::vector<StoredIngest>> ingests();

  // Adds, or replaces state and end of, the order.
  Status put_prefetch(const StoredPrefetch& prefetch);
  Result<std::vector<StoredPrefetch>> prefetches();

  // Forgets manifests that no reference has named for kKeepUnreferencedMs, what belonged to their
  // blobs alone, and prefetches that ended before `prefetches_ended_before_unix_ms`. Returns those
  // manifests.
  Result<std::vector<content::Digest>> collect(std::int64_t now_unix_ms,
                                               std::int64_t prefetches_ended_before_unix_ms);

  // At most so many bytes of database from now on, as a full disk would: for tests.
  Status limit_size(std::uint64_t bytes);

 private:
  explicit Catalogue(std::unique_ptr<Database> database);

  // The digests in a statement's first column.
  Result<std::vector<content::Digest>> digests(class Query& query);

  // Parts of a transaction that the caller has begun.
  // Errors: not_found.
  Result<bool> is_provisional(const content::Digest& manifest);
  // Errors: not_found, invalid.
  Status set_tag(const content::Reference& reference, const content::Digest& manifest,
                 std::int64_t now_unix_ms);
  // Marks the manifests that nothing names any more, and gives them.
  Result<std::vector<content::Digest>> mark_orphans(std::int64_t now_unix_ms);
  Result<std::optional<StoredIngest>> find_ingest(const content::Digest& manifest);
  Result<std::optional<StoredIngest>> running_ingest(const content::Reference& reference);
  Result<std::optional<StoredIngest>> one_ingest(class Query& query);
  // Errors: not_found, conflict (of another publisher).
  Result<StoredIngest> ingest_of(const content::Digest& manifest, const Publisher& publisher);
  Status write_ingest(const StoredIngest& ingest);
  Status end_ingest(StoredIngest& ingest, const Error& error, std::int64_t now_unix_ms);

  const std::unique_ptr<Database> database_;
};

}  // namespace shoal::tracker
