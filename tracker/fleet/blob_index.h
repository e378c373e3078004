// Blobs and manifests as the fleet sees them: what belongs together, where a first copy is, who has
// or wants it. Internal to tracker/fleet.
//
// Thread: one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/api/catalogue.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/swarm/lease_table.h"
#include "core/swarm/types.h"
#include "tracker/catalogue/catalogue.h"

namespace shoal::tracker {

struct FleetBlob {
  content::Digest digest;
  std::optional<content::BlobLayout> layout;  // none until somebody said its size
  std::vector<api::Origin> origins;
  bool origin_changed = false;             // it gives something else by now
  std::vector<content::Digest> manifests;  // that name it
  std::set<swarm::NodeId> holders;         // nodes in the fleet that serve some of it
  std::set<swarm::NodeId> wanters;

  bool unused() const {
    return origins.empty() && manifests.empty() && holders.empty() && wanters.empty();
  }
};

class BlobIndex {
 public:
  // Null if unknown. References and pointers are valid until forget_if_unused() of that blob.
  FleetBlob* find(const content::Digest& digest);
  FleetBlob& at(swarm::BlobId id) { return blobs_.at(id); }
  const FleetBlob& at(swarm::BlobId id) const { return blobs_.at(id); }
  std::optional<swarm::BlobId> id(const content::Digest& digest) const;
  swarm::BlobId find_or_add(const content::Digest& digest);
  // True if it was forgotten.
  bool forget_if_unused(swarm::BlobId id);

  // Blobs without a size get one; a size that somebody said before and that differs is replaced,
  // because a manifest's digest vouches for it. Returns the manifest's blobs.
  const std::vector<swarm::BlobId>& set_manifest(const ManifestBlobs& manifest);
  // Returns the blobs that were its.
  std::vector<swarm::BlobId> forget_manifest(const content::Digest& manifest);

  struct Manifest {
    std::vector<swarm::BlobId> blobs;
    std::uint64_t bytes = 0;
  };
  // Null if unknown.
  const Manifest* manifest(const content::Digest& digest) const;

  // What shares the lessees of a blob's origin: the server of the first origin that all nodes can
  // read, else of the first one. None without an origin.
  std::optional<swarm::OriginId> origin_of(const FleetBlob& blob);

 private:
  std::unordered_map<content::Digest, swarm::BlobId> ids_;
  std::unordered_map<swarm::BlobId, FleetBlob> blobs_;
  std::unordered_map<content::Digest, Manifest> manifests_;
  std::unordered_map<std::string, swarm::OriginId> origin_ids_;  // by kind and server
  std::uint32_t next_blob_ = 0;
};

}  // namespace shoal::tracker
