// Leases: between the API's digests and node ids and the lease table's handles.
#include <algorithm>

#include "tracker/fleet/fleet.h"

namespace shoal::tracker {
namespace {

swarm::LeaseKind kind_of(api::LeaseKind kind) {
  switch (kind) {
    case api::LeaseKind::kOrigin:
      return swarm::LeaseKind::kOrigin;
    case api::LeaseKind::kRack:
      return swarm::LeaseKind::kRack;
  }
  return swarm::LeaseKind::kOrigin;
}

api::LeaseReason reason_of(swarm::LeaseRefusal refusal) {
  switch (refusal) {
    case swarm::LeaseRefusal::kStarting:
      return api::LeaseReason::kStarting;
    case swarm::LeaseRefusal::kBusy:
      return api::LeaseReason::kBusy;
    case swarm::LeaseRefusal::kTaken:
      return api::LeaseReason::kTaken;
    case swarm::LeaseRefusal::kNoOrigin:
      return api::LeaseReason::kNoOrigin;
  }
  return api::LeaseReason::kNoOrigin;
}

// The ranges that lie within the blob.
std::vector<content::PieceRange> within(const std::vector<content::PieceRange>& ranges,
                                        const FleetBlob& blob) {
  std::vector<content::PieceRange> out;
  if (!blob.layout) return out;
  for (const content::PieceRange& range : ranges) {
    if (range.end().value() <= blob.layout->piece_count()) out.push_back(range);
  }
  return out;
}

}  // namespace

void Fleet::set_origins(const content::Digest& digest, const api::Origins& origins) {
  swarm::BlobId id = blobs_.find_or_add(digest);
  FleetBlob& blob = blobs_.at(id);
  auto etag_of = [](const std::vector<api::Origin>& all) {
    return all.empty() ? std::string() : all.front().etag;
  };
  bool replaced = !blob.origins.empty() && etag_of(blob.origins) != etag_of(origins.origins);
  blob.origins = origins.origins;
  blob.origin_changed = false;
  // Leases are pinned to the ETag of the origin that was: without an origin the table forgets it.
  if (replaced && blob.layout) leases_.add_blob(id, *blob.layout, std::nullopt);
  add_to_leases(id);
}

void Fleet::add_to_leases(swarm::BlobId id) {
  const FleetBlob& blob = blobs_.at(id);
  if (blob.layout) leases_.add_blob(id, *blob.layout, blobs_.origin_of(blob));
}

bool Fleet::can_read_origin(const Node& node, const FleetBlob& blob) const {
  return std::any_of(blob.origins.begin(), blob.origins.end(), [&](const api::Origin& origin) {
    if (origin.nodes.empty() && origin.labels.empty()) return true;
    if (std::find(origin.nodes.begin(), origin.nodes.end(), node.id) != origin.nodes.end()) {
      return true;
    }
    return !origin.labels.empty() && has_labels(node.labels, node.topology, origin.labels);
  });
}

std::vector<api::HeldLease> Fleet::announce(Node& node, const std::vector<api::HeldLease>& leases,
                                            swarm::Time now) {
  std::vector<api::HeldLease> lost;
  for (const api::HeldLease& held : leases) {
    std::optional<swarm::BlobId> id = blobs_.id(held.blob);
    if (!id || !blobs_.at(*id).layout) continue;
    const FleetBlob& blob = blobs_.at(*id);
    api::HeldLease refused{held.kind, held.blob, held.etag, {}};
    if (!held.etag.empty() && !leases_.report_etag(*id, held.etag)) {
      refused.pieces = held.pieces;
      lost.push_back(std::move(refused));
      continue;
    }
    std::vector<content::PieceRange> pieces = within(held.pieces, blob);
    content::PieceSet missing(blob.layout->piece_count());
    for (const content::PieceRange& range : pieces) missing.set_range(range);
    for (const content::PieceRange& kept :
         leases_.announce_lease(node.handle, kind_of(held.kind), *id, pieces, now)) {
      missing.reset_range(kept);
    }
    for (auto run = missing.next_run(content::PieceIndex(0)); !run.empty();
         run = missing.next_run(run.end())) {
      refused.pieces.push_back(run);
    }
    if (!refused.pieces.empty()) lost.push_back(std::move(refused));
  }
  return lost;
}

Result<api::LeaseResponse> Fleet::leases(std::string_view id, const api::LeaseRequest& request,
                                         swarm::Time now) {
  std::optional<Error> error;
  Node* node = registered_node(id, request.epoch, error);
  if (!node) return fail(*std::move(error));
  api::LeaseResponse response;
  response.tracker_epoch = tracker_epoch_;
  for (const api::OriginSeen& seen : request.seen) {
    std::optional<swarm::BlobId> blob = blobs_.id(seen.blob);
    if (blob && blobs_.at(*blob).layout && !leases_.report_etag(*blob, seen.etag)) {
      blobs_.at(*blob).origin_changed = true;
      response.origin_changed.push_back(seen.blob);
    }
  }
  for (const api::LeaseProgress& progress : request.progress) {
    std::optional<swarm::BlobId> blob = blobs_.id(progress.blob);
    if (!blob) continue;
    leases_.node_active(node->handle, *blob, now);
    for (const content::PieceRange& range : within(progress.pieces, blobs_.at(*blob))) {
      leases_.node_has(node->handle, *blob, range, now);
    }
  }
  for (const api::LeaseRelease& release : request.releases) {
    std::optional<swarm::BlobId> blob = blobs_.id(release.blob);
    if (!blob) continue;
    leases_.release(node->handle, kind_of(release.kind), *blob,
                    within(release.pieces, blobs_.at(*blob)));
  }
  for (const api::LeaseAsk& ask : request.asks) {
    response.answers.push_back(answer(*node, ask, now));
  }
  return response;
}

api::LeaseAnswer Fleet::answer(const Node& node, const api::LeaseAsk& ask, swarm::Time now) {
  api::LeaseAnswer out;
  out.reason = api::LeaseReason::kNoOrigin;
  out.retry = options_.heartbeat;
  std::optional<swarm::BlobId> id = blobs_.id(ask.blob);
  if (!id || !node.in_fleet()) return out;
  const FleetBlob& blob = blobs_.at(*id);
  if (ask.kind == api::LeaseKind::kOrigin && !can_read_origin(node, blob)) return out;
  swarm::LeaseAsk question;
  question.kind = kind_of(ask.kind);
  question.blob = *id;
  question.bytes = ask.bytes;
  question.candidates = within(ask.candidates, blob);
  question.urgent = ask.urgent;
  question.starved = ask.starved;
  if (question.candidates.empty() &&
      (!ask.candidates.empty() || ask.kind == api::LeaseKind::kRack)) {
    out.reason = api::LeaseReason::kTaken;
    return out;
  }
  swarm::LeaseTable::Answer answer = leases_.ask(node.handle, question, now);
  out.reason = answer.granted.empty() ? reason_of(answer.refusal) : api::LeaseReason::kGranted;
  out.pieces = std::move(answer.granted);
  out.etag = std::move(answer.etag);
  out.retry = out.pieces.empty() ? std::chrono::ceil<std::chrono::milliseconds>(answer.retry_after)
                                 : std::chrono::milliseconds(0);
  return out;
}

}  // namespace shoal::tracker
