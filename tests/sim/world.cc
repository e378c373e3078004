#include "tests/sim/world.h"

#include <algorithm>
#include <cmath>

#include "core/base/check.h"

namespace shoal::sim {

using content::PieceIndex;
using swarm::BlobId;
using swarm::NodeId;
using swarm::PeerId;

namespace {

constexpr swarm::OriginId kOrigin{0};
// How long it takes until a silent neighbour, or the tracker, is given up.
constexpr double kPeerSilence = 10;
constexpr double kHeartbeatsMissed = 3;

swarm::Topology topology(std::uint32_t rack) {
  return {"region", "zone", std::to_string(rack), ""};
}

}  // namespace

World::World(const Scenario& scenario)
    : scenario_(scenario),
      random_(scenario.seed),
      leases_({}, swarm::Time()),
      selection_({}, scenario.seed) {
  scenario_.origin_rate *= scenario_.goodput;
  scenario_.node_rate *= scenario_.goodput;
  scenario_.rack_rate *= scenario_.goodput;
  ideal_ = static_cast<double>(scenario_.size) / std::min(scenario.origin_rate, scenario.node_rate);
  if (scenario_.time_limit == 0) scenario_.time_limit = 10 * ideal_ + 60;
  std::uint64_t left = scenario_.size;
  for (std::size_t i = 0; i < scenario_.files; ++i) {
    std::uint64_t size = left / (scenario_.files - i);
    layouts_.emplace_back(size);
    left -= size;
  }
  std::uint64_t percent = std::min(scenario_.size / 100, layouts_[0].size());
  first_pieces_ =
      std::max<std::uint32_t>(1, static_cast<std::uint32_t>(percent / layouts_[0].piece_length()));
  origin_first_ = content::PieceSet(first_pieces_);
  setup_nodes();
  setup_faults();
  after(0, [this] { watch_leases(); });
}

swarm::Time World::time() const {
  // The tracker's first heartbeat of silence is over when the fleet starts.
  return swarm::Time(std::chrono::seconds(10)) +
         swarm::Duration(static_cast<std::int64_t>(now_ * 1e9));
}

void World::after(double delay, std::function<void()> act) {
  events_.push({now_ + delay, event_count_++, std::move(act)});
}

void World::setup_nodes() {
  origin_link_ = network_.add_link(scenario_.origin_rate);
  for (std::size_t rack = 0; rack < scenario_.racks; ++rack) {
    double rate = scenario_.rack_rate == 0 ? 1e15 : scenario_.rack_rate;
    rack_in_.push_back(network_.add_link(rate));
    rack_out_.push_back(network_.add_link(rate));
  }
  for (std::size_t i = 0; i < layouts_.size(); ++i) {
    leases_.add_blob(BlobId(static_cast<std::uint32_t>(i)), layouts_[i], kOrigin);
  }
  agents_.resize(scenario_.agents);
  std::vector<std::uint32_t> order(scenario_.agents);
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  auto part = [&](double share) {
    return static_cast<std::size_t>(std::lround(share * static_cast<double>(scenario_.agents)));
  };
  std::size_t dead = part(scenario_.dead_share);
  std::size_t slow = dead + part(scenario_.slow_share);
  std::size_t liars = slow + part(scenario_.liar_share);
  for (std::size_t i = 0; i < order.size(); ++i) {
    Agent& agent = agents_[order[i]];
    agent.dead = i < dead;
    agent.slow = i >= dead && i < slow;
    agent.liar = i >= slow && i < liars;
  }
  for (std::uint32_t node = 0; node < agents_.size(); ++node) {
    Agent& agent = agents_[node];
    agent.rack = static_cast<std::uint32_t>(node * scenario_.racks / scenario_.agents);
    bool second_half =
        scenario_.racks > 1 ? agent.rack >= scenario_.racks / 2 : node >= scenario_.agents / 2;
    agent.side = second_half ? 1 : 0;
    agent.rate = scenario_.node_rate * (agent.slow ? scenario_.slow_factor : 1);
    agent.up = network_.add_link(agent.rate);
    agent.down = network_.add_link(agent.rate);
    double at = scenario_.join_over * node / static_cast<double>(scenario_.agents);
    // Nobody starts in the same instant.
    after(at + random_.unit() * 0.01, [this, node] { join(node); });
  }
}

void World::setup_faults() {
  for (std::uint32_t node = 0; node < agents_.size(); ++node) {
    Agent& agent = agents_[node];
    if (!agent.dead) continue;
    double at = scenario_.dead_at >= 0 ? scenario_.dead_at : random_.unit() * ideal_ / 2;
    agent.dead = false;  // until then
    after(at, [this, node] { die(node); });
  }
  if (scenario_.tracker_lost_at >= 0) {
    after(scenario_.tracker_lost_at * ideal_, [this] { lose_tracker(); });
  }
  if (scenario_.partition_from >= 0) {
    after(scenario_.partition_from, [this] { partition(true); });
    after(scenario_.partition_until, [this] { partition(false); });
  }
}

// --- Life and death ------------------------------------------------------------------------------

void World::join(std::uint32_t node) {
  Agent& agent = agents_[node];
  if (agent.dead) return;
  agent.here = true;
  agent.joined = now_;
  agent.first_percent = content::PieceSet(first_pieces_);
  swarm::Downloads::Options options;
  options.node_key = swarm::rank_hash(node, scenario_.seed, 1);
  agent.downloads = std::make_unique<swarm::Downloads>(options, random_.next());
  agent.files_left = static_cast<std::uint32_t>(layouts_.size());
  ++unfinished_;
  swarm::Class cls = scenario_.streaming ? swarm::Class::kPlan : swarm::Class::kPrefetch;
  for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
    const auto& layout = layouts_[i];
    agent.downloads->add_blob(BlobId(i), layout, i, content::PieceSet(layout.piece_count()), true,
                              time());
    agent.downloads->want(BlobId(i), layout.all_pieces(), cls, swarm::kNever, time());
  }
  agent.wake = now_;
  after(scenario_.latency, [this, node] { register_at_tracker(node); });
}

