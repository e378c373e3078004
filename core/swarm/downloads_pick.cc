// Bulk requests: which source next, which runs from it, how much.

#include <algorithm>
#include <bit>

#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

// Candidates that are compared by rarity for one request.
constexpr std::size_t kSample = 8;
// At most this many requests per second are worth their cost; see crumb().
constexpr double kRequestSeconds = 0.008;
// A request costs an origin more than a peer, and often its owner money.
constexpr std::uint64_t kLeastOfOrigin = kMiB;
// Long requests are better, up to this time at the present rate.
constexpr double kLongRequestSeconds = 0.012;
// With less than this in flight, at the present rate, a download starves.
constexpr double kStarvedSeconds = 0.02;
// When all classes together have been given this much, the past counts half.
constexpr std::uint64_t kShareMemory = 256 * kMiB;

constexpr RunMask low_bits(std::uint32_t count) {
  return count >= 64 ? ~0ULL : (1ULL << count) - 1;
}

}  // namespace

// Requests smaller than this cost more than they bring, unless they finish what is left of a run,
// or there is nothing better to do.
std::uint64_t Downloads::Impl::crumb() const {
  if (crumbs_ != 0 && static_cast<double>(in_flight_) < total_rate_ * kStarvedSeconds) return 0;
  return static_cast<std::uint64_t>(
      std::min(total_rate_ * kRequestSeconds, static_cast<double>(content::kRunLength)));
}

// Whether pieces may come from this peer only under a lease for this rack.
bool Downloads::Impl::restricted(const Blob& blob, const Peer& peer) const {
  return !peer.near && tracker_up_ && near_peers_ != 0 && !blob.unrestricted;
}

// Most urgent first, unless a class lags behind its guaranteed share.
std::array<std::size_t, Downloads::Impl::kBulk> Downloads::Impl::class_order() const {
  std::array<std::size_t, kBulk> order = {0, 1, 2};
  std::uint64_t total = served_[0] + served_[1] + served_[2];
  for (std::size_t c = kBulk - 1; c > 0; --c) {
    std::uint64_t due = total * kGuaranteedShare[c + 2] / 100;
    if (served_[c] < due) {
      std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(c),
                  order.begin() + static_cast<std::ptrdiff_t>(c) + 1);
      break;
    }
  }
  return order;
}

// What has something to do in a class. Until the next call it only becomes less.
void Downloads::Impl::list_open() {
  for (std::size_t c = 0; c < kBulk; ++c) {
    open_[c].clear();
    for (BlobId id : active_) {
      const Blob& blob = blobs_[id.value()];
      if (blob.todo_runs[c] != 0 && !blob.held) open_[c].push_back(id);
    }
  }
}

void Downloads::Impl::fill_bulk() {
  fill_origin();
  std::size_t count = up_.size();
  if (count == 0) return;
  list_open();
  // Near sources first; within each, from a random one on, one request per turn so that the first
  // does not get everything.
  for (bool near : {true, false}) {
    std::size_t begin = random_.below(count);
    bool again = true;
    while (again && !limited_) {
      again = false;
      for (std::size_t i = 0; i < count && !limited_; ++i) {
        std::size_t at = begin + i < count ? begin + i : begin + i - count;
        Peer& peer = peers_[up_[at].value()];
        if (peer.near != near || peer.dry || peer.banned) continue;
        again |= fill_from(up_[at], peer);
      }
    }
  }
}

// As fits the source, but not so small that our own rate needs very many requests; from a slow
// source no more than it sends in the target time, so that its pieces pass on one by one instead of
// waiting in everybody's queue.
std::uint64_t Downloads::Impl::request_size(const Peer& peer) const {
  std::uint64_t fitting = peer.score.request_bytes();
  auto few = std::min(static_cast<std::uint64_t>(total_rate_ * kLongRequestSeconds), 4 * fitting);
  std::uint64_t bytes = std::clamp(std::max(few, fitting), crumb(), options_.max_request);
  if (peer.score.rate() == 0) return bytes;
  double target = std::chrono::duration<double>(options_.queue_target).count();
  return std::min(bytes, static_cast<std::uint64_t>(peer.score.rate() * target));
}

