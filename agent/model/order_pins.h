// Pins that the tracker's orders made here: they end when no reference names the manifest any more,
// while pins of somebody on this node stay until he unpins. Hides how the two are told apart, also
// after a restart, and how a node that was away learns what it missed.
#pragma once

#include "core/async/task.h"

#include <string>
#include <vector>

#include "agent/model/library.h"
#include "agent/tracker/catalogue_client.h"
#include "core/async/blocking_pool.h"
#include "core/base/result.h"
#include "core/content/digest.h"

namespace shoal::agent {

// Thread: pin() and keep() on any thread, they block; the rest on the control thread. Lifetime:
// borrows everything given; calls end before destruction.
class OrderPins {
 public:
  OrderPins(store::BlobStore& store, Library& library, CatalogueClient& catalogue,
            BlockingPool& pool);

  // Pins the model for an order. What somebody here pinned under that name stays his. Errors: the
  // store's.
  Status pin(const Library::Model& model, const std::string& name);
  // Somebody on this node wants the name pinned or unpinned: the order has no say any more.
  void keep(const Library::Model& model, const std::string& name);

  // These manifests lost their last reference.
  Task<Status> removed(std::vector<content::Digest> manifests);
  // Asks the tracker which manifests still have a reference and ends the pins of the others.
  Task<Status> reconcile();

 private:
  // Models with pins of orders.
  std::vector<content::Digest> pinned() const;
  Status unpin(const content::Digest& manifest);

  store::BlobStore& store_;
  Library& library_;
  CatalogueClient& catalogue_;
  BlockingPool& pool_;
};

}  // namespace shoal::agent
