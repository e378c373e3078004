// Urgent requests (faults and windows) and second requests for what is late.

#include <algorithm>

#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

constexpr std::uint64_t kWindowRequest = 4 * kMiB;
constexpr std::size_t kUrgentPieces = 256;  // looked at in one decide()
constexpr std::size_t kFreeHedges = 2;      // before the share counts
// The other source must promise to be this much faster.
constexpr int kHedgeFactor = 2;
constexpr Duration kHedgeAfter = std::chrono::milliseconds(300);
// In a plan, what is due next is worth a second request earlier than at the very end.
constexpr std::uint32_t kPlanHead = 64;

}  // namespace

bool Downloads::Impl::may_hedge() const {
  return static_cast<double>(counters_.hedges) <
         static_cast<double>(kFreeHedges) +
             options_.hedge_share * static_cast<double>(counters_.requests);
}

// The peer that has all of `pieces` and would deliver them first; near ones win unless four times
// slower. Null when none can be asked now.
Downloads::Impl::Peer* Downloads::Impl::best_peer(BlobId id, const Blob& blob,
                                                  content::PieceRange pieces, Source except,
                                                  bool urgent, PeerId& out) {
  std::uint64_t bytes = blob.layout.range_of(pieces).length;
  Peer* best = nullptr;
  Duration best_eta{};
  std::size_t count = up_.size();
  std::size_t begin = count == 0 ? 0 : random_.below(count);
  for (std::size_t i = 0; i < count; ++i) {
    PeerId peer_id = up_[(begin + i) % count];
    Peer& peer = peers_[peer_id.value()];
    if (peer.banned || Source::of(peer_id) == except || !peer.backoff.ready(now_)) continue;
    if (urgent ? peer.urgent >= options_.urgent_per_source : peer.bulk >= options_.pipeline) {
      continue;
    }
    if (!urgent && !peer.score.has_room()) continue;
    if (id.value() >= peer.has.size() || peer.has[id.value()].count() == 0) continue;
    if (!peer.has[id.value()].contains(blob.layout, pieces)) continue;
    Duration eta = peer.score.eta(bytes) * (peer.near ? 1 : 4);
    if (best && eta >= best_eta) continue;
    best = &peer;
    best_eta = eta;
    out = peer_id;
  }
  return best;
}

void Downloads::Impl::fill_urgent() {
  std::size_t looked = 0;
  std::erase_if(urgent_, [&](const Urgent& want) {
    return blobs_[want.blob.value()].have.contains(blobs_[want.blob.value()].layout, want.pieces);
  });
  for (const Urgent& want : urgent_) {
    Blob& blob = blobs_[want.blob.value()];
    if (blob.held && want.cls != Class::kFault) continue;
    const content::BlobLayout& layout = blob.layout;
    std::uint64_t bytes = want.cls == Class::kFault ? 1 : kWindowRequest;
    auto most =
        static_cast<std::uint32_t>(std::max<std::uint64_t>(1, bytes / layout.piece_length()));
    content::PieceIndex piece = want.pieces.first;
    while (piece < want.pieces.end() && looked < kUrgentPieces) {
      ++looked;
      if (blob.have.contains(layout, piece)) {
        ++piece;
        continue;
      }
      bool busy = blob.busy.contains(layout, piece);
      content::PieceRange range{piece, 1};
      while (!busy && range.count < most && range.end() < want.pieces.end() &&
             !blob.have.contains(layout, range.end()) && !blob.busy.contains(layout, range.end())) {
        ++range.count;
      }
      if (!busy) {
        if (!start_urgent(want, range) && range.count > 1) {
          range.count = 1;
          start_urgent(want, range);
        }
      } else if (want.deadline != kNever) {
        // On its way: will it be here in time?
        for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
          const Request& request = requests_[slot];
          if (!request.live || request.orphan || request.cancelled || request.hedge) continue;
          if (request.blob != want.blob || !request.pieces.contains(piece)) continue;
          const PeerScore& score =
              request.source.is_origin() ? origin_ : peers_[request.source.peer().value()].score;
          bool late = now_ + score.eta(0) > want.deadline;
          if (request.partner == kNoSlot && late && may_hedge() &&
              now_ - request.started > options_.queue_target) {
            serve_urgent(blob, want, range, slot);
          }
          break;
        }
      }
      piece = range.end();
    }
  }
}

