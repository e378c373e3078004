#include "core/swarm/downloads.h"

#include <algorithm>
#include <utility>

#include "core/base/check.h"
#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

constexpr std::size_t kFailuresKept = 8;
constexpr std::uint32_t kCompactPlanAt = 256;

// The runs that `pieces` touch.
struct Runs {
  std::uint32_t first;
  std::uint32_t end;
  Runs(const content::BlobLayout& layout, content::PieceRange pieces)
      : first(pieces.empty() ? 0 : layout.run_of(pieces.first).value()),
        end(pieces.empty() ? 0 : layout.run_of(pieces.end() - 1).value() + 1) {}
};

content::PieceRange clip(const content::BlobLayout& layout, content::PieceRange pieces) {
  std::uint32_t total = layout.piece_count();
  if (pieces.first.value() >= total) return {};
  return {pieces.first, std::min(pieces.count, total - pieces.first.value())};
}

}  // namespace

Downloads::Impl::Impl(Options options, std::uint64_t seed)
    : options_(options),
      random_(seed),
      origin_(options.queue_target, options.pipeline * options.max_request),
      limit_(options.download_limit) {}

// --- Finding -------------------------------------------------------------------------------------

Downloads::Impl::Blob* Downloads::Impl::find(BlobId id) {
  return id.value() < blobs_.size() && blobs_[id.value()].live ? &blobs_[id.value()] : nullptr;
}

const Downloads::Impl::Blob* Downloads::Impl::find(BlobId id) const {
  return id.value() < blobs_.size() && blobs_[id.value()].live ? &blobs_[id.value()] : nullptr;
}

Downloads::Impl::Peer* Downloads::Impl::find(PeerId id) {
  return id.value() < peers_.size() && peers_[id.value()].up ? &peers_[id.value()] : nullptr;
}

Downloads::Impl::Request* Downloads::Impl::find(RequestId id) {
  auto slot = static_cast<std::uint32_t>(id.value());
  if (slot >= requests_.size()) return nullptr;
  Request& request = requests_[slot];
  bool same = request.live && request.generation == static_cast<std::uint32_t>(id.value() >> 32);
  return same ? &request : nullptr;
}

void Downloads::Impl::advance(Time now) { now_ = std::max(now_, now); }

void Downloads::Impl::wake_all() {
  for (PeerId id : up_) peers_[id.value()].dry = false;
}

// --- Blobs ---------------------------------------------------------------------------------------

void Downloads::Impl::add_blob(BlobId id, const content::BlobLayout& layout, std::uint64_t key,
                               const content::PieceSet& have, bool has_origin, Time now) {
  advance(now);
  if (id.value() >= blobs_.size()) blobs_.resize(id.value() + 1);
  SHOAL_CHECK(!blobs_[id.value()].live, "blob added twice");
  SHOAL_CHECK(have.size() == layout.piece_count(), "pieces of another blob");
  Blob blob;
  blob.live = true;
  blob.layout = layout;
  blob.key = key;
  blob.has_origin = has_origin;
  blob.words = (layout.run_count() + 63) / 64;
  blob.have = RunSet(layout);
  blob.have.add(layout, have);
  if (!layout.empty()) {
    blob.busy = RunSet(layout);
    blob.origin_lease = RunSet(layout);
    blob.rack_lease = RunSet(layout);
  }
  blob.progress = blob.news = now_;
  blobs_[id.value()] = std::move(blob);
}

void Downloads::Impl::remove_blob(BlobId id, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob) return;
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    Request& request = requests_[slot];
    if (!request.live || request.orphan || request.blob != id) continue;
    RequestId request_id(std::uint64_t{request.generation} << 32 | slot);
    out_.push_back(CancelRequest{request_id});
    unbusy(*blob, request);
    in_flight_ -= request.left;
    if (Peer* peer = request.source.is_origin() ? nullptr : find(request.source.peer())) {
      peer->score.abandoned(request.left, false, now_);
      --(request.urgent ? peer->urgent : peer->bulk);
    } else if (request.source.is_origin()) {
      origin_.abandoned(request.left, false, now_);
      --(request.urgent ? origin_urgent_ : origin_bulk_);
    }
    request.orphan = true;
  }
  for (Held& held : leases()) {
    if (held.blob == id) {
      out_.push_back(ReleaseLease{held.kind, id, std::move(held.pieces)});
    }
  }
  untrack(*blob);
  std::erase(active_, id);
  std::erase_if(urgent_, [id](const Urgent& u) { return u.blob == id; });
  std::erase_if(plan_, [id](const PlanStep& s) { return s.blob == id; });
  plan_cursor_ = 0;
  for (Peer& peer : peers_) {
    if (id.value() < peer.has.size()) peer.has[id.value()] = RunSet();
  }
  *blob = Blob();
}

