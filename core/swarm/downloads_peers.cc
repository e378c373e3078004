// Peers and what they have; requests and what became of them.

#include <algorithm>
#include <utility>

#include "core/base/check.h"
#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {

void Downloads::Impl::peer_up(PeerId id, const PeerInfo& info, Time now) {
  advance(now);
  if (id.value() >= peers_.size()) peers_.resize(id.value() + 1);
  if (peers_[id.value()].up) peer_down(id, now);
  Peer peer;
  peer.up = true;
  peer.info = info;
  peer.near = same_rack(info.locality);
  peer.score = PeerScore(options_.queue_target, options_.pipeline * options_.max_request);
  peers_[id.value()] = std::move(peer);
  up_.push_back(id);
  if (peers_[id.value()].near) ++near_peers_;
}

void Downloads::Impl::peer_down(PeerId id, Time now) {
  advance(now);
  Peer* peer = find(id);
  if (!peer) return;
  for (Request& request : requests_) {
    if (!request.live || request.orphan || request.source != Source::of(id)) continue;
    request.orphan = true;
    in_flight_ -= request.left;
    if (Blob* blob = find(request.blob)) unbusy(*blob, request);
  }
  for (BlobId blob_id : active_) {
    Blob* blob = find(blob_id);
    if (!blob || !blob->tracked || blob_id.value() >= peer->has.size()) continue;
    const RunSet& has = peer->has[blob_id.value()];
    for (std::uint32_t run = 0; run < blob->layout.run_count() && has.count() != 0; ++run) {
      count_run(*blob, *peer, run, part_of(has, run), {});
    }
  }
  if (peer->near) --near_peers_;
  std::erase(up_, id);
  *peer = Peer();
  wake_all();
}

void Downloads::Impl::peer_has(PeerId id, BlobId blob_id, content::PieceRange pieces, Time now) {
  advance(now);
  Peer* peer = find(id);
  Blob* blob = find(blob_id);
  if (!peer || !blob || peer->banned) return;
  pieces = clip(blob->layout, pieces);
  if (pieces.empty()) return;
  if (peer->has.size() <= blob_id.value()) peer->has.resize(blobs_.size());
  RunSet& has = peer->has[blob_id.value()];
  if (has.count() == 0) has = RunSet(blob->layout);
  if (!blob->tracked) {
    has.add(blob->layout, pieces);
    return;
  }
  bool by_lease = restricted(*blob, *peer);
  Runs runs(blob->layout, pieces);
  for (std::uint32_t run = runs.first; run < runs.end; ++run) {
    std::uint64_t bit = 1ULL << (run % 64);
    if (peer->dry && (blob->todo_word(run / 64) & bit) != 0) {
      peer->dry = by_lease && !blob->rack_lease.any(run) && !blob->origin_lease.any(run);
    }
    Part before = part_of(has, run);
    if (before.full) continue;
    if (((blob->in_near[run / 64] | blob->in_far[run / 64]) & bit) == 0) blob->news = now_;
    content::PieceRange all = blob->layout.pieces_of_run(content::RunIndex(run));
    content::PieceIndex first = std::max(all.first, pieces.first);
    has.add(blob->layout, content::PieceRange{first, std::min(all.end(), pieces.end()) - first});
    count_run(*blob, *peer, run, before, part_of(has, run));
  }
}

void Downloads::Impl::peer_replace(PeerId id, BlobId blob_id, RunSet has, Time now) {
  advance(now);
  Peer* peer = find(id);
  Blob* blob = find(blob_id);
  if (!peer || !blob || peer->banned) return;
  if (peer->has.size() <= blob_id.value()) peer->has.resize(blobs_.size());
  RunSet& old = peer->has[blob_id.value()];
  if (has.count() == 0 && old.count() == 0) return;
  if (blob->tracked) {
    for (std::uint32_t run = 0; run < blob->layout.run_count(); ++run) {
      count_run(*blob, *peer, run, part_of(old, run), part_of(has, run));
    }
  }
  old = std::move(has);
  blob->news = now_;
  peer->dry = false;
}

void Downloads::Impl::pieces_verified(RequestId id, content::PieceRange pieces, Time now) {
  advance(now);
  Request* request = find(id);
  if (!request || request->orphan || pieces.empty()) return;
  SHOAL_CHECK(pieces.first >= request->pieces.first && pieces.end() <= request->pieces.end(),
              "pieces that the request did not ask for");
  Blob& blob = blobs_[request->blob.value()];
  std::uint64_t bytes = blob.layout.range_of(pieces).length;
  std::uint32_t added = blob.have.add(blob.layout, pieces);
  std::uint64_t fresh = added == pieces.count ? bytes : added * blob.layout.piece_length();
  fresh = std::min(fresh, bytes);
  blob.busy.remove(blob.layout, pieces);
  had(blob, pieces);
  refresh(blob, pieces);

  request->progress = now_;
  in_flight_ -= std::min(bytes, request->left);
  request->left -= std::min(bytes, request->left);
  counters_.bytes_duplicate += bytes - fresh;
  rate_bytes_ += fresh;
  if (request->source.is_origin()) {
    origin_.received(bytes, now_);
    counters_.bytes_origin += fresh;
    blob.origin_backoff.succeeded();
  } else {
    Peer& peer = peers_[request->source.peer().value()];
    peer.score.received(bytes, now_);
    peer.backoff.succeeded();
    counters_.bytes_peers += fresh;
    if (!peer.near) counters_.bytes_other_rack += fresh;
  }
  if (added != 0) {
    blob.progress = progress_ = now_;
    blob.stall_reported = false;
  }
  if (request->partner != kNoSlot) {
    Request& partner = requests_[request->partner];
    if (!partner.orphan && !partner.cancelled && blob.have.contains(blob.layout, partner.pieces)) {
      partner.cancelled = true;
      out_.push_back(
          CancelRequest{RequestId(std::uint64_t{partner.generation} << 32 | request->partner)});
    }
  }
  if (blob.have.complete()) untrack(blob);
}

