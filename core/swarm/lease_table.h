// Who may read what from an origin, and who brings what into a rack: the tracker's half of
// DESIGN 5.
//
// A flash crowd of agents that all want one model must read each origin byte about once, from
// several connections that read different parts; and each rack must import each byte about once. So
// pieces are leased: to one node for the fleet (origin leases), and to one node per rack (rack
// leases; an origin lease is also one). A piece that a live node of the fleet (of the rack)
// announces is not leased again. A lease lives while its bytes arrive; all state is soft: a new
// tracker grants nothing during the fleet's first heartbeat, in which nodes say again what they
// have and hold.
//
//   LeaseTable table({}, now);
//   table.add_blob(blob, layout, origin);
//   table.node_up(node, rack);
//   ...
//   LeaseTable::Answer answer = table.ask(node, {LeaseKind::kOrigin, blob, 16 * kMiB, {}}, now);
//   // answer.granted: the ranges to read; empty: come back after answer.retry_after
//   table.node_has(node, blob, verified, now);  // from its heartbeats; keeps the lease alive
//   for (const auto& ended : table.tick(now)) log(ended);  // idle leases return to the pool
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/base/result.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/swarm/run_set.h"
#include "core/swarm/types.h"

namespace shoal::swarm {

using OriginId = Index<struct SwarmOriginTag>;  // blobs with the same one share its lessees
using RackId = Index<struct SwarmRackTag>;

struct LeaseAsk {
  LeaseKind kind = LeaseKind::kOrigin;
  BlobId blob;
  // About how much; less may be granted.
  std::uint64_t bytes = 0;
  // What the asker could use, in its order of preference. Empty, for origin leases only: anything.
  std::vector<content::PieceRange> candidates;
  // Somebody is blocked on these pieces: not subject to the number of lessees.
  bool urgent = false;
  // The asker has looked in vain for these candidates among its peers for a while: that somebody in
  // the fleet says to have them does not count.
  bool starved = false;
};

// Thread: one at a time (the tracker's control thread).
class LeaseTable {
 public:
  struct Options {
    // Readers of one origin at a time: enough to fill its link, few enough that each connection is
    // worth its cost. Spread evenly over the racks that have members.
    std::size_t lessees_per_origin = 32;
    // Bounds of one grant. Towards the end of a blob grants shrink to the lower one, so that the
    // last lease is not what everybody waits for.
    std::uint64_t min_grant = 256 * kKiB;
    std::uint64_t max_grant = 64 * kMiB;
    Duration idle_limit = std::chrono::seconds(5);
    // When all else is leased or there, what a lessee has not read in this time may be given to
    // another who lacks it: agents size their asks to half a second and report twice a second. It
    // may take longer for who has much to read or where the origin is slow: so many times as long
    // as that many pieces took lately, in the mean over all lessees.
    Duration fair_time = std::chrono::milliseconds(1500);
    int fair_factor = 3;
    // Late lessees get nothing more for so long, as long as others read that origin.
    Duration late_pause = std::chrono::seconds(5);
    // At most this part of what was granted of a blob is given to another like that: both may read
    // it.
    double moved_share = 0.02;
    Duration quiet_start = std::chrono::seconds(2);  // one heartbeat
  };

  LeaseTable(Options options, Time start);

  // The fleet. A node that goes down loses its leases at once; what only it had can be leased
  // again.
  void node_up(NodeId node, RackId rack);
  void node_down(NodeId node);

  // Content. Without an origin only rack leases are granted. Adding a blob again changes its origin
  // and keeps the rest.
  void add_blob(BlobId blob, const content::BlobLayout& layout, std::optional<OriginId> origin);
  void remove_blob(BlobId blob);

  // What nodes announce. Unknown nodes and blobs, and ranges beyond the blob's end, are ignored.
  // Progress on a leased piece keeps that lease alive and, when the piece is there, ends it.
  void node_has(NodeId node, BlobId blob, content::PieceRange pieces, Time now);
  void node_has_all(NodeId node, BlobId blob, Time now);
  void node_lost(NodeId node, BlobId blob);  // has nothing of it any more
  // Was caught sending bad bytes: what it says to have does not count from now on, its leases end
  // and it gets none, until node_up().
  void distrust(NodeId node);
  // Bytes arrive for `node`'s leases of `blob`, though no piece is complete yet.
  void node_active(NodeId node, BlobId blob, Time now);

  struct Answer {
    std::vector<content::PieceRange> granted;     // ascending within each candidate
    LeaseRefusal refusal = LeaseRefusal::kTaken;  // when nothing was granted
    Duration retry_after{};                       // when nothing was granted
    std::string etag;  // of the origin, as the first lessee reported it; may be empty
  };
  Answer ask(NodeId node, const LeaseAsk& ask, Time now);