void World::register_at_tracker(std::uint32_t node) {
  Agent& agent = agents_[node];
  if (!tracker_alive_ || !agent.here || (partitioned_ && agent.side != 0)) return;
  leases_.node_up(NodeId(node), swarm::RackId(agent.rack));
  selection_.join(NodeId(node), topology(agent.rack), swarm::rank_hash(node, scenario_.seed, 1));
  tell_neighbours();
  after(scenario_.latency, [this, node] {
    Agent& there = agents_[node];
    if (!there.here) return;
    there.knows_tracker = true;
    there.downloads->tracker_up(time());
    there.dirty = true;
  });
  after(scenario_.heartbeat * (0.5 + random_.unit()), [this, node] { heartbeat(node); });
}

void World::tell_neighbours() {
  for (NodeId changed : selection_.take_changed()) {
    std::uint32_t node = changed.value();
    for (const swarm::Neighbour& neighbour : selection_.neighbours(changed)) {
      std::uint32_t other = neighbour.node.value();
      auto known = agents_[node].peer_of.find(other);
      if (known != agents_[node].peer_of.end() && agents_[node].peers[known->second].up) continue;
      after(3 * scenario_.latency, [this, node, other] { connect(node, other); });
    }
  }
}

void World::die(std::uint32_t node) {
  Agent& agent = agents_[node];
  if (agent.dead) return;
  bool was_here = agent.here;
  agent.dead = true;
  agent.here = false;
  if (!was_here) return;
  if (agent.completed < 0) --unfinished_;
  update_blocks();
  std::vector<std::uint32_t> others;
  for (const PeerLink& link : agent.peers) {
    if (link.up) others.push_back(link.node);
  }
  double notice = scenario_.dead_close ? scenario_.latency : kPeerSilence;
  after(notice, [this, node, others] {
    for (std::uint32_t other : others) disconnect(other, node);
  });
  after(kHeartbeatsMissed * scenario_.heartbeat, [this, node] {
    if (!tracker_alive_) return;
    leases_.node_down(NodeId(node));
    selection_.leave(NodeId(node));
    tell_neighbours();
  });
  for (std::uint32_t slot = 0; slot < fetches_.size(); ++slot) {
    Fetch& fetch = fetches_[slot];
    if (!fetch.live || fetch.node != node) continue;
    network_.cancel(fetch.connection, slot);
    fetch.live = false;
    free_fetches_.push_back(slot);
  }
  agent.downloads.reset();
  agent.news.clear();
}

