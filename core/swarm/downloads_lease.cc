// Origin and rack leases on the agent's side, and what replaces them while the tracker is gone.

#include <algorithm>
#include <bit>

#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

constexpr Duration kLeaseCheck = std::chrono::milliseconds(20);
// An origin lease lasts about this long at the rate at which the origin sends to us.
constexpr double kOriginLeaseSeconds = 0.5;
constexpr std::uint64_t kFirstOriginLease = 512 * kKiB;
constexpr std::uint64_t kMostOriginLease = 64 * kMiB;
// What is imported at a time, and how many ranges one ask names.
constexpr std::uint64_t kRackLease = 32 * kMiB;
constexpr std::size_t kRackCandidates = 16;
// In a plan, imports are looked for from one of so many words of 64 runs after its head on.
constexpr std::uint32_t kPlanSpread = 4;
constexpr Duration kRackPause = std::chrono::milliseconds(50);
constexpr Duration kRackRefusedPause = std::chrono::milliseconds(250);
// Runs whose rank is computed at a time.
constexpr std::uint32_t kRankScan = 512;
constexpr Duration kRankCheck = std::chrono::milliseconds(100);

}  // namespace

void Downloads::Impl::tracker(bool up, Time now) {
  advance(now);
  if (tracker_up_ == up) return;
  tracker_up_ = up;
  origin_ask_.reset();
  rack_ask_.reset();
  tracker_seen_ |= up;
  if (!up) tracker_lost_ = now_;
  origin_ask_at_ = rack_ask_at_ = now_;
  wake_all();
}

void Downloads::Impl::lease_granted(LeaseKind kind, BlobId id,
                                    std::span<const content::PieceRange> pieces, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (kind == LeaseKind::kOrigin) {
    origin_ask_.reset();
  } else {
    rack_ask_.reset();
    rack_ask_at_ = now_ + kRackPause;
  }
  // While the answer was on its way the blob was removed or its origin given up: nothing is going
  // to be read here, and held it would keep the others from reading it.
  if (!blob || (kind == LeaseKind::kOrigin && !blob->has_origin)) {
    out_.push_back(ReleaseLease{kind, id, {pieces.begin(), pieces.end()}});
    return;
  }
  if (kind == LeaseKind::kOrigin) blob->origin_taken = false;
  RunSet& lease = kind == LeaseKind::kOrigin ? blob->origin_lease : blob->rack_lease;
  for (content::PieceRange range : pieces) {
    // What is here already needs no lease.
    for (std::uint32_t piece = range.first.value(); piece < range.end().value();) {
      if (piece >= blob->layout.piece_count()) break;
      std::uint32_t stop = piece;
      while (stop < range.end().value() && stop < blob->layout.piece_count() &&
             !blob->have.contains(blob->layout, content::PieceIndex(stop))) {
        ++stop;
      }
      if (stop != piece) {
        lease.add(blob->layout, content::PieceRange{content::PieceIndex(piece), stop - piece});
      }
      piece = stop + 1;
    }
  }
  if (kind == LeaseKind::kRack) {
    // In the order of the ask: what was passed over is another's, what comes after the last grant
    // was not reached.
    content::PieceIndex last = pieces.empty() ? content::PieceIndex(0) : pieces.back().first;
    for (content::PieceRange range : rack_asked_) {
      std::uint32_t run = blob->layout.run_of(range.first).value();
      if (blob->tracked && !lease.any(run)) blob->rack_taken[0][run / 64] |= 1ULL << (run % 64);
      if (range.contains(last)) break;
    }
    rack_asked_.clear();
  }
  for (PeerId peer : up_) {
    if (!peers_[peer.value()].near) peers_[peer.value()].dry = false;
  }
}

