// The state behind Downloads, for downloads*.cc alone; see downloads.h.
//
// Per blob the wanted runs that nobody was asked for yet ("todo") stand in one bitmap per class,
// and per peer and blob two bitmaps say what it has. Picking from a peer is an AND over those, so
// its cost is a few hundred instructions, whatever the number of pieces.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/base/random.h"
#include "core/swarm/backoff.h"
#include "core/swarm/downloads.h"
#include "core/swarm/peer_score.h"
#include "core/swarm/run_set.h"
#include "core/swarm/token_bucket.h"

namespace shoal::swarm {

// The runs that `pieces` touch.
struct Runs {
  std::uint32_t first;
  std::uint32_t end;
  Runs(const content::BlobLayout& layout, content::PieceRange pieces)
      : first(pieces.empty() ? 0 : layout.run_of(pieces.first).value()),
        end(pieces.empty() ? 0 : layout.run_of(pieces.end() - 1).value() + 1) {}
};

// What of `pieces` the blob has.
inline content::PieceRange clip(const content::BlobLayout& layout, content::PieceRange pieces) {
  std::uint32_t total = layout.piece_count();
  if (pieces.first.value() >= total) return {};
  return {pieces.first, std::min(pieces.count, total - pieces.first.value())};
}

class Downloads::Impl {
 public:
  Impl(Options options, std::uint64_t seed);

  // Each is the function of Downloads of the same name.
  void add_blob(BlobId id, const content::BlobLayout& layout, std::uint64_t key,
                const content::PieceSet& have, bool has_origin, Time now);
  void remove_blob(BlobId id, Time now);
  void set_has_origin(BlobId id, bool has_origin, Time now);
  void want(BlobId id, content::PieceRange pieces, Class cls, Time deadline, Time now);
  void unwant(BlobId id, Class cls, Time now);
  void hold(BlobId id, bool held, Time now);
  void pieces_added(BlobId id, content::PieceRange pieces, Time now);
  void pieces_lost(BlobId id, content::PieceRange pieces, Time now);
  void peer_up(PeerId id, const PeerInfo& info, Time now);
  void peer_down(PeerId id, Time now);
  void peer_has(PeerId id, BlobId blob, content::PieceRange pieces, Time now);
  void peer_replace(PeerId id, BlobId blob, RunSet has, Time now);
  void tracker(bool up, Time now);
  void lease_granted(LeaseKind kind, BlobId id, std::span<const content::PieceRange> pieces,
                     Time now);
  void lease_denied(LeaseKind kind, BlobId id, LeaseRefusal refusal, Duration retry, Time now);
  void lease_ended(LeaseKind kind, BlobId id, std::span<const content::PieceRange> pieces,
                   Time now);
  std::vector<Held> leases() const;
  void pieces_verified(RequestId id, content::PieceRange pieces, Time now);
  void request_active(RequestId id, Time now);
  void request_ended(RequestId id, Outcome outcome, Duration retry, Time now);
  void decide(Time now, std::vector<Action>& out);
  Time next_wake() const;
  Duration news_interval() const;
  Explanation explain(BlobId id, Time now) const;
  std::vector<SourceStatus> sources() const;

  // kPlan, kPrefetch and kBackground, in that order.
  static constexpr std::size_t kBulk = 3;
  static constexpr std::size_t bulk_index(Class cls) { return static_cast<std::size_t>(cls) - 2; }
  static constexpr Class bulk_class(std::size_t i) { return static_cast<Class>(i + 2); }

  struct Blob {
    bool live = false;
    content::BlobLayout layout;
    std::uint64_t key = 0;
    bool has_origin = false;
    bool held = false;
    std::uint32_t words = 0;  // of a bitmap of runs
    RunSet have;
    RunSet busy;  // requested and not had
    std::array<RunSet, kBulk> demand;
    // Runs with a piece that is wanted, not had and not busy. Empty without demand of the class.
    std::array<std::vector<std::uint64_t>, kBulk> todo;
    std::array<std::uint32_t, kBulk> todo_runs{};

    // How many peers have a run, kept only while `tracked`: not complete and wanted. Near peers
    // count when they have all of it: until then the rest may have to come from elsewhere.
    bool tracked = false;
    std::vector<std::uint16_t> near_full;
    std::vector<std::uint16_t> far_full;
    std::vector<std::uint16_t> far_any;
    // Bitmaps of what is not 0 above.
    std::vector<std::uint64_t> in_near;
    std::vector<std::uint64_t> in_far;
    std::vector<std::uint64_t> in_far_any;

    RunSet origin_lease;  // not had
    RunSet rack_lease;
    std::array<std::vector<std::uint64_t>, 2> rack_taken;  // refused lately: this and last period
    Backoff origin_backoff{std::chrono::milliseconds(500), std::chrono::seconds(30)};
    Time origin_ask_at = Time::min();
    bool origin_taken = false;  // nothing was free: the next ask names what we lack