bool World::cut(std::uint32_t a, std::uint32_t b) const {
  return partitioned_ && agents_[a].side != agents_[b].side;
}

void World::connect(std::uint32_t a, std::uint32_t b) {
  if (!agents_[a].here || !agents_[b].here || cut(a, b)) return;
  auto slot = [&](std::uint32_t from, std::uint32_t to) {
    Agent& agent = agents_[from];
    auto [it, fresh] =
        agent.peer_of.try_emplace(to, static_cast<std::uint32_t>(agent.peers.size()));
    if (fresh) agent.peers.push_back({to, 0, false, {}});
    return it->second;
  };
  std::uint32_t b_at_a = slot(a, b);
  std::uint32_t a_at_b = slot(b, a);
  if (agents_[a].peers[b_at_a].up) return;
  agents_[a].peers[b_at_a].back = a_at_b;
  agents_[b].peers[a_at_b].back = b_at_a;
  introduce(a, b_at_a);
  introduce(b, a_at_b);
}

// The first have answer: everything the neighbour has.
void World::introduce(std::uint32_t to, std::uint32_t peer_slot) {
  Agent& agent = agents_[to];
  PeerLink& link = agent.peers[peer_slot];
  const Agent& other = agents_[link.node];
  link.up = true;
  auto locality = agent.rack == other.rack ? swarm::Locality::kRack : swarm::Locality::kZone;
  agent.downloads->peer_up(PeerId(peer_slot),
                           {locality, swarm::rank_hash(link.node, scenario_.seed, 1)}, time());
  if (agent.completed < 0) {
    for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
      if (other.downloads->complete(BlobId(i))) {
        agent.downloads->peer_has_all(PeerId(peer_slot), BlobId(i), time());
      } else {
        agent.downloads->peer_has(PeerId(peer_slot), BlobId(i), other.downloads->pieces(BlobId(i)),
                                  time());
      }
    }
  }
  agent.dirty = true;
}

void World::disconnect(std::uint32_t a, std::uint32_t b) {
  for (auto [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    Agent& agent = agents_[from];
    auto it = agent.peer_of.find(to);
    if (it == agent.peer_of.end() || !agent.peers[it->second].up) continue;
    agent.peers[it->second].up = false;
    if (!agent.here) continue;
    agent.downloads->peer_down(PeerId(it->second), time());
    agent.dirty = true;
    for (std::uint32_t slot = 0; slot < fetches_.size(); ++slot) {
      const Fetch& fetch = fetches_[slot];
      if (fetch.live && fetch.node == from &&
          fetch.order.source == swarm::Source::of(PeerId(it->second))) {
        network_.cancel(fetch.connection, slot);
        end_fetch(slot, swarm::Outcome::kDisconnected);
      }
    }
  }
}

void World::partition(bool on) {
  partitioned_ = on;
  update_blocks();
  auto crossing = [this](auto act) {
    for (std::uint32_t a = 0; a < agents_.size(); ++a) {
      for (const PeerLink& link : std::vector<PeerLink>(agents_[a].peers)) {
        if (a < link.node && agents_[a].side != agents_[link.node].side) act(a, link.node);
      }
    }
  };
  after(on ? kPeerSilence / 2 : 1.0, [this, on, crossing] {
    if (partitioned_ != on) return;
    crossing([&](std::uint32_t a, std::uint32_t b) {
      disconnect(a, b);
      if (!on) connect(a, b);
    });
    for (std::uint32_t node = 0; node < agents_.size(); ++node) {
      Agent& agent = agents_[node];
      if (!agent.here || agent.side == 0 || !tracker_alive_) continue;
      if (on) {
        agent.knows_tracker = false;
        agent.downloads->tracker_down(time());
        leases_.node_down(NodeId(node));
      } else if (!agent.knows_tracker) {
        leases_.node_up(NodeId(node), swarm::RackId(agent.rack));
        agent.unreported.clear();
        for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
          content::PieceSet pieces = agent.downloads->pieces(BlobId(i));
          for (auto run = pieces.next_run(PieceIndex(0)); !run.empty();
               run = pieces.next_run(run.end())) {
            leases_.node_has(NodeId(node), BlobId(i), run, time());
          }
        }
        agent.knows_tracker = true;
        agent.downloads->tracker_up(time());
        after(scenario_.heartbeat, [this, node] { heartbeat(node); });
      }
      agent.dirty = true;
    }
  });
}

