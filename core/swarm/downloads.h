// What to request next, from whom: the one state machine behind everything an agent fetches.
//
// The agent tells it what is wanted, who has what, and what became of each request; it answers with
// actions. It hides rarest-first picking, the shares of the five classes, rack locality, leases,
// request sizes and how many bytes each source is trusted with, hedging, back-off, stalls and bans.
// It does no I/O and reads no clock: the simulator (tests/sim) drives the same code.
//
// The agent's part is a loop: feed one or more inputs, then call decide() and carry out what it
// says.
//
//   Downloads downloads({.node_key = node_key("gpu-17")}, random_u64());
//   downloads.tracker_up(now);
//   downloads.add_blob(blob, layout, key, store.ready_pieces(), /*has_origin=*/true, now);
//   downloads.want(blob, layout.all_pieces(), Class::kPrefetch, kNever, now);
//   downloads.peer_up(peer, {Locality::kRack, node_key("gpu-18")}, now);
//   downloads.peer_has(peer, blob, PieceRange{PieceIndex(0), 64}, now);
//
//   std::vector<Action> actions;
//   downloads.decide(now, actions);
//   for (const Action& action : actions) {
//     if (auto* start = std::get_if<StartRequest>(&action)) lane.fetch(*start);
//     ...
//   }
//   timer.expires_at(downloads.next_wake());  // then decide() again
//
//   // later, from the lane, while the response streams and when it ends:
//   downloads.pieces_verified(id, PieceRange{PieceIndex(0), 1}, now);
//   downloads.request_ended(id, Outcome::kFinished, {}, now);
//   downloads.decide(now, actions);
//
// Every StartRequest must be answered by exactly one request_ended(), also after a CancelRequest
// (then with whatever outcome came first).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/units.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/swarm/lease_table.h"
#include "core/swarm/types.h"

namespace shoal::swarm {

using RequestId = Index<struct SwarmRequestTag, std::uint64_t>;

// A peer, or the blob's origin.
class Source {
 public:
  static constexpr Source origin() { return Source(kOrigin); }
  static constexpr Source of(PeerId peer) { return Source(peer.value()); }

  constexpr bool is_origin() const { return value_ == kOrigin; }
  constexpr PeerId peer() const { return PeerId(value_); }  // only if !is_origin()
  friend constexpr bool operator==(Source, Source) = default;