void Downloads::Impl::set_has_origin(BlobId id, bool has_origin, Time now) {
  advance(now);
  if (Blob* blob = find(id)) {
    blob->has_origin = has_origin;
    if (has_origin) blob->origin_backoff.succeeded();
  }
}

void Downloads::Impl::want(BlobId id, content::PieceRange pieces, Class cls, Time deadline,
                           Time now) {
  advance(now);
  Blob* blob = find(id);
  SHOAL_CHECK(blob, "want of an unknown blob");
  pieces = clip(blob->layout, pieces);
  if (pieces.empty() || blob->have.contains(blob->layout, pieces)) return;
  if (!blob->wanted()) blob->progress = blob->news = now_;
  if (tracker_lost_ == Time::min()) tracker_lost_ = now_;
  if (is_urgent(cls)) {
    auto same = [&](const Urgent& u) {
      return u.blob == id && u.pieces == pieces && u.cls == cls && u.deadline <= deadline;
    };
    if (std::none_of(urgent_.begin(), urgent_.end(), same)) {
      Urgent entry{id, pieces, cls, deadline};
      auto later = [](const Urgent& a, const Urgent& b) {
        return std::pair(a.cls, a.deadline) < std::pair(b.cls, b.deadline);
      };
      urgent_.insert(std::upper_bound(urgent_.begin(), urgent_.end(), entry, later), entry);
    }
    track(id, *blob);
    return;
  }
  std::size_t c = bulk_index(cls);
  if (blob->todo[c].empty()) {
    blob->demand[c] = RunSet(blob->layout);
    blob->todo[c].assign(blob->words, 0);
  }
  blob->demand[c].add(blob->layout, pieces);
  track(id, *blob);
  refresh(*blob, pieces);
  if (cls == Class::kPlan) {
    if (plan_cursor_ >= kCompactPlanAt) {
      plan_.erase(plan_.begin(), plan_.begin() + static_cast<std::ptrdiff_t>(plan_cursor_));
      plan_cursor_ = 0;
    }
    plan_.push_back({id, pieces});
  }
  wake_all();
}

void Downloads::Impl::unwant(BlobId id, Class cls, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob) return;
  if (is_urgent(cls)) {
    std::erase_if(urgent_, [&](const Urgent& u) { return u.blob == id && u.cls == cls; });
  } else {
    std::size_t c = bulk_index(cls);
    blob->demand[c] = RunSet();
    blob->todo[c].clear();
    blob->todo_runs[c] = 0;
    if (cls == Class::kPlan) {
      std::erase_if(plan_, [id](const PlanStep& s) { return s.blob == id; });
      plan_cursor_ = 0;
    }
  }
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    Request& request = requests_[slot];
    if (!request.live || request.orphan || request.blob != id || request.cancelled) continue;
    auto needed = [&](const RunSet& demand) {
      return demand.count() != 0 && demand.contains(blob->layout, request.pieces);
    };
    bool urgent = std::any_of(urgent_.begin(), urgent_.end(), [&](const Urgent& u) {
      return u.blob == id && u.pieces.first < request.pieces.end() &&
             request.pieces.first < u.pieces.end();
    });
    if (urgent || std::any_of(blob->demand.begin(), blob->demand.end(), needed)) continue;
    request.cancelled = true;
    out_.push_back(CancelRequest{RequestId(std::uint64_t{request.generation} << 32 | slot)});
  }
}

void Downloads::Impl::hold(BlobId id, bool held, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob || blob->held == held) return;
  blob->held = held;
  if (!held) wake_all();
}