void Downloads::Impl::lease_denied(LeaseKind kind, BlobId id, LeaseRefusal refusal, Duration retry,
                                   Time now) {
  advance(now);
  Blob* blob = find(id);
  if (kind == LeaseKind::kOrigin) {
    origin_ask_.reset();
    bool whole_origin = refusal == LeaseRefusal::kBusy || refusal == LeaseRefusal::kStarting;
    if (whole_origin) origin_ask_at_ = now_ + retry;
    if (blob) {
      blob->origin_ask_at = now_ + retry;
      // What others have held for too long is given to those who name it.
      blob->origin_taken = refusal == LeaseRefusal::kTaken && !blob->origin_taken;
    }
    return;
  }
  rack_ask_.reset();
  rack_ask_at_ = now_ + std::max(retry, kRackRefusedPause);
  if (blob && blob->tracked && refusal == LeaseRefusal::kTaken) {
    for (content::PieceRange range : rack_asked_) {
      std::uint32_t end = blob->layout.run_of(range.end() - 1).value();
      for (std::uint32_t run = blob->layout.run_of(range.first).value(); run <= end; ++run) {
        blob->rack_taken[0][run / 64] |= 1ULL << (run % 64);
      }
    }
  }
  rack_asked_.clear();
}

void Downloads::Impl::lease_ended(LeaseKind kind, BlobId id,
                                  std::span<const content::PieceRange> pieces, Time now) {
  advance(now);
  Blob* blob = find(id);
  if (!blob) return;
  RunSet& lease = kind == LeaseKind::kOrigin ? blob->origin_lease : blob->rack_lease;
  for (content::PieceRange range : pieces) {
    if (range.first.value() >= blob->layout.piece_count()) continue;
    range.count = std::min(range.count, blob->layout.piece_count() - range.first.value());
    if (!range.empty()) lease.remove(blob->layout, range);
  }
}

std::vector<Downloads::Held> Downloads::Impl::leases() const {
  std::vector<Held> out;
  for (std::uint32_t i = 0; i < blobs_.size(); ++i) {
    const Blob& blob = blobs_[i];
    if (!blob.live) continue;
    for (LeaseKind kind : {LeaseKind::kOrigin, LeaseKind::kRack}) {
      const RunSet& lease = kind == LeaseKind::kOrigin ? blob.origin_lease : blob.rack_lease;
      if (lease.count() == 0) continue;
      Held held{kind, BlobId(i), {}};
      content::PieceSet pieces = lease.pieces(blob.layout);
      for (auto run = pieces.next_run(content::PieceIndex(0)); !run.empty();
           run = pieces.next_run(run.end())) {
        held.pieces.push_back(run);
      }
      out.push_back(std::move(held));
    }
  }
  return out;
}

void Downloads::Impl::ask_leases() {
  lease_check_at_ = now_ + kLeaseCheck;
  if (!tracker_up_) {
    lease_check_at_ = now_ + kRankCheck;
    grant_by_rank();
    return;
  }
  if (!origin_ask_ && now_ >= origin_ask_at_) ask_origin();
  if (!rack_ask_ && now_ >= rack_ask_at_ && near_peers_ != 0 && up_.size() > near_peers_) {
    ask_rack();
  }
}

// Bytes under origin leases that can be read now: what waits for its origin to recover keeps no
// other blob waiting.
std::uint64_t Downloads::Impl::to_read_from_origins() const {
  std::uint64_t bytes = 0;
  for (BlobId id : active_) {
    const Blob& blob = blobs_[id.value()];
    if (reads_origin(blob)) bytes += blob.origin_lease.count() * blob.layout.piece_length();
  }
  return bytes;
}

// Nothing more is read of it from there: what this node was to read is another's now.
void Downloads::Impl::give_up_origin(BlobId id, Blob& blob) {
  blob.has_origin = false;
  for (Held& held : leases()) {
    if (held.blob != id || held.kind != LeaseKind::kOrigin) continue;
    out_.push_back(ReleaseLease{held.kind, id, std::move(held.pieces)});
    blob.origin_lease = RunSet(blob.layout);
  }
}

