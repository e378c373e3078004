// Blobs: what is had, wanted and on its way, run by run.

#include <algorithm>
#include <utility>

#include "core/base/check.h"
#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

// Steps of the plan that are done are dropped so many at a time.
constexpr std::uint32_t kCompactPlanAt = 256;

}  // namespace

void Downloads::Impl::wake_all() {
  for (PeerId id : up_) peers_[id.value()].dry = false;
}

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
  // No answer to its asks is waited for.
  if (origin_ask_ == id) origin_ask_.reset();
  if (rack_ask_ == id) {
    rack_ask_.reset();
    rack_asked_.clear();
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
    if (!has_origin) return give_up_origin(id, *blob);
    blob->has_origin = true;
    blob->origin_backoff.succeeded();
  }
}

void Downloads::Impl::want(BlobId id, content::PieceRange pieces, Class cls, Time deadline,
                           Time now) {
  advance(now);
  Blob* blob = find(id);
  SHOAL_CHECK(blob, "want of an unknown blob");
  pieces = clip(blob->layout, pieces);
  if (pieces.empty() || blob->have.contains(blob->layout, pieces)) return;
  if (!blob->wanted()) {
    blob->progress = blob->news = now_;
    blob->tried = kNever;
  }
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

void Downloads::Impl::count_run(Blob& blob, const Peer& peer, std::uint32_t run, Part before,
                                Part after) {
  auto count = [run](bool was, bool is, std::vector<std::uint16_t>& counts,
                     std::vector<std::uint64_t>& bits) {
    if (was == is) return;
    std::uint64_t bit = 1ULL << (run % 64);
    counts[run] = static_cast<std::uint16_t>(counts[run] + (is ? 1 : -1));
    if (counts[run] == 0) {
      bits[run / 64] &= ~bit;
    } else {
      bits[run / 64] |= bit;
    }
  };
  if (peer.near) {
    count(before.full, after.full, blob.near_full, blob.in_near);
    return;
  }
  count(before.full, after.full, blob.far_full, blob.in_far);
  count(before.any, after.any, blob.far_any, blob.in_far_any);
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
      count_run(blob, peer, run, {}, part_of(peer.has[id.value()], run));
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

}  // namespace shoal::swarm
