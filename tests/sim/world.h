// The state of one simulated fleet; see simulation.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <unordered_map>
#include <vector>

#include "core/base/random.h"
#include "core/swarm/downloads.h"
#include "core/swarm/lease_table.h"
#include "core/swarm/peer_selection.h"
#include "tests/sim/network.h"
#include "tests/sim/simulation.h"

namespace shoal::sim {

// Thread: one.
class World {
 public:
  explicit World(const Scenario& scenario);
  Report run(const std::function<void(const Progress&)>& watch);

 private:
  using Range = content::PieceRange;
  struct News {
    swarm::BlobId blob;
    Range pieces;
  };
  // A neighbour of an agent, whose PeerId is the place in `peers`.
  struct PeerLink {
    std::uint32_t node = 0;
    std::uint32_t back = 0;  // our PeerId at the neighbour
    bool up = false;
    // Where its bytes come from; by bulk, urgent. Made when first needed.
    std::optional<ConnectionId> connection[2];
  };
  struct Agent {
    std::unique_ptr<swarm::Downloads> downloads;
    std::vector<PeerLink> peers;
    std::unordered_map<std::uint32_t, std::uint32_t> peer_of;  // by node
    // The fetches of its requests, by the part of the request's number that is reused.
    std::vector<std::uint32_t> fetch_of;
    std::optional<ConnectionId> origin[2];
    LinkId up;
    LinkId down;
    std::uint32_t rack = 0;
    std::uint32_t side = 0;  // of a partition
    double rate = 0;
    double joined = 0;
    double completed = -1;
    double wake = 0;
    double have_sent = 0;
    std::uint32_t files_left = 0;
    bool here = false;  // joined and alive
    bool dead = false;
    bool slow = false;
    bool liar = false;
    bool dirty = false;
    bool knows_tracker = false;
    std::vector<std::uint32_t> banned_by;
    std::vector<News> news;        // for neighbours
    std::vector<News> unreported;  // for the tracker
    std::vector<News> progress;  // the part of it that was leased, which the tracker hears earlier
    bool progress_due = false;
    content::PieceSet first_percent;
    double first_percent_at = -1;
  };
  // A request under way.
  struct Fetch {
    std::uint32_t node = 0;
    swarm::StartRequest order;
    std::uint32_t reported = 0;  // pieces
    std::uint64_t counted = 0;   // bytes
    bool live = false;
    ConnectionId connection;
  };
  struct Event {
    double at;
    std::uint64_t order;
    std::function<void()> act;
    friend bool operator>(const Event& a, const Event& b) {
      return std::tie(a.at, a.order) > std::tie(b.at, b.order);
    }
  };

  void after(double delay, std::function<void()> act);
  swarm::Time time() const;

  void setup_nodes();
  void setup_faults();
  void join(std::uint32_t node);
  void die(std::uint32_t node);
  void connect(std::uint32_t a, std::uint32_t b);
  void disconnect(std::uint32_t a, std::uint32_t b);
  void introduce(std::uint32_t to, std::uint32_t peer_slot);
  void partition(bool on);
  bool cut(std::uint32_t a, std::uint32_t b) const;
  void update_blocks();

  void register_at_tracker(std::uint32_t node);
  void tell_neighbours();
  void heartbeat(std::uint32_t node);
  void report_progress(std::uint32_t node);
  void watch_leases();
  void ask(std::uint32_t node, const swarm::LeaseAsk& ask);
  void lose_tracker();

  void decide(std::uint32_t node);
  void carry_out(std::uint32_t node, const swarm::StartRequest& order);
  void cancel(std::uint32_t node, swarm::RequestId id);
  static std::uint32_t slot_of(swarm::RequestId id) {
    return static_cast<std::uint32_t>(id.value());
  }
  void end_fetch(std::uint32_t slot, swarm::Outcome outcome);
  void delivered(const Network::Delivery& delivery);
  void verified(std::uint32_t node, swarm::BlobId blob, Range pieces);
  void send_news(std::uint32_t node);
  static constexpr double kProgressInterval = 0.5;  // of leases, to the tracker

  static void add_news(std::vector<News>& to, swarm::BlobId blob, Range pieces);
  bool done() const;
  Report report();

  Scenario scenario_;
  SeededRandom random_;
  double now_ = 0;
  double ideal_ = 0;
  Network network_;
  LinkId origin_link_;
  std::vector<LinkId> rack_in_;
  std::vector<LinkId> rack_out_;
  std::vector<content::BlobLayout> layouts_;
  std::vector<Agent> agents_;
  std::vector<Fetch> fetches_;
  std::vector<std::uint32_t> free_fetches_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t event_count_ = 0;
  std::vector<swarm::Action> actions_;

  swarm::LeaseTable leases_;
  swarm::PeerSelection selection_;
  bool tracker_alive_ = true;
  bool partitioned_ = false;

  double moved_bytes_ = 0;
  double origin_bytes_ = 0;
  double cross_rack_bytes_ = 0;
  std::uint32_t first_pieces_ = 0;  // of the first 1 %, in the first file
  content::PieceSet origin_first_;
  double origin_first_at_ = -1;
  std::size_t unfinished_ = 0;
  std::uint64_t asks_ = 0;
  std::size_t banned_liars_ = 0;
  std::size_t banned_honest_ = 0;
};

}  // namespace shoal::sim