bool Downloads::Impl::start_urgent(const Urgent& want, content::PieceRange pieces) {
  Blob& blob = blobs_[want.blob.value()];
  if (serve_urgent(blob, want, pieces, kNoSlot)) return true;
  if (!blob.has_origin || !blob.origin_backoff.ready(now_)) return false;
  if (blob.origin_lease.contains(blob.layout, pieces)) {
    if (origin_urgent_ >= options_.urgent_per_source) return false;
    start(want.blob, pieces, Source::origin(), want.cls, true, want.deadline);
    return true;
  }
  // Nobody near has it: ask to read it ourselves, unless a peer will be able to serve it.
  if (!tracker_up_) {
    blob.origin_lease.add(blob.layout, pieces);
    return false;
  }
  std::uint32_t run = blob.layout.run_of(pieces.first).value();
  bool known = ((blob.in_near[run / 64] | blob.in_far[run / 64]) >> (run % 64)) & 1;
  if (origin_ask_ || known || now_ < blob.origin_ask_at) return false;
  origin_ask_ = want.blob;
  out_.push_back(AskLease{LeaseAsk{
      LeaseKind::kOrigin, want.blob, blob.layout.range_of(pieces).length, {pieces}, true, false}});
  return false;
}

bool Downloads::Impl::serve_urgent(Blob& blob, const Urgent& want, content::PieceRange pieces,
                                   std::uint32_t hedge_of) {
  Source except = hedge_of == kNoSlot ? Source::origin() : requests_[hedge_of].source;
  PeerId id;
  if (!best_peer(want.blob, blob, pieces, except, true, id)) return false;
  start(want.blob, pieces, Source::of(id), want.cls, true, want.deadline, hedge_of);
  return true;
}

// Asks a second source for what a slow one still owes, when nothing else is left to ask for, or
// when a plan's head waits for it.
void Downloads::Impl::hedge_slow() {
  std::uint32_t todo = 0;
  for (BlobId id : active_) todo += blobs_[id.value()].todo_total();
  bool plan = plan_cursor_ < plan_.size();
  if (todo != 0 && !plan) return;
  for (std::uint32_t slot = 0; slot < requests_.size() && may_hedge(); ++slot) {
    Request& request = requests_[slot];
    if (!request.live || request.orphan || request.cancelled || request.hedge) continue;
    if (request.partner != kNoSlot || request.left == 0) continue;
    if (now_ - request.started < kHedgeAfter) continue;
    Blob& blob = blobs_[request.blob.value()];
    if (todo != 0) {
      const PlanStep& step = plan_[plan_cursor_];
      std::uint32_t run = blob.layout.run_of(request.pieces.first).value();
      if (request.blob != step.blob || run >= plan_head(step, blob) + kPlanHead) continue;
    }
    // Pieces arrive in order: what is missing is the end of the range.
    content::PieceIndex first = request.pieces.first;
    while (first < request.pieces.end() && blob.have.contains(blob.layout, first)) ++first;
    content::PieceRange rest{first, request.pieces.end() - first};
    if (rest.empty()) continue;
    const PeerScore& slow =
        request.source.is_origin() ? origin_ : peers_[request.source.peer().value()].score;
    PeerId id;
    Peer* other = best_peer(request.blob, blob, rest, request.source, false, id);
    if (!other || other->score.rate() == 0 || restricted(blob, *other)) continue;
    if (other->score.eta(request.left) * kHedgeFactor >= slow.eta(0)) continue;
    start(request.blob, rest, Source::of(id), request.cls, false, kNever, slot);
  }
}

}  // namespace shoal::swarm