// One request to this peer, if there is something to ask it for.
bool Downloads::Impl::fill_from(PeerId id, Peer& peer) {
  if (peer.bulk >= options_.pipeline || !peer.score.has_room() || !peer.backoff.ready(now_)) {
    return false;
  }
  for (std::size_t c : class_order()) {
    gather(c, id, peer);
    Candidate from;
    if (scratch_.empty() || !choose(c, peer, from)) {
      served_[c] = std::max(served_[c], (served_[0] + served_[1] + served_[2]) / kBulk);
      continue;
    }
    content::PieceRange pieces = shape(from, c, &peer, request_size(peer));
    std::uint64_t length = blobs_[from.blob.value()].layout.range_of(pieces).length;
    if (!limit_.take(bulk_class(c), length, now_)) {
      limited_ = true;
      return false;
    }
    bool small =
        static_cast<double>(length) < total_rate_ * kRequestSeconds && length < content::kRunLength;
    if (small && crumbs_ != 0) --crumbs_;
    start(from.blob, pieces, Source::of(id), bulk_class(c), false, kNever);
    return true;
  }
  peer.dry = true;
  return false;
}

// The place in the step where the first piece is not had, in runs.
std::uint32_t Downloads::Impl::plan_head(const PlanStep& step, const Blob& blob) const {
  std::uint32_t run = blob.layout.run_of(step.pieces.first).value();
  std::uint32_t end = blob.layout.run_of(step.pieces.end() - 1).value() + 1;
  while (run < end) {
    if (run % 64 == 0 && run + 64 <= end && blob.have.full_word(run / 64) == ~0ULL) {
      run += 64;
    } else if (blob.have.full(run)) {
      ++run;
    } else {
      break;
    }
  }
  return run;
}

// Fills scratch_ with the runs of the class that could be asked of this peer.
void Downloads::Impl::gather(std::size_t cls, PeerId, const Peer& peer) {
  scratch_.clear();
  scratch_bits_ = 0;
  if (open_[cls].empty()) return;
  if (bulk_class(cls) != Class::kPlan) {
    for (BlobId id : open_[cls]) {
      const Blob& blob = blobs_[id.value()];
      if (blob.todo_runs[cls] == 0) continue;
      gather_words(id, blob, cls, peer, 0, blob.layout.run_count());
    }
    return;
  }
  // What may come from this peer only under a lease is taken wherever the lease is: its holder must
  // not sit on it until the window has come there.
  for (BlobId id : open_[cls]) {
    const Blob& blob = blobs_[id.value()];
    bool leased = blob.rack_lease.count() != 0 || blob.origin_lease.count() != 0;
    if (leased && restricted(blob, peer)) {
      gather_words(id, blob, cls, peer, 0, blob.layout.run_count());
    }
  }
  visit_plan([&](BlobId id, const Blob& blob, RunSpan runs) {
    if (!restricted(blob, peer)) gather_words(id, blob, cls, peer, runs.first, runs.end);
    return true;
  });
}

void Downloads::Impl::gather_words(BlobId id, const Blob& blob, std::size_t cls, const Peer& peer,
                                   std::uint32_t first_run, std::uint32_t end_run) {
  if (blob.held || id.value() >= peer.has.size() || blob.todo[cls].empty()) return;
  const RunSet& has = peer.has[id.value()];
  if (has.count() == 0) return;
  bool by_lease = restricted(blob, peer);
  // Parts of a run that we have nothing of and this peer has not all of would be left out as
  // crumbs: see choose().
  bool whole_only = crumb() >= content::kRunLength;
  const std::vector<std::uint64_t>& todo = blob.todo[cls];
  for (std::uint32_t word = first_run / 64; word * 64 < end_run; ++word) {
    if (todo[word] == 0) continue;
    std::uint64_t bits = todo[word] & has.any_word(word);
    if (whole_only && bits != 0) {
      std::uint64_t begun = blob.have.any_word(word) | blob.busy.any_word(word);
      std::uint64_t good = bits & (has.full_word(word) | begun);
      crumbs_left_out_ |= good != bits;
      bits = good;
    }
    if (by_lease) bits &= blob.rack_lease.any_word(word) | blob.origin_lease.any_word(word);
    if (word == first_run / 64) bits &= ~low_bits(first_run % 64);
    if (end_run - word * 64 < 64) bits &= low_bits(end_run - word * 64);
    if (bits == 0) continue;
    scratch_.push_back({id, word, bits});
    scratch_bits_ += static_cast<std::size_t>(std::popcount(bits));
  }
}