void Downloads::Impl::request_active(RequestId id, Time now) {
  advance(now);
  if (Request* request = find(id)) request->progress = now_;
}

void Downloads::Impl::unbusy(Blob& blob, const Request& request) {
  blob.busy.remove(blob.layout, request.pieces);
  const Request* partner = request.partner == kNoSlot ? nullptr : &requests_[request.partner];
  if (partner && !partner->orphan) {
    for (content::PieceIndex piece : partner->pieces) {
      if (!blob.have.contains(blob.layout, piece)) {
        blob.busy.add(blob.layout, content::PieceRange{piece, 1});
      }
    }
  }
  refresh(blob, request.pieces);
}

void Downloads::Impl::free_slot(std::uint32_t slot) {
  Request& request = requests_[slot];
  if (request.partner != kNoSlot) requests_[request.partner].partner = kNoSlot;
  std::uint32_t generation = request.generation + 1;
  request = Request();
  request.generation = generation;
  free_slots_.push_back(slot);
}

void Downloads::Impl::request_ended(RequestId id, Outcome outcome, Duration retry, Time now) {
  advance(now);
  Request* request = find(id);
  if (!request) return;
  auto slot = static_cast<std::uint32_t>(id.value());
  if (request->orphan) {
    free_slot(slot);
    return;
  }
  Blob& blob = blobs_[request->blob.value()];
  bool blamed = outcome != Outcome::kFinished && outcome != Outcome::kCancelled &&
                outcome != Outcome::kLocal && outcome != Outcome::kBusy;
  auto settle = [&](PeerScore& score, std::size_t& running) {
    if (outcome == Outcome::kFinished) score.finished(request->bytes, request->started, now_);
    if (request->left != 0) score.abandoned(request->left, blamed, now_);
    --running;
  };
  if (request->source.is_origin()) {
    settle(origin_, request->urgent ? origin_urgent_ : origin_bulk_);
  } else {
    Peer& peer = peers_[request->source.peer().value()];
    settle(peer.score, request->urgent ? peer.urgent : peer.bulk);
    peer.dry = false;
  }
  bool returned = request->left != 0;
  unbusy(blob, *request);
  Request ended = *request;
  free_slot(slot);
  if (outcome != Outcome::kFinished && outcome != Outcome::kCancelled) {
    if (outcome != Outcome::kBusy) ++counters_.failures;
    blob.failures.push_back({now_, ended.source, outcome});
    if (blob.failures.size() > kFailuresKept) blob.failures.pop_front();
    blame(blob, ended, outcome, retry);
  }
  in_flight_ -= ended.left;
  if (returned) wake_all();
}

void Downloads::Impl::blame(Blob& blob, Request& request, Outcome outcome, Duration retry) {
  if (outcome == Outcome::kLocal) return;
  if (request.source.is_origin()) {
    if (outcome == Outcome::kChanged || outcome == Outcome::kCorrupt) {
      give_up_origin(request.blob, blob);
    }
    blob.origin_backoff.failed(now_, random_, retry);
    return;
  }
  PeerId id = request.source.peer();
  Peer& peer = peers_[id.value()];
  if (outcome == Outcome::kNotHave) {
    if (request.blob.value() >= peer.has.size()) return;
    RunSet& has = peer.has[request.blob.value()];
    Runs runs(blob.layout, request.pieces);
    std::vector<Part> before;
    for (std::uint32_t run = runs.first; run < runs.end; ++run) {
      before.push_back(part_of(has, run));
    }
    has.remove(blob.layout, request.pieces);
    for (std::uint32_t run = runs.first; blob.tracked && run < runs.end; ++run) {
      count_run(blob, peer, run, before[run - runs.first], part_of(has, run));
    }
    return;
  }
  if (outcome == Outcome::kCorrupt) {
    if (peer.banned) return;  // for what another request brought, a moment ago
    content::PieceIndex piece = request.pieces.first;
    for (content::PieceIndex p : request.pieces) {
      if (!blob.have.contains(blob.layout, p)) {
        piece = p;
        break;
      }
    }
    ++counters_.bans;
    peer.banned = true;
    out_.push_back(BanPeer{id, request.blob, piece});
    return;
  }
  peer.backoff.failed(now_, random_, retry);
}

}  // namespace shoal::swarm