  // A node that held a lease from an earlier life of the tracker, or lost touch. What is still
  // free, or was its own, is its lease again; what another holds by now is not in the result.
  std::vector<content::PieceRange> announce_lease(NodeId node, LeaseKind kind, BlobId blob,
                                                  std::span<const content::PieceRange> pieces,
                                                  Time now);
  void release(NodeId node, LeaseKind kind, BlobId blob,
               std::span<const content::PieceRange> pieces);

  // What a lessee saw at the origin. The first one counts, until all lessees have given up
  // (released their leases, or let them idle); false when `etag` differs from it: the origin
  // changed, and this lessee must not read on.
  bool report_etag(BlobId blob, std::string_view etag);

  struct Ended {
    NodeId node;
    LeaseKind kind = LeaseKind::kOrigin;
    BlobId blob;
    std::uint32_t pieces = 0;
  };
  // Ends leases without progress for idle_limit and returns them.
  std::vector<Ended> tick(Time now);
  Time next_wake() const;

  // For status pages.
  std::size_t lessees(OriginId origin) const;
  // Pieces of `blob` that a live node has.
  std::uint32_t present(BlobId blob) const;

 private:
  struct Part {
    content::PieceRange range;
    Time since;               // when it was granted
    std::uint32_t depth = 1;  // pieces that the lessee was to read by then, these included
  };
  struct Lease {
    std::vector<Part> parts;
    Time progress;
  };
  struct Node;
  // One grant under construction.
  struct Grant {
    Node* node;
    BlobId blob_id;
    LeaseKind kind;
    std::uint64_t left;  // pieces
    Time now;
    bool even_if_present;
    bool whole_runs;  // goes on to the end of a run
    std::vector<content::PieceRange>* out;
  };
  // Who holds leases of one origin.
  struct Readers {
    std::unordered_map<NodeId, std::size_t> leases;
    std::unordered_map<RackId, std::size_t> nodes;
    Duration usual{};  // for each piece that a lessee has to read, lately, in the mean
  };
  using Leases = std::map<std::pair<BlobId, LeaseKind>, Lease>;

  // The fleet, or one rack, for one blob.
  struct Scope {
    content::PieceSet present;
    content::PieceSet leased;
  };
  struct Node {
    NodeId id;
    RackId rack;
    bool distrusted = false;
    std::unordered_map<BlobId, RunSet> has;
    std::unordered_map<BlobId, content::PieceIndex> reads_on;  // where its last origin lease ended
    Leases leases;
  };
  struct Blob {
    content::BlobLayout layout;
    std::optional<OriginId> origin;
    std::string etag;
    // Runs before this one are leased or there, at least in part.
    std::uint32_t next_run = 0;
    // Pieces granted to origin lessees, and how many of them were taken from one for another.
    std::uint64_t granted = 0;
    std::uint64_t moved = 0;
    Scope fleet;
    std::unordered_map<RackId, Scope> racks;
  };

  Node* find(NodeId node);
  Blob* find(BlobId blob);
  Scope& rack_scope(Blob& blob, RackId rack);
  void withdraw(BlobId id, Blob& blob, RackId rack, const RunSet& gone);
  void finish(Node& node, BlobId id, Blob& blob, content::PieceRange pieces, Time now);
  void end_lease(Node& node, BlobId id, Blob& blob, LeaseKind kind);
  Lease& open_lease(Node& node, BlobId id, const Blob& blob, LeaseKind kind, Time now);
  void lease_out(Grant& grant, Blob& blob, content::PieceRange pieces);
  Leases::iterator close_lease(Node& node, const Blob& blob, Leases::iterator it);
  static void unpin(Blob& blob);
  Duration fair_time(OriginId origin, const Part& part) const;
  void note_time(const Node& node, OriginId origin, const Part& part, std::uint32_t pieces,
                 Time now);
  bool may_read_origin(const Node& node, OriginId origin) const;
  bool leave_to_others(const Node& node, OriginId origin, Time now);
  void take(Grant& grant, Blob& blob, content::PieceRange from);
  void take_in_order(Grant& grant, Blob& blob);
  void take_over(Grant& grant, Blob& blob, std::span<const content::PieceRange> candidates);
  static std::uint32_t subtract(std::vector<Part>& from, content::PieceRange gone);
  Duration retry_after(NodeId node) const;

  Options options_;
  Time start_;
  std::unordered_map<NodeId, Node> nodes_;
  std::unordered_map<BlobId, Blob> blobs_;
  std::unordered_map<RackId, std::vector<NodeId>> rack_members_;
  std::unordered_set<NodeId> holders_;  // of any lease
  std::unordered_map<OriginId, Readers> readers_;
  // Who took longer than is fair for what it read, or has yet to read it; until when that counts.
  std::unordered_map<NodeId, Time> late_;
};

}  // namespace shoal::swarm