// How many peers have such a piece, in 64ths and in the mean over `mask`.
std::uint32_t Downloads::Impl::copies(BlobId id, std::uint32_t run, RunMask mask) const {
  std::uint32_t sum = 0;
  const content::BlobLayout& layout = blobs_[id.value()].layout;
  for (PeerId peer : up_) {
    const auto& has = peers_[peer.value()].has;
    if (id.value() >= has.size()) continue;
    sum += static_cast<std::uint32_t>(std::popcount(has[id.value()].mask(layout, run) & mask));
  }
  return sum * 64 / static_cast<std::uint32_t>(std::popcount(mask));
}

// The rarest of a few candidates in scratch_, which start at a random one.
bool Downloads::Impl::choose(std::size_t cls, const Peer& peer, Candidate& out) {
  std::size_t skip = scratch_bits_ <= kSample ? 0 : random_.below(scratch_bits_);
  std::size_t at = 0;
  while (skip >= static_cast<std::size_t>(std::popcount(scratch_[at].bits))) {
    skip -= static_cast<std::size_t>(std::popcount(scratch_[at].bits));
    ++at;
  }
  std::uint64_t bits = scratch_[at].bits;
  for (; skip != 0; --skip) bits &= bits - 1;

  std::uint64_t least = crumb();
  // Where requests are smaller than a run, runs travel in parts, and nobody has a rare one whole.
  // But from a slow peer all would wait for the same pieces: one of them passes them on sooner.
  const bool slow = peer.score.rate() * static_cast<double>(2 * up_.size()) < total_rate_;
  const bool by_piece = least < content::kRunLength && !slow;
  std::size_t looked = 0;
  std::size_t good = 0;
  std::uint32_t ties = 0;
  std::uint32_t rarest = ~0u;
  while (looked < scratch_bits_ && good < kSample) {
    while (bits == 0) {
      at = at + 1 < scratch_.size() ? at + 1 : 0;
      bits = scratch_[at].bits;
    }
    auto bit = static_cast<std::uint32_t>(std::countr_zero(bits));
    bits &= bits - 1;
    ++looked;
    BlobId id = scratch_[at].blob;
    const Blob& blob = blobs_[id.value()];
    std::uint32_t run = scratch_[at].word * 64 + bit;
    std::uint32_t holders = near_peers_ != 0 ? blob.near_full[run] : blob.far_full[run];
    if (!by_piece && holders > rarest) continue;
    RunMask want = blob.demand[cls].mask(blob.layout, run) & ~blob.have.mask(blob.layout, run) &
                   ~blob.busy.mask(blob.layout, run);
    RunMask mask = want & peer.has[id.value()].mask(blob.layout, run);
    if (mask == 0) continue;
    auto pieces = static_cast<std::uint64_t>(std::popcount(mask));
    if (mask != want && pieces * blob.layout.piece_length() < least) {
      crumbs_left_out_ = true;
      continue;
    }
    ++good;
    if (by_piece) {
      holders = copies(id, run, mask);
      if (holders > rarest) continue;
    }
    // Among equals each has the same chance.
    ties = holders < rarest ? 1 : ties + 1;
    if (ties > 1 && random_.below(ties) != 0) continue;
    rarest = holders;
    out = {id, run, mask};
  }
  return rarest != ~0u;
}

// Turns a candidate into adjacent pieces of about `bytes`. `peer` is null for the origin.
content::PieceRange Downloads::Impl::shape(const Candidate& from, std::size_t cls, const Peer* peer,
                                           std::uint64_t bytes) {
  const Blob& blob = blobs_[from.blob.value()];
  const content::BlobLayout& layout = blob.layout;
  std::uint32_t first = layout.pieces_of_run(content::RunIndex(from.run)).first.value();
  auto most = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, bytes / layout.piece_length()));
  RunMask all = full_mask(layout, from.run);
  std::uint32_t per_run = layout.pieces_per_run();

  if (from.mask != all || most < per_run) {
    RunMask mask = from.mask;
    auto length = static_cast<std::uint32_t>(std::popcount(mask));
    // Others look at the same run: start at one of several places, by chance (not at the origin,
    // which is read in order).
    std::uint32_t skip = 0;
    if (peer && length > most) {
      skip = static_cast<std::uint32_t>(random_.below((length + most - 1) / most)) * most;
    }
    for (; skip != 0; --skip) mask &= mask - 1;
    auto start = static_cast<std::uint32_t>(std::countr_zero(mask));
    auto count = static_cast<std::uint32_t>(std::countr_one(mask >> start));
    return {content::PieceIndex(first + start), std::min(count, most)};
  }

  // Whole runs, as many adjacent ones as fit.
  std::uint32_t runs = layout.run_count();
  std::uint32_t most_runs = most / per_run;
  bool by_lease = peer && restricted(blob, *peer);
  auto fits = [&](std::uint32_t run) {
    if (!((blob.todo[cls][run / 64] >> (run % 64)) & 1)) return false;
    if (blob.have.any(run) || blob.busy.any(run) || !blob.demand[cls].full(run)) return false;
    bool leased = blob.origin_lease.full(run) || (peer && blob.rack_lease.full(run));
    if (!peer) return leased;
    return peer->has[from.blob.value()].full(run) && (!by_lease || leased);
  };
  std::uint32_t begin = from.run;
  std::uint32_t end = from.run + 1;
  while (end < runs && end - begin < most_runs && fits(end)) ++end;
  while (begin > 0 && end - begin < most_runs && peer && fits(begin - 1)) --begin;
  std::uint32_t last = std::min(end * per_run, layout.piece_count());
  return {content::PieceIndex(begin * per_run), last - begin * per_run};
}

