// What the tracker does not know yet about this node: which blobs it has, wants and lost, how its
// pulls go, which peers failed it. Turns a stream of small changes into heartbeats that are
// differences, survive lost answers and never exceed the API's limits.
// docs/formats/tracker-api.md, "POST /v1/nodes/{id}/heartbeat".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/api/limits.h"
#include "core/api/node.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::agent {

// Pure: no clock, no I/O. Thread: one (the control thread).
//
//   api::HeartbeatRequest message = report.build(budget);
//   …send it; when it was answered with 200:
//   report.acknowledged(message.seq);
//
// What was built but not acknowledged is in the next message again, with the same `seq`.
class FleetReport {
 public:
  // `hurry` is called when something should be told at once: a blob became wanted or stopped being
  // so, a peer sent bad bytes. It must not call back.
  explicit FleetReport(std::function<void()> hurry = {});
  FleetReport(const FleetReport&) = delete;
  FleetReport& operator=(const FleetReport&) = delete;

  // The store has the blob, with the pieces `have` (of layout.piece_count()). Of a blob that is
  // here already it is a replacement: pieces that are not in `have` are taken back. `wanted` stays
  // as it was.
  void blob_added(const content::Digest& digest, const content::BlobLayout& layout,
                  content::PieceSet have, api::BlobState state);
  // Cheap: to be called for each verified range. Ignored for a blob that was not added (it may just
  // have been removed) and for a complete one.
  void pieces_verified(const content::Digest& digest, content::PieceRange pieces);
  // This node fetches the blob, or does so no more. Works for a blob that was not added too: of one
  // whose table is not known yet only the size is told. `size` is ignored for one that was added.
  void blob_wanted(const content::Digest& digest, std::uint64_t size, bool wanted);
  // Ignored for a blob that was not added. kComplete means that every piece is here.
  void blob_state(const content::Digest& digest, api::BlobState state);
  // The store has it no more. A blob that is wanted goes on being so, with no piece.
  void blob_removed(const content::Digest& digest);

  // Something about this pull changed. Kept until acknowledged, the newest report of each id only;
  // of more than kMaxPendingPulls the oldest are dropped.
  void pull(api::PullReport report);
  static constexpr std::size_t kMaxPendingPulls = 16 * api::kMaxPullReports;

  // Kept until acknowledged, once per node, epoch and fault; of more than api::kMaxPeerReports the
  // newest are dropped.
  void peer_fault(std::string node, std::string epoch, api::PeerFault fault, std::string text);

  // The tracker knows nothing about this node: messages are full until one of them is acknowledged.
  // So it is at the beginning.
  void start_over();
  bool full() const { return full_; }

  // The next message: everything but `epoch`, `store` and `leases`. At most the entries that the
  // API allows, and about `max_bytes` of JSON (at least one entry of each kind); the rest stays for
  // the next message. Pulls first, then wanted blobs, then others.
  api::HeartbeatRequest build(std::size_t max_bytes);

  // The message last built, if that was its `seq`, was answered with 200: what changed since then
  // is next. Anything else is ignored.
  void acknowledged(std::uint64_t seq);

  // The message last built was not all there was to say.
  bool left_over() const { return left_over_; }

 private:
  struct Blob {
    std::uint64_t size = 0;
    bool added = false;
    bool wanted = false;
    bool told = false;  // a message with it was built: the tracker may know it
    api::BlobState state = api::BlobState::kLive;
    content::BlobLayout layout;     // if added
    content::PieceSet have;         // empty unless added and not complete
    content::PieceSet unreported;   // of those, what was not acknowledged
    std::uint64_t change = 0;       // number of its last change
    std::uint64_t dirty_since = 0;  // its place in dirty_; 0: none
  };
  struct Pull {
    api::PullReport report;
    std::uint64_t change = 0;
  };
  // What the last message said: known to the tracker once it is acknowledged.
  struct SentBlob {
    content::Digest digest;
    std::uint64_t change = 0;
    std::vector<content::PieceRange> pieces;
  };
  struct Sent {
    std::uint64_t seq = 0;  // 0: nothing
    std::vector<SentBlob> blobs;
    std::vector<content::Digest> removed;
    std::vector<std::uint64_t> pulls;  // Pull::change of each
    std::size_t peers = 0;
  };

  static bool has_pieces(const Blob& blob);
  void changed(const content::Digest& digest, Blob& blob);
  void clean(Blob& blob);
  // The tracker has to drop what it knows of the blob before it hears of it again.
  void take_back(const content::Digest& digest, Blob& blob);
  void begin_full();
  void add_pulls(api::HeartbeatRequest& message, std::size_t max_bytes);
  void add_peers(api::HeartbeatRequest& message, std::size_t max_bytes);
  void add_removed(api::HeartbeatRequest& message, std::size_t max_bytes);
  void add_blobs(api::HeartbeatRequest& message, std::size_t max_bytes);

  // Constant after construction
  const std::function<void()> hurry_;

  std::unordered_map<content::Digest, Blob> blobs_;
  std::map<std::uint64_t, content::Digest> dirty_;  // blobs with changes, by their oldest one
  std::set<content::Digest> removed_;               // not acknowledged
  std::vector<Pull> pulls_;                         // not acknowledged, oldest first
  std::vector<api::PeerReport> peers_;              // not acknowledged, oldest first
  std::uint64_t changes_ = 0;
  std::uint64_t seq_ = 1;  // of the next message
  bool full_ = true;
  bool left_over_ = false;
  Sent sent_;
};

}  // namespace shoal::agent