 private:
  static constexpr std::uint32_t kOrigin = 0xffff'ffff;
  constexpr explicit Source(std::uint32_t value) : value_(value) {}
  std::uint32_t value_;
};

// How a request ended. Pieces already reported as verified stay, whatever the outcome.
enum class Outcome : std::uint8_t {
  kFinished,      // all its pieces were verified
  kBusy,          // 503 or 429: not before retry_after
  kNotHave,       // 409 or 404: the source does not have (all of) it
  kCorrupt,       // bytes did not match a piece hash
  kShort,         // the body ended early
  kTimeout,       // no answer in time
  kDisconnected,  // refused, reset, closed
  kRefused,       // 401, 403, wrong certificate, an answer that makes no sense
  kChanged,       // origin only: its ETag or size is another one
  kCancelled,     // as this class, or a shutdown, asked
  kLocal,         // this node could not store the bytes: the source is not to blame
};
// "finished", "busy", …
std::string_view outcome_name(Outcome outcome);

struct StartRequest {
  RequestId id;
  BlobId blob;
  content::PieceRange pieces;  // at most 16 MiB, or one piece where pieces are longer
  Source source = Source::origin();
  Class cls = Class::kPrefetch;
  bool urgent =
      false;           // on an urgent connection; else on the bulk connection, behind at most three
  bool hedge = false;  // another request for the same pieces is on its way
  Time deadline = kNever;
};
struct CancelRequest {
  RequestId id;
  bool stalled =
      false;  // its source sent nothing for request_stall; else it is not needed any more
};
// Ask the tracker; answer with lease_granted() or lease_denied(). At most one ask per blob and kind
// is open at a time.
struct AskLease {
  LeaseAsk ask;
};
struct ReleaseLease {
  LeaseKind kind = LeaseKind::kOrigin;
  BlobId blob;
  std::vector<content::PieceRange> pieces;
};
// Cut the peer off, count it, name it in the log, and call peer_down(). It sent bad bytes.
struct BanPeer {
  PeerId peer;
  BlobId blob;
  content::PieceIndex piece;
};
// No verified byte of the blob for 10 s though pieces are wanted: count and log it.
struct ReportStall {
  BlobId blob;
};
using Action =
    std::variant<StartRequest, CancelRequest, AskLease, ReleaseLease, BanPeer, ReportStall>;

struct PeerInfo {
  Locality locality = Locality::kFar;
  std::uint64_t node_key = 0;
};

// What a blob's download is waiting for, for `status --explain`.
struct Explanation {
  enum class Wait : std::uint8_t {
    kNothing,   // complete, or nothing wanted
    kTransfer,  // bytes are on their way
    kSource,    // nobody known has the piece and there is no origin
    kPeer,      // those who have it are busy or backing off
    kLease,     // asked the tracker for an origin lease
    kRack,      // another node of this rack imports it
    kOrigin,    // the origin is backing off, or not this node's turn (tracker lost)
    kLimit,     // the download limit
    kHeld,      // hold(): local disk
  } wait = Wait::kNothing;
  std::uint32_t pieces_have = 0;
  std::uint32_t pieces_total = 0;
  std::uint32_t pieces_wanted = 0;           // not had yet
  std::optional<content::PieceIndex> piece;  // the first one wanted and not had
  Time since;                                // when the last piece was verified, or wanting began
  std::size_t sources = 0;                   // live peers that have something wanted
  std::uint64_t in_flight = 0;               // bytes
  struct Failure {
    Time when;
    Source source = Source::origin();
    Outcome outcome = Outcome::kFinished;
  };
  std::vector<Failure> failures;  // the last few, newest last
};
// "transfer", "lease", …
std::string_view wait_name(Explanation::Wait wait);

struct SourceStatus {
  Source source = Source::origin();
  double rate = 0;              // bytes per second, while it was asked for any
  std::uint64_t in_flight = 0;  // bytes
  std::uint64_t bytes = 0;      // verified, in all
  unsigned failures = 0;        // in a row
  Time not_before = Time::min();
};

// Thread: one at a time (the agent's control thread). Not copyable, not movable.
class Downloads {
 public:
  struct Options {
    std::uint64_t node_key = 0;             // node_key() of this node's id
    Rate download_limit{};                  // 0: none
    std::uint64_t max_request = 16 * kMiB;  // docs/formats/lane.md
    std::size_t pipeline = 4;               // bulk requests per peer
    std::size_t origin_pipeline = 4;        // bulk requests to origins
    std::size_t urgent_per_source = 4;
    Duration queue_target = std::chrono::milliseconds(200);  // how long a source's queue may take
    Duration request_stall = std::chrono::seconds(3);  // no byte of a request: give it to others
    Duration blob_stall = std::chrono::seconds(10);    // no verified byte of a blob
    Duration rank_step = std::chrono::seconds(2);      // without a tracker, DESIGN 5
    std::size_t plan_window = 256;  // runs of the plan that are picked rarest first
    double hedge_share = 0.05;      // of all requests
  };
  Downloads(Options options, std::uint64_t seed);
  ~Downloads();
  Downloads(const Downloads&) = delete;
  Downloads& operator=(const Downloads&) = delete;

  // --- Blobs -------------------------------------------------------------------------------------
  // `key` is blob_key() of its digest. `have` is what the store can serve now.
  void add_blob(BlobId blob, const content::BlobLayout& layout, std::uint64_t key,
                const content::PieceSet& have, bool has_origin, Time now);
  // Running requests are cancelled, leases released; an answer to an ask of its must not be told
  // any more. `blob` may be used again after the next decide().
  void remove_blob(BlobId blob, Time now);
  bool contains(BlobId blob) const;
  void set_has_origin(BlobId blob, bool has_origin, Time now);