void Downloads::Impl::had(Blob& blob, content::PieceRange pieces) {
  if (blob.origin_lease.count() != 0) blob.origin_lease.remove(blob.layout, pieces);
  if (blob.rack_lease.count() != 0) blob.rack_lease.remove(blob.layout, pieces);
}

void Downloads::Impl::pieces_added(BlobId id, content::PieceRange pieces, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob) return;
  pieces = clip(blob->layout, pieces);
  if (pieces.empty()) return;
  blob->have.add(blob->layout, pieces);
  blob->busy.remove(blob->layout, pieces);
  had(*blob, pieces);
  refresh(*blob, pieces);
  blob->progress = now_;
  if (blob->have.complete()) untrack(*blob);
}

void Downloads::Impl::pieces_lost(BlobId id, content::PieceRange pieces, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob) return;
  pieces = clip(blob->layout, pieces);
  if (pieces.empty()) return;
  blob->have.remove(blob->layout, pieces);
  blob->progress = blob->news = now_;
  for (std::size_t c = 0; c < kBulk; ++c) {
    if (blob->demand[c].count() != 0 && blob->todo[c].empty()) blob->todo[c].assign(blob->words, 0);
  }
  track(id, *blob);
  refresh(*blob, pieces);
  wake_all();
}

void Downloads::Impl::refresh(Blob& blob, std::uint32_t run) {
  std::uint64_t bit = 1ULL << (run % 64);
  bool settled = blob.have.full(run) || blob.busy.full(run);
  bool untouched = !settled && !blob.have.any(run) && !blob.busy.any(run);
  for (std::size_t c = 0; c < kBulk; ++c) {
    if (blob.todo[c].empty()) continue;
    bool open = false;
    if (!settled && blob.demand[c].any(run)) {
      open =
          untouched || (blob.demand[c].mask(blob.layout, run) & ~blob.have.mask(blob.layout, run) &
                        ~blob.busy.mask(blob.layout, run)) != 0;
    }
    std::uint64_t& word = blob.todo[c][run / 64];
    bool was = (word & bit) != 0;
    if (open == was) continue;
    word ^= bit;
    blob.todo_runs[c] += open ? 1u : ~0u;
  }
}

void Downloads::Impl::refresh(Blob& blob, content::PieceRange pieces) {
  Runs runs(blob.layout, pieces);
  for (std::uint32_t run = runs.first; run < runs.end; ++run) refresh(blob, run);
}

void Downloads::Impl::count_run(Blob& blob, const Peer& peer, const RunSet& has, std::uint32_t run,
                                int delta) {
  auto count = [&](std::vector<std::uint16_t>& counts, std::vector<std::uint64_t>& bits) {
    std::uint64_t bit = 1ULL << (run % 64);
    counts[run] = static_cast<std::uint16_t>(counts[run] + delta);
    if (counts[run] == 0) {
      bits[run / 64] &= ~bit;
    } else {
      bits[run / 64] |= bit;
    }
  };
  bool full = has.full(run);
  if (peer.near) {
    if (full) count(blob.near_full, blob.in_near);
    return;
  }
  if (full) count(blob.far_full, blob.in_far);
  if (full || has.any(run)) count(blob.far_any, blob.in_far_any);
}

void Downloads::Impl::track(BlobId id, Blob& blob) {
  if (blob.tracked || blob.have.complete()) return;
  blob.tracked = true;
  active_.push_back(id);
  std::uint32_t runs = blob.layout.run_count();
  for (auto* counts : {&blob.near_full, &blob.far_full, &blob.far_any}) counts->assign(runs, 0);
  for (auto* bits : {&blob.in_near, &blob.in_far, &blob.in_far_any}) bits->assign(blob.words, 0);
  for (auto& taken : blob.rack_taken) taken.assign(blob.words, 0);
  for (PeerId peer_id : up_) {
    Peer& peer = peers_[peer_id.value()];
    if (id.value() >= peer.has.size() || peer.has[id.value()].count() == 0) continue;
    for (std::uint32_t run = 0; run < runs; ++run) {
      count_run(blob, peer, peer.has[id.value()], run, 1);
    }
  }
}

