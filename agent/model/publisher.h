// Gives a model to the tracker, but for its name: manifest, piece tables, what this node says about
// blobs that it has read, and where they can be read first.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/model/library.h"
#include "agent/model/witness.h"
#include "agent/swarm/inventory.h"
#include "agent/tracker/catalogue_client.h"
#include "core/api/catalogue.h"
#include "core/async/blocking_pool.h"
#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/content/manifest.h"
#include "core/content/piece_table.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

using BlobOrigins = std::pair<content::Digest, std::vector<api::Origin>>;

struct NewModel {
  std::string reference;  // "name:tag"
  std::string manifest;   // the documents' texts
  std::string config;
  std::vector<BlobOrigins> origins;
};

// What is known of the model's files.
struct TableSource {
  // Errors: not_found.
  std::function<Result<content::PieceTable>(const content::Digest&)> table;
  // Whether this node has read the whole blob and found that table.
  std::function<bool(const content::Digest&)> read_whole;
};

// Thread: the control thread. Lifetime: borrows everything given; calls end before destruction.
class Publisher {
 public:
  Publisher(std::string node, store::BlobStore& store, Library& library, Inventory& inventory,
            CatalogueClient& catalogue, const Witness& witness, BlockingPool& pool);

  // Also stores both documents here. Once it has succeeded only the name is missing. Errors:
  // invalid (the documents do not fit one another), conflict (a file's table is not known here),
  // those of the store and of the catalogue.
  Task<Result<std::shared_ptr<const Library::Model>>> give(NewModel model, TableSource tables,
                                                           Deadline deadline);

  // What others need to begin: the manifest, tables of files that are here, and origins. Errors:
  // those of the catalogue.
  Task<Status> give_provisional(content::ModelDocuments documents, std::vector<BlobOrigins> origins,
                                TableSource tables, Deadline deadline);

 private:
  Task<Status> give_tables(std::shared_ptr<const Library::Model> model, TableSource tables,
                           Deadline deadline);

  const std::string node_;
  store::BlobStore& store_;
  Library& library_;
  Inventory& inventory_;
  CatalogueClient& catalogue_;
  const Witness& witness_;
  BlockingPool& pool_;
};

}  // namespace shoal::agent
