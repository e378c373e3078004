#include "agent/model/publisher.h"

#include <algorithm>
#include <optional>

#include "core/content/manifest.h"

namespace shoal::agent {

Publisher::Publisher(std::string node, store::BlobStore& store, Library& library,
                     Inventory& inventory, CatalogueClient& catalogue, const Witness& witness,
                     BlockingPool& pool)
    : node_(std::move(node)),
      store_(store),
      library_(library),
      inventory_(inventory),
      catalogue_(catalogue),
      witness_(witness),
      pool_(pool) {}

Task<Status> Publisher::give_tables(std::shared_ptr<const Library::Model> model, TableSource tables,
                                    Deadline deadline) {
  std::vector<content::Digest> blobs{model->manifest.config.digest};
  for (const content::ModelFile& file : model->manifest.files) blobs.push_back(file.digest);
  std::sort(blobs.begin(), blobs.end());
  blobs.erase(std::unique(blobs.begin(), blobs.end()), blobs.end());
  for (const content::Digest& blob : blobs) {
    Result<content::PieceTable> table = tables.table(blob);
    if (!table) {
      co_return fail(Errc::kConflict,
                     "layer " + blob.str() + " was not ingested by this agent: publish it anew");
    }
    SHOAL_CO_TRY(co_await catalogue_.put_table(*table, deadline));
    // The config was hashed by this call.
    const bool own = blob == model->manifest.config.digest || tables.read_whole(blob);
    if (!own || !table->pieces_root()) continue;
    Result<std::string> statement = witness_.sign(*table);
    if (!statement) co_return fail(statement.error().with_context("signing a statement"));
    Status said = co_await catalogue_.put_statement(blob, node_, std::move(*statement), deadline);
    // Enough others have said it already.
    if (!said && said.error().code() != Errc::kConflict) co_return said;
  }
  co_return Status{};
}

Task<Result<std::shared_ptr<const Library::Model>>> Publisher::give(NewModel model,
                                                                    TableSource tables,
                                                                    Deadline deadline) {
  auto work = [this, config = model.config] { return store_bytes(store_, config, {}, {}); };
  auto stored = co_await pool_.run(work);
  if (!stored) co_return fail(stored.error().with_context("storing the config"));
  inventory_.set(**stored);
  auto record = [this, name = model.reference, manifest = model.manifest] {
    return library_.record(name, manifest, {});
  };
  auto recorded = co_await pool_.run(record);
  if (!recorded) co_return fail(recorded.error());
  if ((*recorded)->manifest.config.digest != (*stored)->digest()) {
    co_return fail(Errc::kInvalid, "the manifest names another config");
  }
  const content::Digest digest = (*recorded)->digest;
  inventory_.set_complete(digest, model.manifest.size());
  Status done = co_await catalogue_.put_manifest(digest, std::string(content::kManifestMediaType),
                                                 std::move(model.manifest), deadline);
  if (done) done = co_await give_tables(*recorded, tables, deadline);
  for (auto& [blob, list] : model.origins) {
    if (done) done = co_await catalogue_.put_origins(blob, std::move(list), deadline);
  }
  if (!done) co_return fail(done.error().with_context("giving the model to the tracker"));
  co_return recorded;
}

Task<Status> Publisher::give_provisional(content::ModelDocuments documents,
                                         std::vector<BlobOrigins> origins, TableSource tables,
                                         Deadline deadline) {
  Status done = co_await catalogue_.put_manifest(documents.manifest_digest,
                                                 std::string(content::kManifestMediaType),
                                                 std::move(documents.manifest_json), deadline);
  // Of files that are here already.
  for (const content::ModelFile& file : documents.manifest.files) {
    if (!done || !file.pieces_root) continue;
    Result<content::PieceTable> table = tables.table(file.digest);
    done = table ? Status{} : fail(table.error());
    if (done) done = co_await catalogue_.put_table(*table, deadline);
  }
  for (auto& [name, list] : origins) {
    if (done) done = co_await catalogue_.put_origins(name, std::move(list), deadline);
  }
  if (!done) co_return fail(done.error().with_context("telling the tracker what is published"));
  co_return Status{};
}

}  // namespace shoal::agent