// Leaves the blob in active_; decide() sweeps it out.
void Downloads::Impl::untrack(Blob& blob) {
  if (!blob.tracked) return;
  blob.tracked = false;
  for (auto* counts : {&blob.near_full, &blob.far_full, &blob.far_any}) *counts = {};
  for (auto* bits : {&blob.in_near, &blob.in_far, &blob.in_far_any}) *bits = {};
  blob.rack_taken = {};
  blob.unrestricted = false;
}

// --- Peers ---------------------------------------------------------------------------------------

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
      count_run(*blob, *peer, has, run, -1);
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
  Runs runs(blob->layout, pieces);
  for (std::uint32_t run = runs.first; run < runs.end; ++run) {
    std::uint64_t bit = 1ULL << (run % 64);
    if ((blob->todo_word(run / 64) & bit) != 0) peer->dry = false;
    if (has.full(run)) continue;
    if (((blob->in_near[run / 64] | blob->in_far[run / 64]) & bit) == 0) blob->news = now_;
    count_run(*blob, *peer, has, run, -1);
    content::PieceRange all = blob->layout.pieces_of_run(content::RunIndex(run));
    content::PieceIndex first = std::max(all.first, pieces.first);
    has.add(blob->layout, content::PieceRange{first, std::min(all.end(), pieces.end()) - first});
    count_run(*blob, *peer, has, run, 1);
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
      count_run(*blob, *peer, old, run, -1);
      count_run(*blob, *peer, has, run, 1);
    }
  }
  old = std::move(has);
  blob->news = now_;
  peer->dry = false;
}

