#include "tracker/fleet/blob_index.h"

#include <algorithm>
#include <utility>

#include "tracker/fleet/node_table.h"

namespace shoal::tracker {

bool has_labels(const api::Labels& labels, const api::Topology& topology,
                const api::Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& want) {
    const auto& [name, value] = want;
    if (auto it = labels.find(name); it != labels.end()) return it->second == value;
    if (name == "region") return topology.region == value;
    if (name == "zone") return topology.zone == value;
    if (name == "rack") return topology.rack == value;
    if (name == "host") return topology.host == value;
    return false;
  });
}

FleetBlob* BlobIndex::find(const content::Digest& digest) {
  auto it = ids_.find(digest);
  return it == ids_.end() ? nullptr : &blobs_.at(it->second);
}

std::optional<swarm::BlobId> BlobIndex::id(const content::Digest& digest) const {
  auto it = ids_.find(digest);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

swarm::BlobId BlobIndex::find_or_add(const content::Digest& digest) {
  auto [it, added] = ids_.try_emplace(digest, swarm::BlobId(next_blob_));
  if (added) {
    blobs_[it->second].digest = digest;
    ++next_blob_;
  }
  return it->second;
}

bool BlobIndex::forget_if_unused(swarm::BlobId id) {
  auto it = blobs_.find(id);
  if (it == blobs_.end() || !it->second.unused()) return false;
  ids_.erase(it->second.digest);
  blobs_.erase(it);
  return true;
}

const std::vector<swarm::BlobId>& BlobIndex::set_manifest(const ManifestBlobs& manifest) {
  auto [it, added] = manifests_.try_emplace(manifest.manifest);
  Manifest& known = it->second;
  if (!added) return known.blobs;
  known.bytes = manifest.bytes_total();
  for (const BlobEntry& entry : manifest.blobs) {
    swarm::BlobId id = find_or_add(entry.digest);
    FleetBlob& blob = blobs_.at(id);
    if (Result<content::BlobLayout> layout = content::BlobLayout::of_size(entry.size)) {
      blob.layout = *layout;
    }
    blob.manifests.push_back(manifest.manifest);
    known.blobs.push_back(id);
  }
  return known.blobs;
}

std::vector<swarm::BlobId> BlobIndex::forget_manifest(const content::Digest& manifest) {
  auto it = manifests_.find(manifest);
  if (it == manifests_.end()) return {};
  std::vector<swarm::BlobId> blobs = std::move(it->second.blobs);
  manifests_.erase(it);
  for (swarm::BlobId id : blobs) {
    FleetBlob& blob = blobs_.at(id);
    std::erase(blob.manifests, manifest);
    if (blob.manifests.empty()) blob.origins.clear();  // the catalogue forgot them, too
  }
  return blobs;
}

const BlobIndex::Manifest* BlobIndex::manifest(const content::Digest& digest) const {
  auto it = manifests_.find(digest);
  return it == manifests_.end() ? nullptr : &it->second;
}

std::optional<swarm::OriginId> BlobIndex::origin_of(const FleetBlob& blob) {
  if (blob.origins.empty()) return std::nullopt;
  auto open = std::find_if(blob.origins.begin(), blob.origins.end(), [](const api::Origin& o) {
    return o.nodes.empty() && o.labels.empty();
  });
  const api::Origin& origin = open == blob.origins.end() ? blob.origins.front() : *open;
  // scheme://server; of a file's URL, which has no server, the node that can read it.
  std::size_t path = origin.url.find('/', origin.url.find("://") + 3);
  std::string key = origin.kind + " " + origin.url.substr(0, path);
  if (!origin.nodes.empty()) key += " " + origin.nodes.front();
  auto next = swarm::OriginId(static_cast<std::uint32_t>(origin_ids_.size()));
  return origin_ids_.try_emplace(std::move(key), next).first->second;
}

}  // namespace shoal::tracker
