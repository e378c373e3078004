// What moves: requests, pieces, have updates; the main loop; the report.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "core/base/check.h"
#include "tests/sim/world.h"

namespace shoal::sim {

using content::PieceIndex;
using swarm::BlobId;
using swarm::Outcome;
using swarm::PeerId;

namespace {

constexpr std::uint64_t kWatchSteps = 100;

}  // namespace

void World::decide(std::uint32_t node) {
  Agent& agent = agents_[node];
  actions_.clear();
  agent.downloads->decide(time(), actions_);
  agent.dirty = false;
  std::vector<swarm::Action> actions = std::move(actions_);
  for (const swarm::Action& action : actions) {
    if (const auto* start = std::get_if<swarm::StartRequest>(&action)) {
      carry_out(node, *start);
    } else if (const auto* stop = std::get_if<swarm::CancelRequest>(&action)) {
      cancel(node, stop->id);
    } else if (const auto* lease = std::get_if<swarm::AskLease>(&action)) {
      ask(node, lease->ask);
    } else if (const auto* given = std::get_if<swarm::ReleaseLease>(&action)) {
      leases_.release(swarm::NodeId(node), given->kind, given->blob, given->pieces);
    } else if (const auto* ban = std::get_if<swarm::BanPeer>(&action)) {
      std::uint32_t other = agent.peers[ban->peer.value()].node;
      ++(agents_[other].liar ? banned_liars_ : banned_honest_);
      // Two witnesses convince the tracker.
      auto& witnesses = agents_[other].banned_by;
      witnesses.push_back(node);
      if (witnesses.size() == 2) {
        after(scenario_.latency, [this, other] { leases_.distrust(swarm::NodeId(other)); });
      }
      // This agent is through with it; the other one may still read from us.
      agent.downloads->peer_down(ban->peer, time());
      agent.peers[ban->peer.value()].up = false;
      for (std::uint32_t slot = 0; slot < fetches_.size(); ++slot) {
        const Fetch& fetch = fetches_[slot];
        if (fetch.live && fetch.node == node &&
            fetch.order.source == swarm::Source::of(ban->peer)) {
          network_.cancel(fetch.connection, slot);
          end_fetch(slot, Outcome::kDisconnected);
        }
      }
    }
  }
  actions_ = std::move(actions);
  swarm::Time wake = agent.downloads->next_wake();
  agent.wake = wake == swarm::kNever ? std::numeric_limits<double>::infinity()
                                     : now_ + std::chrono::duration<double>(wake - time()).count();
}

void World::carry_out(std::uint32_t node, const swarm::StartRequest& order) {
  Agent& agent = agents_[node];
  std::optional<ConnectionId>* connection = nullptr;
  double latency = scenario_.latency;
  bool blocked = false;
  if (order.source.is_origin()) {
    connection = &agent.origin[order.urgent ? 1 : 0];
    latency = scenario_.origin_latency;
    if (!*connection) {
      *connection = network_.connect({origin_link_, rack_in_[agent.rack], agent.down});
    }
    blocked = partitioned_ && agent.side != 0;
  } else {
    PeerLink& link = agent.peers[order.source.peer().value()];
    const Agent& other = agents_[link.node];
    connection = &link.connection[order.urgent ? 1 : 0];
    if (!*connection) {
      std::vector<LinkId> path = {other.up, agent.down};
      if (other.rack != agent.rack) {
        path = {other.up, rack_out_[other.rack], rack_in_[agent.rack], agent.down};
      }
      *connection = network_.connect(std::move(path));
    }
    blocked = other.dead || cut(node, link.node);
  }
  if (blocked) network_.block(**connection, true);
  std::uint32_t slot = 0;
  if (free_fetches_.empty()) {
    slot = static_cast<std::uint32_t>(fetches_.size());
    fetches_.emplace_back();
  } else {
    slot = free_fetches_.back();
    free_fetches_.pop_back();
  }
  fetches_[slot] = Fetch{node, order, 0, 0, true, **connection};
  if (slot_of(order.id) >= agent.fetch_of.size()) agent.fetch_of.resize(slot_of(order.id) + 1);
  agent.fetch_of[slot_of(order.id)] = slot;
  network_.request(**connection, slot, layouts_[order.blob.value()].range_of(order.pieces).length,
                   now_ + latency);
}

void World::cancel(std::uint32_t node, swarm::RequestId id) {
  const Agent& agent = agents_[node];
  if (slot_of(id) >= agent.fetch_of.size()) return;
  std::uint32_t slot = agent.fetch_of[slot_of(id)];
  const Fetch& fetch = fetches_[slot];
  if (!fetch.live || fetch.node != node || fetch.order.id != id) return;
  network_.cancel(fetch.connection, slot);
  end_fetch(slot, Outcome::kCancelled);
}

void World::end_fetch(std::uint32_t slot, Outcome outcome) {
  Fetch& fetch = fetches_[slot];
  fetch.live = false;
  free_fetches_.push_back(slot);
  Agent& agent = agents_[fetch.node];
  agent.downloads->request_ended(fetch.order.id, outcome, {}, time());
  agent.dirty = true;
}

void World::delivered(const Network::Delivery& delivery) {
  auto slot = static_cast<std::uint32_t>(delivery.tag);
  Fetch& fetch = fetches_[slot];
  std::uint32_t node = fetch.node;
  Agent& agent = agents_[node];
  const swarm::StartRequest order = fetch.order;
  const content::BlobLayout& layout = layouts_[order.blob.value()];
  double bytes = static_cast<double>(delivery.done - fetch.counted);
  fetch.counted = delivery.done;
  moved_bytes_ += bytes;
  bool lies = false;
  bool leased = order.source.is_origin();
  if (order.source.is_origin()) {
    origin_bytes_ += bytes;
    cross_rack_bytes_ += bytes;
  } else {
    const Agent& other = agents_[agent.peers[order.source.peer().value()].node];
    leased = other.rack != agent.rack;
    if (leased) cross_rack_bytes_ += bytes;
    lies = other.liar;
  }
  std::uint32_t pieces = delivery.finished
                             ? order.pieces.count
                             : static_cast<std::uint32_t>(delivery.done / layout.piece_length());
  if (pieces > fetch.reported) {
    if (lies) {
      network_.cancel(fetch.connection, slot);
      end_fetch(slot, Outcome::kCorrupt);
      return;
    }
    Range fresh{order.pieces.first + fetch.reported, pieces - fetch.reported};
    fetch.reported = pieces;
    if (order.source.is_origin() && order.blob == BlobId(0) && origin_first_at_ < 0) {
      for (PieceIndex piece : fresh) {
        if (piece.value() < first_pieces_) origin_first_.set(piece);
      }
      if (origin_first_.all()) origin_first_at_ = now_;
    }
    agent.downloads->pieces_verified(order.id, fresh, time());
    verified(node, order.blob, fresh);
    if (leased) {
      add_news(agent.progress, order.blob, fresh);
      if (!agent.progress_due) {
        agent.progress_due = true;
        after(kProgressInterval, [this, node] { report_progress(node); });
      }
    }
    agent.dirty = true;
  } else if (bytes > 0) {
    agent.downloads->request_active(order.id, time());
  }
  if (delivery.finished) end_fetch(slot, Outcome::kFinished);
}

void World::add_news(std::vector<News>& to, BlobId blob, Range pieces) {
  // Most often the next pieces of a request that was heard of a moment ago.
  for (std::size_t i = to.size(); i > 0 && i + 8 > to.size(); --i) {
    News& last = to[i - 1];
    if (last.blob == blob && last.pieces.end() == pieces.first) {
      last.pieces.count += pieces.count;
      return;
    }
  }
  to.push_back({blob, pieces});
}

void World::verified(std::uint32_t node, BlobId blob, Range pieces) {
  Agent& agent = agents_[node];
  add_news(agent.news, blob, pieces);
  add_news(agent.unreported, blob, pieces);
  if (blob == BlobId(0) && agent.first_percent_at < 0) {
    for (PieceIndex piece : pieces) {
      if (piece.value() < first_pieces_) agent.first_percent.set(piece);
    }
    if (agent.first_percent.all()) agent.first_percent_at = now_;
  }
  if (agent.completed >= 0 || !agent.downloads->complete(blob)) return;
  agent.files_left = 0;
  for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
    agent.files_left += !agent.downloads->complete(BlobId(i));
  }
  if (agent.files_left == 0) {
    agent.completed = now_;
    --unfinished_;
  }
}