// Asks for more to read from the origin when what we hold will soon be read and there are wanted
// pieces that no peer has.
void Downloads::Impl::ask_origin() {
  std::uint64_t amount =
      std::clamp(static_cast<std::uint64_t>(origin_.rate() * kOriginLeaseSeconds),
                 kFirstOriginLease / 2, kMostOriginLease);
  if (origin_.rate() == 0) amount = kFirstOriginLease;
  if (to_read_from_origins() > amount / 2) return;

  auto try_blob = [&](BlobId id) {
    Blob& blob = blobs_[id.value()];
    if (!blob.tracked || !reads_origin(blob) || now_ < blob.origin_ask_at) return false;
    std::uint32_t whole = 0;
    for (const RunSet& demand : blob.demand) whole = std::max(whole, demand.count());
    LeaseAsk ask{LeaseKind::kOrigin, id, amount, {}, false, false};
    ask.starved = starved(blob);
    bool found = false;
    for (std::uint32_t word = 0; word < blob.words; ++word) {
      std::uint64_t bits = blob.todo_word(word) & ~blob.in_near[word] & ~blob.in_far[word] &
                           ~blob.origin_lease.any_word(word);
      if (bits == 0) continue;
      found = true;
      // Anything will do.
      if (whole == blob.layout.piece_count() && !ask.starved && !blob.origin_taken) break;
      for (; bits != 0 && ask.candidates.size() < kRackCandidates; bits &= bits - 1) {
        auto run = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
        ask.candidates.push_back(blob.layout.pieces_of_run(content::RunIndex(run)));
      }
    }
    if (!found) return false;
    origin_ask_ = id;
    blob.tried = std::min(blob.tried, now_);
    out_.push_back(AskLease{std::move(ask)});
    return true;
  };
  for (std::size_t i = plan_cursor_; i < plan_.size(); ++i) {
    if (try_blob(plan_[i].blob)) return;
  }
  // In the order in which they were wanted: all nodes of a fleet finish file after file, so the
  // origin is read in order.
  for (BlobId id : active_) {
    if (try_blob(id)) return;
  }
}

// Names runs to import in `ask`, of those in `runs` that are wanted in the classes from
// `first_class` on, beginning with the word of run `near`. Either runs that somebody elsewhere has
// as a whole, or, as `parts`, runs that nobody has so.
void Downloads::Impl::name_imports(LeaseAsk& ask, RunSpan runs, std::uint32_t near,
                                   std::size_t first_class, bool parts) {
  const Blob& blob = blobs_[ask.blob.value()];
  const std::uint32_t first_word = runs.first / 64;
  const std::uint32_t words = (runs.end + 63) / 64 - first_word;
  const std::uint32_t begin = std::min(near / 64 - first_word, words - 1);
  for (std::uint32_t i = 0; i < words && ask.candidates.size() < kRackCandidates; ++i) {
    std::uint32_t word = first_word + (begin + i < words ? begin + i : begin + i - words);
    std::uint64_t there = parts ? blob.in_far_any[word] & ~blob.in_far[word] : blob.in_far[word];
    std::uint64_t wanted = 0;
    for (std::size_t c = first_class; c < kBulk; ++c) {
      if (!blob.todo[c].empty()) wanted |= blob.todo[c][word];
    }
    std::uint64_t bits = wanted & there & ~blob.in_near[word] & ~blob.rack_lease.any_word(word) &
                         ~blob.origin_lease.any_word(word) & ~blob.rack_taken[0][word] &
                         ~blob.rack_taken[1][word];
    if (word * 64 < runs.first) bits &= ~0ULL << (runs.first - word * 64);
    if (runs.end - word * 64 < 64) bits &= (1ULL << (runs.end - word * 64)) - 1;
    // From a random place on: the others of this rack look at the same runs.
    std::uint64_t turned = i == 0 ? bits & (~0ULL << random_.below(64)) : bits;
    if (turned == 0) turned = bits;
    for (; turned != 0 && ask.candidates.size() < kRackCandidates; turned &= turned - 1) {
      auto run = word * 64 + static_cast<std::uint32_t>(std::countr_zero(turned));
      ask.candidates.push_back(blob.layout.pieces_of_run(content::RunIndex(run)));
    }
  }
}