  // Adds demand. Pieces that are wanted already get the more urgent class and the earlier deadline.
  // kPlan pieces are fetched in the order in which they were wanted (rarest first among the next
  // ones); kPrefetch and kBackground in any order.
  void want(BlobId blob, content::PieceRange pieces, Class cls, Time deadline, Time now);
  // Ends all demand of `cls` for the blob. Requests only it needed are cancelled.
  void unwant(BlobId blob, Class cls, Time now);
  // While held, only faults of the blob are requested (its bytes could not be stored).
  void hold(BlobId blob, bool held, Time now);

  // Pieces that came or went by another way than a request of this class.
  void pieces_added(BlobId blob, content::PieceRange pieces, Time now);
  void pieces_lost(BlobId blob, content::PieceRange pieces, Time now);

  // --- Sources -----------------------------------------------------------------------------------
  // A peer that is connected and will say what it has. Ids are small and dense.
  void peer_up(PeerId peer, const PeerInfo& info, Time now);
  // Its requests count as disconnected: request_ended() for them is still due, and ignored.
  void peer_down(PeerId peer, Time now);
  void peer_has(PeerId peer, BlobId blob, content::PieceRange pieces, Time now);       // adds
  void peer_has(PeerId peer, BlobId blob, const content::PieceSet& pieces, Time now);  // replaces
  void peer_has_all(PeerId peer, BlobId blob, Time now);
  void peer_has_nothing(PeerId peer, BlobId blob, Time now);

  // --- Tracker and leases ------------------------------------------------------------------------
  // Without a tracker the origin is read by rank (DESIGN 5), and racks import freely.
  void tracker_up(Time now);
  void tracker_down(Time now);
  void lease_granted(LeaseKind kind, BlobId blob, std::span<const content::PieceRange> pieces,
                     Time now);
  void lease_denied(LeaseKind kind, BlobId blob, LeaseRefusal refusal, Duration retry_after,
                    Time now);
  // The tracker took these back, or did not accept them after a reconnect.
  void lease_ended(LeaseKind kind, BlobId blob, std::span<const content::PieceRange> pieces,
                   Time now);
  struct Held {
    LeaseKind kind = LeaseKind::kOrigin;
    BlobId blob;
    std::vector<content::PieceRange> pieces;  // not verified yet
  };
  // To announce again after a reconnect.
  std::vector<Held> leases() const;

  // --- Requests ----------------------------------------------------------------------------------
  // Some pieces of the request are verified and stored. Within its range; repeated ones are
  // ignored.
  void pieces_verified(RequestId id, content::PieceRange pieces, Time now);
  // Bytes arrived, though no piece is complete.
  void request_active(RequestId id, Time now);
  void request_ended(RequestId id, Outcome outcome, Duration retry_after, Time now);

  // --- Output ------------------------------------------------------------------------------------
  // Appends what to do now.
  void decide(Time now, std::vector<Action>& out);
  // When decide() must be called next if no input comes before; kNever if not at all.
  Time next_wake() const;

  bool complete(BlobId blob) const;
  // The pieces of `blob` that are had.
  content::PieceSet pieces(BlobId blob) const;
  // How long each peer shall gather what it has to tell into one message. A message costs as much
  // as a small request, so all peers together send a bounded number of them; at the start and near
  // the end, when everybody waits for the same few pieces, news is worth more than that.
  Duration news_interval() const;
  Explanation explain(BlobId blob, Time now) const;
  std::vector<SourceStatus> sources() const;

  struct Counters {
    std::uint64_t requests = 0;
    std::uint64_t hedges = 0;
    std::uint64_t failures = 0;  // outcomes other than finished, busy and cancelled
    std::uint64_t stalls = 0;    // blobs
    std::uint64_t bans = 0;
    std::uint64_t bytes_peers = 0;       // verified, by where they came from
    std::uint64_t bytes_other_rack = 0;  // of bytes_peers
    std::uint64_t bytes_origin = 0;
    std::uint64_t bytes_duplicate = 0;  // verified though had already
  };
  const Counters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::swarm