// One have update for all neighbours.
void World::send_news(std::uint32_t node) {
  Agent& agent = agents_[node];
  agent.have_sent = now_;
  auto batch = std::make_shared<std::vector<News>>(std::move(agent.news));
  agent.news = {};
  after(scenario_.latency, [this, node, batch] {
    for (const PeerLink& link : agents_[node].peers) {
      Agent& other = agents_[link.node];
      if (!other.here || other.completed >= 0 || cut(node, link.node)) continue;
      if (!other.peers[link.back].up) continue;
      for (const News& item : *batch) {
        other.downloads->peer_has(PeerId(link.back), item.blob, item.pieces, time());
      }
      other.dirty = true;
    }
  });
}

bool World::done() const {
  if (unfinished_ != 0) return false;
  for (const Agent& agent : agents_) {
    if (!agent.here && !agent.dead) return false;  // still to come
  }
  return true;
}

Report World::run(const std::function<void(const Progress&)>& watch) {
  for (std::uint64_t steps = 0; !done() && now_ < scenario_.time_limit; ++steps) {
    if (watch && steps % kWatchSteps == 0) {
      watch({now_, static_cast<std::uint64_t>(moved_bytes_), unfinished_});
    }
    double end = now_ + scenario_.step;
    while (!events_.empty() && events_.top().at < end) {
      now_ = std::max(now_, events_.top().at);
      auto act = std::move(const_cast<Event&>(events_.top()).act);
      events_.pop();
      act();
    }
    double start = end - scenario_.step;
    now_ = end;
    for (const Network::Delivery& delivery : network_.advance(start, scenario_.step)) {
      if (fetches_[delivery.tag].live) delivered(delivery);
    }
    for (std::uint32_t node = 0; node < agents_.size(); ++node) {
      Agent& agent = agents_[node];
      if (!agent.here) continue;
      if ((agent.dirty || agent.wake <= now_) && agent.completed < 0) decide(node);
      if (!agent.news.empty() && now_ - agent.have_sent >= scenario_.have_interval) {
        send_news(node);
      }
    }
  }
  return report();
}