// Asks for pieces that peers in other racks have and none here.
void Downloads::Impl::ask_rack() {
  std::uint64_t outstanding = 0;
  for (BlobId id : active_) {
    const Blob& blob = blobs_[id.value()];
    outstanding += blob.rack_lease.count() * blob.layout.piece_length();
  }
  if (outstanding >= kRackLease || active_.empty()) return;

  auto make_ask = [&](BlobId id) {
    return LeaseAsk{LeaseKind::kRack, id, kRackLease - outstanding, {}, false, false};
  };
  auto send = [&](LeaseAsk ask) {
    if (ask.candidates.empty()) return false;
    rack_ask_ = ask.blob;
    rack_asked_ = ask.candidates;
    Blob& blob = blobs_[ask.blob.value()];
    blob.tried = std::min(blob.tried, now_);
    out_.push_back(AskLease{std::move(ask)});
    return true;
  };
  auto open = [](const Blob& blob) { return blob.tracked && !blob.unrestricted && !blob.held; };

  for (bool parts : {false, true}) {
    // Of a plan what is fetched now: an import of what comes much later keeps from those before it.
    bool asked = false;
    visit_plan([&](BlobId id, const Blob& blob, RunSpan runs) {
      if (!open(blob)) return true;
      LeaseAsk ask = make_ask(id);
      auto near = runs.first + static_cast<std::uint32_t>(random_.below(kPlanSpread)) * 64;
      name_imports(ask, runs, near, 0, parts);
      asked = send(std::move(ask));
      return !asked;
    });
    if (asked) return;
    std::size_t begin = random_.below(active_.size());
    for (std::size_t i = 0; i < active_.size(); ++i) {
      BlobId id = active_[(begin + i) % active_.size()];
      const Blob& blob = blobs_[id.value()];
      if (!open(blob)) continue;
      LeaseAsk ask = make_ask(id);
      RunSpan runs{0, blob.layout.run_count()};
      auto near = static_cast<std::uint32_t>(random_.below(runs.end));
      name_imports(ask, runs, near, bulk_index(Class::kPrefetch), parts);
      if (send(std::move(ask))) return;
    }
  }
}

// Without a tracker: the node whose rank for a run is r among its live peers reads it from the
// origin once nothing new was seen for r * rank_step.
void Downloads::Impl::grant_by_rank() {
  std::uint64_t amount =
      std::clamp(static_cast<std::uint64_t>(origin_.rate() * kOriginLeaseSeconds),
                 kFirstOriginLease / 2, kMostOriginLease);
  std::uint64_t outstanding = to_read_from_origins();
  for (BlobId id : active_) {
    Blob& blob = blobs_[id.value()];
    if (!reads_origin(blob)) continue;
    Duration quiet = now_ - std::max(tracker_lost_, blob.news);
    // At the start the tracker and the peers are only about to be found.
    if (!tracker_seen_) quiet -= options_.rank_step;
    std::uint32_t scanned = 0;
    auto begin = static_cast<std::uint32_t>(random_.below(blob.words));
    for (std::uint32_t i = 0; i < blob.words && scanned < kRankScan; ++i) {
      std::uint32_t word = begin + i < blob.words ? begin + i : begin + i - blob.words;
      std::uint64_t bits = blob.todo_word(word) & ~blob.in_near[word] & ~blob.in_far[word] &
                           ~blob.origin_lease.any_word(word);
      for (; bits != 0; bits &= bits - 1) {
        if (outstanding >= amount) return;
        ++scanned;
        auto run = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
        std::uint64_t own = rank_hash(options_.node_key, blob.key, run);
        std::int64_t rank = 0;
        for (PeerId peer : up_) {
          rank += rank_hash(peers_[peer.value()].info.node_key, blob.key, run) < own;
        }
        if (quiet < rank * options_.rank_step) continue;
        content::PieceRange pieces = blob.layout.pieces_of_run(content::RunIndex(run));
        blob.origin_lease.add(blob.layout, pieces);
        for (content::PieceIndex piece : pieces) {
          if (blob.have.contains(blob.layout, piece)) {
            blob.origin_lease.remove(blob.layout, content::PieceRange{piece, 1});
          }
        }
        outstanding += blob.layout.range_of(pieces).length;
      }
    }
  }
}

}  // namespace shoal::swarm