    Time progress;        // when a piece was last verified, or wanting began
    Time news;            // when a piece that no peer had was last seen
    Time tried = kNever;  // when a source or a lease was first asked for it, since it is wanted
    bool stall_reported = false;
    bool unrestricted = false;  // the rack rule starved it
    std::deque<Explanation::Failure> failures;

    bool wanted() const { return todo_total() != 0 || busy.count() != 0; }
    std::uint32_t todo_total() const { return todo_runs[0] + todo_runs[1] + todo_runs[2]; }
    std::uint64_t todo_word(std::uint32_t word) const {
      std::uint64_t bits = 0;
      for (const auto& t : todo) bits |= t.empty() ? 0 : t[word];
      return bits;
    }
  };

  struct Peer {
    bool up = false;
    bool banned = false;
    bool near = false;
    bool dry = false;  // had nothing to pick when last looked at, and nothing changed since
    PeerInfo info;
    std::vector<RunSet> has;  // by BlobId; shorter than the list of blobs when it has none
    PeerScore score{std::chrono::milliseconds(200), 0};
    Backoff backoff{std::chrono::milliseconds(250), std::chrono::seconds(15)};
    std::size_t bulk = 0;  // requests
    std::size_t urgent = 0;
  };

  struct Request {
    bool live = false;    // until request_ended()
    bool orphan = false;  // its blob or source is gone: nothing it says counts
    bool cancelled = false;
    bool urgent = false;
    bool hedge = false;
    std::uint32_t generation = 0;
    std::uint32_t partner = kNoSlot;  // the hedge of this, or what this hedges
    BlobId blob;
    content::PieceRange pieces;
    Source source = Source::origin();
    Class cls = Class::kPrefetch;
    std::uint64_t bytes = 0;
    std::uint64_t left = 0;  // not verified
    Time started;
    Time progress;
  };
  static constexpr std::size_t kFailuresKept = 8;  // per blob
  // The plan's window in seconds of the present rate: what is under way at one time in the swarm.
  static constexpr double kPlanSeconds = 3.0;
  static constexpr std::uint32_t kNoSlot = 0xffff'ffff;

  struct Urgent {
    BlobId blob;
    content::PieceRange pieces;
    Class cls;
    Time deadline;
  };
  struct RunSpan {
    std::uint32_t first;
    std::uint32_t end;
  };
  struct PlanStep {
    BlobId blob;
    content::PieceRange pieces;
  };
  // Where a request could start.
  struct Candidate {
    BlobId blob;
    std::uint32_t run = 0;
    RunMask mask = 0;
  };

  // downloads_blobs.cc, downloads_peers.cc
  Blob* find(BlobId id) {
    return id.value() < blobs_.size() && blobs_[id.value()].live ? &blobs_[id.value()] : nullptr;
  }
  const Blob* find(BlobId id) const { return const_cast<Impl*>(this)->find(id); }
  Peer* find(PeerId id) {
    return id.value() < peers_.size() && peers_[id.value()].up ? &peers_[id.value()] : nullptr;
  }
  Request* find(RequestId id) {
    auto slot = static_cast<std::uint32_t>(id.value());
    if (slot >= requests_.size()) return nullptr;
    Request& request = requests_[slot];
    bool same = request.live && request.generation == static_cast<std::uint32_t>(id.value() >> 32);
    return same ? &request : nullptr;
  }
  void advance(Time now) { now_ = std::max(now_, now); }
  // Brings todo in line with demand, have and busy.
  void refresh(Blob& blob, std::uint32_t run);
  void refresh(Blob& blob, content::PieceRange pieces);
  void track(BlobId id, Blob& blob);
  void untrack(Blob& blob);
  // What a peer has of a run.
  struct Part {
    bool any;
    bool full;
  };
  static Part part_of(const RunSet& has, std::uint32_t run) {
    bool any = has.count() != 0 && has.any(run);
    return {any, any && has.full(run)};
  }
  // Counts that what `peer` has of a run went from `before` to `after`.
  static void count_run(Blob& blob, const Peer& peer, std::uint32_t run, Part before, Part after);
  void wake_all();
  // Takes pieces out of leases; they are had, or no longer leased.
  void had(Blob& blob, content::PieceRange pieces);
  void unbusy(Blob& blob, const Request& request);
  void blame(Blob& blob, Request& request, Outcome outcome, Duration retry);
  void free_slot(std::uint32_t slot);

  // downloads_pick.cc
  void fill_bulk();
  bool fill_from(PeerId id, Peer& peer);
  bool fill_origin();
  bool restricted(const Blob& blob, const Peer& peer) const;
  void list_open();
  void gather(std::size_t cls, PeerId id, const Peer& peer);
  void gather_words(BlobId id, const Blob& blob, std::size_t cls, const Peer& peer,
                    std::uint32_t first_run, std::uint32_t end_run);
  bool choose(std::size_t cls, const Peer& peer, Candidate& out);
  std::uint32_t copies(BlobId id, std::uint32_t run, RunMask mask) const;
  content::PieceRange shape(const Candidate& from, std::size_t cls, const Peer* peer,
                            std::uint64_t bytes);
  std::array<std::size_t, kBulk> class_order() const;
  void start(BlobId id, content::PieceRange pieces, Source source, Class cls, bool urgent,
             Time deadline, std::uint32_t hedge_of = kNoSlot);
  std::uint64_t crumb() const;
  std::uint64_t request_size(const Peer& peer) const;
  std::uint32_t plan_head(const PlanStep& step, const Blob& blob) const;
  // Calls visit(blob id, blob, runs) for what of the plan is fetched now, in order, until it
  // returns false.
  template <typename Visit>
  void visit_plan(Visit visit);

