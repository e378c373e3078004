#include "core/swarm/downloads.h"

#include <algorithm>
#include <utility>

#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {

Downloads::Impl::Impl(Options options, std::uint64_t seed)
    : options_(options),
      random_(seed),
      origin_(options.queue_target, options.origin_pipeline * options.max_request),
      limit_(options.download_limit) {}

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
Duration Downloads::news_interval() const { return impl_->news_interval(); }
Explanation Downloads::explain(BlobId blob, Time now) const { return impl_->explain(blob, now); }
std::vector<SourceStatus> Downloads::sources() const { return impl_->sources(); }
const Downloads::Counters& Downloads::counters() const { return impl_->counters_; }

}  // namespace shoal::swarm