Report World::report() {
  Report out;
  out.ideal = ideal_;
  out.end = now_;
  for (std::uint32_t node = 0; node < agents_.size(); ++node) {
    const Agent& agent = agents_[node];
    if (agent.dead || !agent.here) continue;
    double factor = agent.slow ? scenario_.slow_factor : 1;
    double rate = std::min(scenario_.origin_rate, scenario_.node_rate * factor) / scenario_.goodput;
    double ideal = static_cast<double>(scenario_.size) / rate;
    double ratio = agent.completed < 0 ? std::numeric_limits<double>::infinity()
                                       : (agent.completed - agent.joined) / ideal;
    out.vs_ideal.push_back(ratio);
    if (!agent.slow && !agent.liar) out.vs_ideal_healthy.push_back(ratio);
    if (agent.completed < 0) {
      ++out.unfinished;
      if (out.first_unfinished.empty()) {
        for (std::uint32_t i = 0; i < layouts_.size(); ++i) {
          swarm::Explanation why = agent.downloads->explain(BlobId(i), time());
          if (why.wait == swarm::Explanation::Wait::kNothing) continue;
          out.first_unfinished = "node " + std::to_string(node) + " file " + std::to_string(i) +
                                 ": waits for " + std::string(wait_name(why.wait)) + ", has " +
                                 std::to_string(why.pieces_have) + " of " +
                                 std::to_string(why.pieces_total) + ", sources " +
                                 std::to_string(why.sources);
          break;
        }
      }
    } else if (scenario_.streaming) {
      out.first_percent_lag =
          std::max(out.first_percent_lag, agent.first_percent_at - origin_first_at_);
    }
    const auto& counters = agent.downloads->counters();
    out.sum.requests += counters.requests;
    out.sum.hedges += counters.hedges;
    out.sum.failures += counters.failures;
    out.sum.stalls += counters.stalls;
    out.sum.bans += counters.bans;
    out.sum.bytes_peers += counters.bytes_peers;
    out.sum.bytes_other_rack += counters.bytes_other_rack;
    out.sum.bytes_origin += counters.bytes_origin;
    out.sum.bytes_duplicate += counters.bytes_duplicate;
  }
  std::sort(out.vs_ideal.begin(), out.vs_ideal.end());
  std::sort(out.vs_ideal_healthy.begin(), out.vs_ideal_healthy.end());
  auto size = static_cast<double>(scenario_.size);
  out.origin_ratio = origin_bytes_ / size;
  out.cross_rack_ratio = cross_rack_bytes_ / (size * static_cast<double>(scenario_.racks));
  out.asks = asks_;
  out.events = event_count_;
  out.banned_liars = banned_liars_;
  out.banned_honest = banned_honest_;
  return out;
}

double Report::slowest() const { return vs_ideal.empty() ? 0 : vs_ideal.back(); }

double Report::quantile(double q) const {
  if (vs_ideal.empty()) return 0;
  auto last = static_cast<double>(vs_ideal.size() - 1);
  return vs_ideal[static_cast<std::size_t>(q * last + 0.5)];
}

Report simulate(const Scenario& scenario, const std::function<void(const Progress&)>& watch) {
  return World(scenario).run(watch);
}

}  // namespace shoal::sim