  // downloads_urgent.cc
  void fill_urgent();
  bool start_urgent(const Urgent& want, content::PieceRange pieces);
  bool serve_urgent(Blob& blob, const Urgent& want, content::PieceRange pieces,
                    std::uint32_t hedge_of);
  Peer* best_peer(BlobId id, const Blob& blob, content::PieceRange pieces, Source except,
                  bool urgent, PeerId& out);
  bool may_hedge() const;
  void hedge_slow();

  // downloads_lease.cc
  bool reads_origin(const Blob& blob) const {
    return blob.has_origin && !blob.held && blob.origin_backoff.ready(now_);
  }
  std::uint64_t to_read_from_origins() const;
  void give_up_origin(BlobId id, Blob& blob);
  void ask_leases();
  void ask_origin();
  void ask_rack();
  void name_imports(LeaseAsk& ask, RunSpan runs, std::uint32_t near, std::size_t first_class,
                    bool parts);
  void grant_by_rank();
  bool by_lease_only() const { return tracker_up_; }

  // downloads_tick.cc
  void tick();
  void check_requests();
  void check_stalls();
  // Neither a byte nor the news of a piece for half the stall time, though pieces are wanted.
  bool starved(const Blob& blob) const;

  Options options_;
  SeededRandom random_;
  Time now_ = Time::min();
  bool tracker_up_ = false;
  bool tracker_seen_ = false;
  Time tracker_lost_ = Time::min();  // or when something was first wanted, if never seen
  Time progress_ = Time::min();      // when a piece of any blob was last verified

  std::vector<Blob> blobs_;     // by BlobId
  std::vector<BlobId> active_;  // tracked
  std::vector<Peer> peers_;     // by PeerId
  std::size_t near_peers_ = 0;
  std::vector<PeerId> up_;
  std::vector<Request> requests_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Urgent> urgent_;
  std::vector<PlanStep> plan_;
  std::size_t plan_cursor_ = 0;
  std::array<std::uint64_t, kBulk> served_{};  // bytes lately, for the classes' shares

  PeerScore origin_;
  std::size_t origin_bulk_ = 0;
  std::size_t origin_urgent_ = 0;
  TokenBucket limit_;
  bool limited_ = false;  // the last fill stopped for the limit

  // Whose asks wait for an answer.
  std::optional<BlobId> origin_ask_;
  std::optional<BlobId> rack_ask_;
  std::vector<content::PieceRange> rack_asked_;  // its candidates
  Time origin_ask_at_ = Time::min();
  Time rack_ask_at_ = Time::min();
  Time lease_check_at_ = Time::min();
  Time rack_taken_turn_ = Time::min();
  Time tick_at_ = Time::min();
  double total_rate_ = 0;
  std::uint64_t rate_bytes_ = 0;
  Time rate_since_ = Time::min();

  struct Word {
    BlobId blob;
    std::uint32_t word;
    std::uint64_t bits;
  };
  std::vector<Word> scratch_;
  std::size_t scratch_bits_ = 0;
  std::array<std::vector<BlobId>, kBulk>
      open_;  // with something to do in the class; see list_open()

  // Small requests that may still be made before the next tick although they cost more than they
  // bring, and whether one was left out.
  std::size_t crumbs_ = 0;
  bool crumbs_left_out_ = false;
  std::uint64_t in_flight_ = 0;  // bytes, of all sources

  std::vector<Action> out_;
  Counters counters_;

  friend class Downloads;
};

template <typename Visit>
void Downloads::Impl::visit_plan(Visit visit) {
  auto window = static_cast<std::uint64_t>(total_rate_ * kPlanSeconds /
                                           static_cast<double>(content::kRunLength));
  window = std::max<std::uint64_t>(window, options_.plan_window);
  bool head = true;
  for (std::size_t i = plan_cursor_; i < plan_.size() && window != 0; ++i) {
    const PlanStep& step = plan_[i];
    const Blob& blob = blobs_[step.blob.value()];
    std::uint32_t end = blob.layout.run_of(step.pieces.end() - 1).value() + 1;
    std::uint32_t run = plan_head(step, blob);
    if (run == end) {
      if (head) plan_cursor_ = i + 1;
      continue;
    }
    head = false;
    auto stop = static_cast<std::uint32_t>(std::min<std::uint64_t>(end, run + window));
    if (!visit(step.blob, blob, RunSpan{run, stop})) return;
    window -= stop - run;
  }
}

}  // namespace shoal::swarm
