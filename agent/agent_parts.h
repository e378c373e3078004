// The parts of a running agent and what passes between them. Kept apart from agent.h so that main()
// and tests of the whole need not see every part's header.
#pragma once

#include "core/async/task.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent/bittorrent/seeder.h"
#include "agent/blob_cache.h"
#include "agent/control/local_api.h"
#include "agent/lane/lane_client.h"
#include "agent/lane/lane_server.h"
#include "agent/lane/lane_threads.h"
#include "agent/lane/upload_gate.h"
#include "agent/mailbox.h"
#include "agent/mirror/mirror.h"
#include "agent/model/ingests.h"
#include "agent/model/last_copies.h"
#include "agent/model/library.h"
#include "agent/model/publications.h"
#include "agent/model/publisher.h"
#include "agent/model/pulls.h"
#include "agent/model/settler.h"
#include "agent/model/table_finder.h"
#include "agent/model/verifies.h"
#include "agent/model/whole_checks.h"
#include "agent/model/witness.h"
#include "agent/origin/origin_reader.h"
#include "agent/origin/origins.h"
#include "agent/settings.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/hash_book.h"
#include "agent/swarm/have_board.h"
#include "agent/swarm/inventory.h"
#include "agent/swarm/readers.h"
#include "agent/tracker/catalogue_client.h"
#include "agent/tracker/tracker_link.h"
#include "core/async/blocking_pool.h"
#include "core/async/task_group.h"
#include "core/daemon/admin.h"
#include "core/http/tls.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread, but for store::BlobListener, which any thread calls.
class AgentParts final : public store::BlobListener,
                         public Fetcher::Listener,
                         public LeaseKeeper::Tracker,
                         public TrackerLink::Listener {
 public:
  AgentParts(Executor executor, const Settings& settings, std::shared_ptr<http::TlsContext> tls,
             std::unique_ptr<Origins> origins);
  ~AgentParts() override;

  // Opens the store and everything that builds on it. Blocks on the disk.
  Status open();
  // Listens and begins to talk to the tracker.
  Status listen();
  Task<void> stop(Deadline deadline);
  void reload_certificates();

 private:
  // store::BlobListener
  void pieces_ready(const content::Digest& blob, content::PieceRange pieces,
                    bool complete) override;
  void pieces_lost(const content::Digest& blob, const content::PieceSet& pieces) override;
  void blob_evicted(const content::Digest& blob) override;
  // Fetcher::Listener
  void pieces_arrived(const content::Digest& blob, content::PieceRange pieces, std::uint64_t bytes,
                      bool from_origin) override;
  void blob_arrived(const content::Digest& blob) override;
  void peer_fault(const api::PeerReport& report) override;
  // LeaseKeeper::Tracker
  Task<Result<api::LeaseResponse>> leases(api::LeaseRequest request, Deadline deadline) override;
  // TrackerLink::Listener
  void tracker_up(const std::string& tracker_epoch) override;
  void tracker_down(const Error& why) override;
  void orders(const api::EventsResponse::Orders& orders) override;
  void neighbours(const std::vector<api::Neighbour>& neighbours) override;
  void trust(const api::EventTrust& trust) override;
  void leases_lost(const std::vector<api::HeldLease>& lost) override;
  std::vector<api::HeldLease> held_leases() override;
  std::vector<api::PullReport> pull_reports(bool full) override;
  api::StoreUsage store_usage() override;

  struct Lost {
    content::Digest blob;
    content::PieceSet pieces;
  };

  void take_stock();
  void on_lost(std::vector<Lost>& lost);
  void on_evicted(std::vector<content::Digest>& evicted);
  Task<void> repair(content::Digest blob);
  Task<void> take_back(content::Digest digest);
  Task<void> withdraw(content::Digest blob, content::Hash32 root, std::string signer);
  Task<Status> vouch(content::PieceTable table);
  Task<Status> tell(api::Verdict verdict);
  Task<void> recheck();
  Task<void> maintain();
  Status start_seeding();
  Task<void> drop_forgotten();
  Task<void> measure();
  LocalApi::Standing standing() const;
  Status start_mirror();

  // Constant after construction
  const Executor executor_;
  const Settings& settings_;
  const std::string epoch_;
  const std::shared_ptr<http::TlsContext> tls_;  // null: plain
  const std::unique_ptr<Origins> sources_;

  // In order of construction; stop() goes backwards.
  BlockingPool pool_;
  LaneThreads lane_threads_;
  Mailbox<Lost> lost_;
  Mailbox<content::Digest> evicted_;
  Mailbox<TransferEvent> transfers_;
  std::unique_ptr<store::BlobStore> store_;
  std::unique_ptr<BlobCache> blobs_;
  std::unique_ptr<Library> library_;
  UploadGate gate_;
  HaveBoard board_;
  TrackerLink link_;
  LastCopies copies_;
  CatalogueClient catalogue_;
  Inventory inventory_;
  OriginReader origins_;
  LaneClient lane_client_;
  HashBook hashes_;
  Fetcher fetcher_;
  Readers readers_;
  Witness witness_;
  TableFinder tables_;
  std::unique_ptr<OrderPins> order_pins_;
  std::unique_ptr<Settler> settler_;
  std::unique_ptr<Pulls> pulls_;
  std::unique_ptr<Ingests> ingests_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<Publications> publications_;
  std::unique_ptr<WholeChecks> whole_;
  std::unique_ptr<Verifies> verifies_;
  std::unique_ptr<LaneServer> lane_server_;
  std::unique_ptr<LocalApi> local_;
  std::unique_ptr<Mirror> mirror_;                // null: off
  std::atomic<Mirror*> told_of_pieces_{nullptr};  // the same, for any thread, once it listens
  std::unique_ptr<bittorrent::Seeder> seeder_;    // null: not asked for
  daemon::AdminEndpoint admin_;
  TaskGroup tasks_;
  Event stop_;

  // For status: bytes since the last measure(), and the rates it found.
  std::uint64_t peers_bytes_ = 0;
  std::uint64_t origin_bytes_ = 0;
  double peers_rate_ = 0;
  double origin_rate_ = 0;
  double upload_rate_ = 0;
};

}  // namespace shoal::agent