// Reads leased pieces from the origin, in order.
bool Downloads::Impl::fill_origin() {
  bool any = false;
  for (BlobId id : active_) {
    Blob& blob = blobs_[id.value()];
    if (blob.origin_lease.count() == 0 || !reads_origin(blob)) continue;
    for (std::uint32_t word = 0; word < blob.words; ++word) {
      for (;;) {
        if (origin_bulk_ >= options_.origin_pipeline || !origin_.has_room()) return any;
        std::uint64_t bits = blob.origin_lease.any_word(word) & blob.todo_word(word);
        Candidate from{id, 0, 0};
        std::size_t cls = 0;
        for (; bits != 0 && from.mask == 0; bits &= bits - 1) {
          from.run = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
          cls = 0;
          while (blob.todo[cls].empty() || !((blob.todo[cls][word] >> (from.run % 64)) & 1)) ++cls;
          from.mask = blob.origin_lease.mask(blob.layout, from.run) &
                      blob.demand[cls].mask(blob.layout, from.run) &
                      ~blob.have.mask(blob.layout, from.run) &
                      ~blob.busy.mask(blob.layout, from.run);
        }
        if (from.mask == 0) break;
        std::uint64_t bytes = std::clamp<std::uint64_t>(origin_.request_bytes(), kLeastOfOrigin,
                                                        options_.max_request);
        content::PieceRange pieces = shape(from, cls, nullptr, bytes);
        if (!limit_.take(bulk_class(cls), blob.layout.range_of(pieces).length, now_)) {
          limited_ = true;
          return any;
        }
        start(id, pieces, Source::origin(), bulk_class(cls), false, kNever);
        any = true;
      }
    }
  }
  return any;
}

void Downloads::Impl::start(BlobId id, content::PieceRange pieces, Source source, Class cls,
                            bool urgent, Time deadline, std::uint32_t hedge_of) {
  Blob& blob = blobs_[id.value()];
  std::uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<std::uint32_t>(requests_.size());
    requests_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  Request& request = requests_[slot];
  request.live = true;
  request.urgent = urgent;
  request.hedge = hedge_of != kNoSlot;
  request.partner = hedge_of;
  if (hedge_of != kNoSlot) requests_[hedge_of].partner = slot;
  request.blob = id;
  request.pieces = pieces;
  request.source = source;
  request.cls = cls;
  request.bytes = request.left = blob.layout.range_of(pieces).length;
  request.started = request.progress = now_;

  in_flight_ += request.bytes;
  if (source.is_origin()) {
    origin_.started(request.bytes, now_);
    ++(urgent ? origin_urgent_ : origin_bulk_);
  } else {
    Peer& peer = peers_[source.peer().value()];
    peer.score.started(request.bytes, now_);
    ++(urgent ? peer.urgent : peer.bulk);
  }
  if (!request.hedge) {
    blob.busy.add(blob.layout, pieces);
    refresh(blob, pieces);
  }
  if (!is_urgent(cls)) {
    served_[bulk_index(cls)] += request.bytes;
    if (served_[0] + served_[1] + served_[2] > kShareMemory) {
      for (auto& bytes : served_) bytes /= 2;
    }
  }
  blob.tried = std::min(blob.tried, now_);
  ++counters_.requests;
  if (request.hedge) ++counters_.hedges;
  out_.push_back(StartRequest{RequestId(std::uint64_t{request.generation} << 32 | slot), id, pieces,
                              source, cls, urgent, request.hedge, deadline});
}

}  // namespace shoal::swarm