// Connections whose ends cannot reach one another move nothing.
void World::update_blocks() {
  for (std::uint32_t node = 0; node < agents_.size(); ++node) {
    const Agent& agent = agents_[node];
    for (const PeerLink& link : agent.peers) {
      bool blocked = cut(node, link.node) || agents_[link.node].dead || agent.dead;
      for (const auto& connection : link.connection) {
        if (connection) network_.block(*connection, blocked);
      }
    }
    for (const auto& connection : agent.origin) {
      if (connection) network_.block(*connection, agent.dead || (partitioned_ && agent.side != 0));
    }
  }
}

// --- Tracker -------------------------------------------------------------------------------------

void World::lose_tracker() {
  tracker_alive_ = false;
  for (std::uint32_t node = 0; node < agents_.size(); ++node) {
    after(scenario_.heartbeat * random_.unit(), [this, node] {
      Agent& agent = agents_[node];
      if (!agent.here) return;
      agent.knows_tracker = false;
      agent.downloads->tracker_down(time());
      agent.dirty = true;
    });
  }
}

void World::heartbeat(std::uint32_t node) {
  Agent& agent = agents_[node];
  if (!agent.here || !tracker_alive_ || !agent.knows_tracker) return;
  if (!(partitioned_ && agent.side != 0)) {
    after(scenario_.latency, [this, node, news = std::exchange(agent.unreported, {})] {
      if (!tracker_alive_) return;
      for (const News& item : news) leases_.node_has(NodeId(node), item.blob, item.pieces, time());
      for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
        if (agents_[node].here) leases_.node_active(NodeId(node), BlobId(i), time());
      }
    });
  }
  if (agent.completed < 0 || !agent.unreported.empty()) {
    after(scenario_.heartbeat, [this, node] { heartbeat(node); });
  }
}

// What became of leased pieces goes to the tracker with every ask, and twice a second.
void World::report_progress(std::uint32_t node) {
  Agent& agent = agents_[node];
  agent.progress_due = false;
  if (!agent.here || !agent.knows_tracker || agent.progress.empty()) return;
  after(scenario_.latency, [this, node, news = std::exchange(agent.progress, {})] {
    if (!tracker_alive_ || (partitioned_ && agents_[node].side != 0)) return;
    for (const News& item : news) leases_.node_has(NodeId(node), item.blob, item.pieces, time());
  });
}

// The holders of idle leases ask anew when they come back.
void World::watch_leases() {
  if (!tracker_alive_) return;
  (void)leases_.tick(time());
  after(kProgressInterval, [this] { watch_leases(); });
}

void World::ask(std::uint32_t node, const swarm::LeaseAsk& ask) {
  ++asks_;
  report_progress(node);
  after(scenario_.latency, [this, node, ask] {
    if (!tracker_alive_ || (partitioned_ && agents_[node].side != 0)) return;
    auto answer = leases_.ask(NodeId(node), ask, time());
    after(scenario_.latency, [this, node, kind = ask.kind, blob = ask.blob, answer] {
      Agent& agent = agents_[node];
      if (!agent.here || !agent.knows_tracker) return;
      if (answer.granted.empty()) {
        agent.downloads->lease_denied(kind, blob, answer.refusal, answer.retry_after, time());
      } else {
        agent.downloads->lease_granted(kind, blob, answer.granted, time());
      }
      agent.dirty = true;
    });
  });
}

}  // namespace shoal::sim