// --- Requests ------------------------------------------------------------------------------------

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
    if (outcome == Outcome::kChanged || outcome == Outcome::kCorrupt) blob.has_origin = false;
    blob.origin_backoff.failed(now_, random_, retry);
    return;
  }
  PeerId id = request.source.peer();
  Peer& peer = peers_[id.value()];
  if (outcome == Outcome::kNotHave) {
    if (request.blob.value() >= peer.has.size()) return;
    RunSet& has = peer.has[request.blob.value()];
    Runs runs(blob.layout, request.pieces);
    for (std::uint32_t run = runs.first; blob.tracked && run < runs.end; ++run) {
      count_run(blob, peer, has, run, -1);
    }
    has.remove(blob.layout, request.pieces);
    for (std::uint32_t run = runs.first; blob.tracked && run < runs.end; ++run) {
      count_run(blob, peer, has, run, 1);
    }
    return;
  }
  if (outcome == Outcome::kCorrupt) {
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

// --- Output --------------------------------------------------------------------------------------

void Downloads::Impl::decide(Time now, std::vector<Action>& out) {
  advance(now);
  std::erase_if(active_, [&](BlobId id) {
    const Blob* blob = find(id);
    return !blob || !blob->tracked;
  });
  if (now_ >= tick_at_) tick();
  if (!active_.empty()) {
    limited_ = false;
    if (!urgent_.empty()) fill_urgent();
    fill_bulk();
    if (now_ >= lease_check_at_) ask_leases();
  }
  if (out.empty()) {
    out.swap(out_);
  } else {
    out.insert(out.end(), std::make_move_iterator(out_.begin()),
               std::make_move_iterator(out_.end()));
    out_.clear();
  }
}

Time Downloads::Impl::next_wake() const {
  if (!out_.empty()) return now_;
  bool running = false;
  for (const Request& request : requests_) running |= request.live;
  bool wanting = std::any_of(active_.begin(), active_.end(), [&](BlobId id) {
    const Blob* blob = find(id);
    return blob && blob->tracked;
  });
  if (!wanting && !running) return kNever;
  Time wake = tick_at_;
  if (limited_) wake = std::min(wake, limit_.ready_at(Class::kPrefetch, now_));
  return std::max(wake, now_);
}

// --- The class that others see -------------------------------------------------------------------

Downloads::Downloads(Options options, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(options, seed)) {}
Downloads::~Downloads() = default;

void Downloads::add_blob(BlobId blob, const content::BlobLayout& layout, std::uint64_t key,
                         const content::PieceSet& have, bool has_origin, Time now) {
  impl_->add_blob(blob, layout, key, have, has_origin, now);
}
void Downloads::remove_blob(BlobId blob, Time now) { impl_->remove_blob(blob, now); }
bool Downloads::contains(BlobId blob) const { return impl_->find(blob) != nullptr; }
void Downloads::set_has_origin(BlobId blob, bool has_origin, Time now) {
  impl_->set_has_origin(blob, has_origin, now);
}
void Downloads::want(BlobId blob, content::PieceRange pieces, Class cls, Time deadline, Time now) {
  impl_->want(blob, pieces, cls, deadline, now);
}
void Downloads::unwant(BlobId blob, Class cls, Time now) { impl_->unwant(blob, cls, now); }
void Downloads::hold(BlobId blob, bool held, Time now) { impl_->hold(blob, held, now); }
void Downloads::pieces_added(BlobId blob, content::PieceRange pieces, Time now) {
  impl_->pieces_added(blob, pieces, now);
}
void Downloads::pieces_lost(BlobId blob, content::PieceRange pieces, Time now) {
  impl_->pieces_lost(blob, pieces, now);
}
void Downloads::peer_up(PeerId peer, const PeerInfo& info, Time now) {
  impl_->peer_up(peer, info, now);
}
void Downloads::peer_down(PeerId peer, Time now) { impl_->peer_down(peer, now); }
void Downloads::peer_has(PeerId peer, BlobId blob, content::PieceRange pieces, Time now) {
  impl_->peer_has(peer, blob, pieces, now);
}
void Downloads::peer_has(PeerId peer, BlobId blob, const content::PieceSet& pieces, Time now) {
  const Impl::Blob* known = impl_->find(blob);
  if (!known || pieces.size() != known->layout.piece_count()) return;
  RunSet has(known->layout);
  has.add(known->layout, pieces);
  impl_->peer_replace(peer, blob, std::move(has), now);
}
void Downloads::peer_has_all(PeerId peer, BlobId blob, Time now) {
  const Impl::Blob* known = impl_->find(blob);
  if (!known) return;
  RunSet has(known->layout);
  has.add_all(known->layout);
  impl_->peer_replace(peer, blob, std::move(has), now);
}
void Downloads::peer_has_nothing(PeerId peer, BlobId blob, Time now) {
  if (const Impl::Blob* known = impl_->find(blob)) {
    impl_->peer_replace(peer, blob, RunSet(known->layout), now);
  }
}
void Downloads::tracker_up(Time now) { impl_->tracker(true, now); }
void Downloads::tracker_down(Time now) { impl_->tracker(false, now); }
void Downloads::lease_granted(LeaseKind kind, BlobId blob,
                              std::span<const content::PieceRange> pieces, Time now) {
  impl_->lease_granted(kind, blob, pieces, now);
}
void Downloads::lease_denied(LeaseKind kind, BlobId blob, LeaseRefusal refusal,
                             Duration retry_after, Time now) {
  impl_->lease_denied(kind, blob, refusal, retry_after, now);
}
void Downloads::lease_ended(LeaseKind kind, BlobId blob,
                            std::span<const content::PieceRange> pieces, Time now) {
  impl_->lease_ended(kind, blob, pieces, now);
}
std::vector<Downloads::Held> Downloads::leases() const { return impl_->leases(); }
void Downloads::pieces_verified(RequestId id, content::PieceRange pieces, Time now) {
  impl_->pieces_verified(id, pieces, now);
}
void Downloads::request_active(RequestId id, Time now) { impl_->request_active(id, now); }
void Downloads::request_ended(RequestId id, Outcome outcome, Duration retry_after, Time now) {
  impl_->request_ended(id, outcome, retry_after, now);
}
void Downloads::decide(Time now, std::vector<Action>& out) { impl_->decide(now, out); }
Time Downloads::next_wake() const { return impl_->next_wake(); }
bool Downloads::complete(BlobId blob) const {
  const Impl::Blob* known = impl_->find(blob);
  return known && known->have.complete();
}
content::PieceSet Downloads::pieces(BlobId blob) const {
  const Impl::Blob* known = impl_->find(blob);
  return known ? known->have.pieces(known->layout) : content::PieceSet();
}
Explanation Downloads::explain(BlobId blob, Time now) const { return impl_->explain(blob, now); }
std::vector<SourceStatus> Downloads::sources() const { return impl_->sources(); }
const Downloads::Counters& Downloads::counters() const { return impl_->counters_; }

}  // namespace shoal::swarm
