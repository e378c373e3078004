// Brings the pieces of blobs that are wanted here into the store: carries out what swarm::Downloads
// decides over the lane and from origins, follows neighbours' have-maps, and keeps leases.
#pragma once

#include "core/async/task.h"

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/lane/lane_client.h"
#include "agent/mailbox.h"
#include "agent/origin/origin_reader.h"
#include "agent/swarm/hash_book.h"
#include "agent/swarm/have_poller.h"
#include "agent/swarm/inventory.h"
#include "agent/swarm/lease_keeper.h"
#include "agent/transfer.h"
#include "core/api/catalogue.h"
#include "core/api/node.h"
#include "core/async/task_group.h"
#include "core/base/thread_check.h"
#include "core/content/digest.h"
#include "core/http/client.h"
#include "core/store/blob.h"
#include "core/swarm/downloads.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Fetcher final : public HavePoller::Listener, public LeaseKeeper::Listener, OneThreadOnly {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    // New verified pieces of a blob. `bytes` of them were not here before.
    virtual void pieces_arrived(const content::Digest& blob, content::PieceRange pieces,
                                std::uint64_t bytes, bool from_origin) = 0;
    // All pieces are here; the blob is not fetched any more.
    virtual void blob_arrived(const content::Digest& blob) = 0;
    // A neighbour could not be used; the tracker should know.
    virtual void peer_fault(const api::PeerReport& report) = 0;
  };

  struct Options {
    std::string node;
    std::shared_ptr<http::TlsContext> tls;  // null: plain
    api::Topology topology;
    Rate download_limit;
    std::size_t max_peers = 30;
  };

  Fetcher(Executor executor, LaneClient& lane, OriginReader& origins, Inventory& inventory,
          HashBook& hashes, LeaseKeeper::Tracker& tracker, Listener& listener, Options options);
  ~Fetcher();

  // Makes the blob one that can be wanted. `origins` are what the catalogue has of it, those this
  // node cannot read included; of each the version that was published is read. A blob that is here
  // already gets what is new.
  void add(std::shared_ptr<store::Blob> blob, const std::vector<api::Origin>& origins,
           std::string pull_id);
  bool contains(const content::Digest& blob) const { return ids_.contains(blob); }

  // Demand for pieces of an added blob.
  void want(const content::Digest& blob, content::PieceRange pieces, swarm::Class cls,
            swarm::Time deadline);
  // Ends the demand of a class.
  void unwant(const content::Digest& blob, swarm::Class cls);
  // Ends all demand; running transfers are cancelled.
  void remove(const content::Digest& blob);
  // Stored pieces came or went by another way than a transfer.
  void pieces_added(const content::Digest& blob, content::PieceRange pieces);
  void pieces_lost(const content::Digest& blob, const content::PieceSet& pieces);

  // What transfers reported, in order.
  void transfers(std::vector<TransferEvent>& events);

  // Whom the tracker names. Peers it does not name any more are kept while they answer and
  // something is wanted, up to max_peers.
  void set_neighbours(const std::vector<api::Neighbour>& neighbours);
  void tracker_up();
  void tracker_down();
  std::vector<api::HeldLease> held_leases() const { return leases_.held(); }
  void leases_lost(const std::vector<api::HeldLease>& lost);

  struct SourceReport {
    std::string kind;  // "peer" or "origin"
    std::string name;  // node id, or the origin's URL without its query
    double rate = 0;   // bytes per second
    std::uint64_t in_flight = 0;
    std::uint64_t bytes = 0;
  };
  struct Report {
    swarm::Explanation swarm;
    std::vector<SourceReport> sources;     // used or usable for the blob
    std::vector<std::string> last_errors;  // newest last
    // What last went wrong at the origin, with a peer, and in this node's store, unless bytes have
    // come from there since.
    std::string origin_error, peer_error, store_error;
    std::optional<swarm::Outcome> origin_outcome;  // with origin_error: what it came to
  };
  // Nothing for a blob that is not added.
  std::optional<Report> explain(const content::Digest& blob) const;

  // Peers that answer.
  std::size_t peers_up() const;
  // Of a peer that answers and may hold what is fetched, with its address: for piece tables.
  std::vector<PeerAddress> peers() const;

  Task<void> stop();

 private:
  struct Blob {
    std::shared_ptr<store::Blob> stored;
    std::vector<std::string> origins;  // URLs of those this node can read
    std::size_t next_origin = 0;
    std::string pull_id;
    std::vector<std::string> errors;  // the last few
    std::string origin_error, peer_error, store_error;
    swarm::Outcome origin_outcome = swarm::Outcome::kFinished;
    bool etag_told = false;
    bool held = false;         // its bytes could not be stored a moment ago
    unsigned changes = 0;      // how often in a row the origins had another file
    bool looks_again = false;  // at the origins, after a change, when its time has come
    std::uint64_t round = 0;   // changes with what is known of its origins' versions
  };
  struct Peer {
    PeerAddress address;
    std::string epoch;
    api::Topology topology;
    std::unique_ptr<HavePoller> poller;
    bool listed = false;  // the tracker names it
    bool up = false;
    bool leaving = false;                  // its poller is ending
    std::shared_ptr<http::Client> hashes;  // shared with the calls under way; null until needed
  };
  struct Running {
    swarm::BlobId blob;
    swarm::Source source = swarm::Source::origin();
    std::string origin;       // URL, for origins
    std::uint64_t round = 0;  // the blob's when it began
    content::PieceRange pieces;
    bool asks_hashes = false;  // its transfer has not begun, or has ended, for the hashes
    bool cancelled = false;    // meanwhile
  };

  // HavePoller::Listener
  std::vector<std::uint64_t> interest() override;
  std::chrono::milliseconds gather() override;
  void peer_answers(const PeerAddress& peer) override;
  void peer_news(const PeerAddress& peer, std::vector<swarm::HaveEntry> entries) override;
  void peer_silent(const PeerAddress& peer, const Error& error) override;
  // LeaseKeeper::Listener
  void lease_answered(const swarm::LeaseAsk& ask, const api::LeaseAnswer& answer) override;
  void origin_changed(const content::Digest& blob) override;

  void interest_changed();
  std::optional<swarm::PeerId> find_peer(const PeerAddress& address) const;
  std::string peer_name(swarm::PeerId id) const;
  void add_peer(const api::Neighbour& neighbour, const PeerAddress& address);
  void drop_peer(swarm::PeerId id);
  Task<void> follow(swarm::PeerId id, HavePoller* poller);
  void trim_peers();

  void on_verified(const TransferEvent& event);
  void on_ended(const TransferEvent& event);
  void on_failed(swarm::BlobId id, const Running& running, const TransferEvent& event);
  Task<void> end_hold(content::Digest digest);
  void not_that_file(swarm::BlobId id);
  Task<void> look_at_origin_again(content::Digest digest, std::uint64_t round,
                                  std::chrono::milliseconds after);
  void note_error(Blob& blob, std::string text);
  void finish_if_complete(swarm::BlobId id);

  void schedule();
  void decide();
  void start(const swarm::StartRequest& request);
  Task<void> fetch_hashes_first(Transfer transfer, swarm::PeerId peer);
  Task<void> judge(TransferEvent event, std::shared_ptr<store::Blob> blob,
                   content::PieceRange pieces, swarm::PeerId peer);
  void close_hash_clients();
  Task<Result<std::string>> ask_hashes(swarm::PeerId peer, content::Digest blob,
                                       content::PieceRange pieces);
  void cancel(const swarm::CancelRequest& request);
  void ban(const swarm::BanPeer& ban);
  void forget_blob(swarm::BlobId id);

  // Constant after construction
  const Executor executor_;
  LaneClient& lane_;
  OriginReader& origins_;
  Inventory& inventory_;
  HashBook& hashes_;
  Listener& listener_;
  const Options options_;

  swarm::Downloads downloads_;
  LeaseKeeper leases_;
  TaskGroup tasks_;
  Event stop_;
  asio::steady_timer timer_;
  bool scheduled_ = false;  // decide() is posted
  bool stopped_ = false;
  std::vector<swarm::Action> actions_;

  std::unordered_map<content::Digest, swarm::BlobId> ids_;
  std::unordered_map<swarm::BlobId, Blob> blobs_;
  std::unordered_map<std::uint64_t, swarm::BlobId> by_key_;  // blob_key()
  std::vector<std::uint32_t> free_blobs_, freed_blobs_;      // freed: reusable after decide()
  std::uint32_t next_blob_ = 0;

  std::vector<std::unique_ptr<Peer>> peers_;             // by PeerId; null: free
  std::unordered_map<std::string, swarm::Time> banned_;  // by node id
  std::unordered_map<swarm::RequestId, Running> running_;
};

}  // namespace shoal::agent
