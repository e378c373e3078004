// The fetcher's dealings with others: whom it follows, what they have, what the tracker leases.
#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "agent/swarm/fetcher.h"
#include "core/base/log.h"
#include "core/base/metrics.h"

namespace shoal::agent {
namespace {

// A peer that sent bad bytes is not used for so long, whatever the tracker says.
constexpr std::chrono::minutes kBanTime{10};

swarm::Time now() { return std::chrono::steady_clock::now(); }

swarm::Locality locality(const api::Topology& a, const api::Topology& b) {
  return swarm::locality_between({a.region, a.zone, a.rack, a.host},
                                 {b.region, b.zone, b.rack, b.host});
}

swarm::LeaseRefusal refusal_of(api::LeaseReason reason) {
  switch (reason) {
    case api::LeaseReason::kStarting:
      return swarm::LeaseRefusal::kStarting;
    case api::LeaseReason::kBusy:
      return swarm::LeaseRefusal::kBusy;
    case api::LeaseReason::kGranted:  // granted nothing: the same to the asker
    case api::LeaseReason::kTaken:
      return swarm::LeaseRefusal::kTaken;
    case api::LeaseReason::kNoOrigin:
      return swarm::LeaseRefusal::kNoOrigin;
  }
  return swarm::LeaseRefusal::kTaken;
}

}  // namespace

void Fetcher::ban(const swarm::BanPeer& ban) {
  static metrics::Counter& bans = metrics::counter("shoal_agent_banned_peers_total",
                                                   "Peers cut off because they sent bad bytes.");
  bans.add();
  std::size_t index = ban.peer.value();
  if (index >= peers_.size() || !peers_[index]) return;
  const Peer& peer = *peers_[index];
  auto blob = blobs_.find(ban.blob);
  std::string digest = blob == blobs_.end() ? "" : blob->second.stored->digest().str();
  log::error("peer sent bad bytes and is cut off",
             {{"peer", peer.address.node}, {"digest", digest}, {"piece", ban.piece.value()}});
  banned_[peer.address.node] = now() + kBanTime;
  listener_.peer_fault({peer.address.node, peer.epoch, api::PeerFault::kBadBytes,
                        "piece " + std::to_string(ban.piece.value()) + " of " + digest});
  drop_peer(ban.peer);
}

// --- Peers
// -----------------------------------------------------------------------------------------

std::vector<std::uint64_t> Fetcher::interest() {
  std::vector<std::uint64_t> keys;
  keys.reserve(by_key_.size());
  for (const auto& [key, id] : by_key_) keys.push_back(key);
  return keys;
}

std::chrono::milliseconds Fetcher::gather() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(downloads_.news_interval());
}

void Fetcher::interest_changed() {
  // Gathered: a pull adds its blobs one after the other.
  asio::post(executor_, [this] {
    if (stopped_) return;
    for (const auto& peer : peers_) {
      if (peer && !peer->leaving) peer->poller->interest_changed();
    }
  });
}

std::optional<swarm::PeerId> Fetcher::find_peer(const PeerAddress& address) const {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i] && !peers_[i]->leaving && peers_[i]->address == address) {
      return swarm::PeerId(static_cast<std::uint32_t>(i));
    }
  }
  return std::nullopt;
}

void Fetcher::set_neighbours(const std::vector<api::Neighbour>& neighbours) {
  assert_owner_thread();
  if (stopped_) return;
  for (const auto& peer : peers_) {
    if (peer) peer->listed = false;
  }
  for (const api::Neighbour& neighbour : neighbours) {
    auto lane = http::parse_host_port(neighbour.address);
    if (!lane || neighbour.node == options_.node) continue;
    if (auto it = banned_.find(neighbour.node); it != banned_.end()) {
      if (it->second > now()) continue;
      banned_.erase(it);
    }
    PeerAddress address{neighbour.node, *lane};
    if (auto known = find_peer(address)) {
      peers_[known->value()]->listed = true;
      peers_[known->value()]->epoch = neighbour.epoch;
    } else {
      add_peer(neighbour, address);
    }
  }
  trim_peers();
}

void Fetcher::add_peer(const api::Neighbour& neighbour, const PeerAddress& address) {
  std::size_t index = 0;
  while (index < peers_.size() && peers_[index]) ++index;
  if (index == peers_.size()) peers_.emplace_back();
  peers_[index] = std::make_unique<Peer>();
  Peer& peer = *peers_[index];
  peer.address = address;
  peer.epoch = neighbour.epoch;
  peer.topology = neighbour.topology;
  peer.listed = true;
  peer.poller = std::make_unique<HavePoller>(
      executor_, HavePoller::Options{address, options_.node, options_.tls}, *this);
  HavePoller* poller = peer.poller.get();
  tasks_.spawn("have " + address.node,
               follow(swarm::PeerId(static_cast<std::uint32_t>(index)), poller),
               [poller] { poller->close(); });
}

Task<void> Fetcher::follow(swarm::PeerId id, HavePoller* poller) {
  co_await poller->run();
  peers_[id.value()].reset();
}

void Fetcher::drop_peer(swarm::PeerId id) {
  Peer& peer = *peers_[id.value()];
  if (peer.leaving) return;
  peer.leaving = true;
  if (peer.up) downloads_.peer_down(id, now());
  peer.up = false;
  lane_.drop_peer(peer.address);
  peer.poller->close();
  schedule();
}

// Lets go of peers that the tracker does not name: at once if they are silent, else when there are
// more than max_peers.
void Fetcher::trim_peers() {
  std::size_t count = 0;
  for (const auto& peer : peers_) count += peer && !peer->leaving ? 1 : 0;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (!peers_[i] || peers_[i]->leaving || peers_[i]->listed) continue;
    if (peers_[i]->up && count <= options_.max_peers && !blobs_.empty()) continue;
    drop_peer(swarm::PeerId(static_cast<std::uint32_t>(i)));
    --count;
  }
}

void Fetcher::peer_answers(const PeerAddress& address) {
  auto id = find_peer(address);
  if (!id) return;
  Peer& peer = *peers_[id->value()];
  peer.up = true;
  downloads_.peer_up(
      *id, {locality(options_.topology, peer.topology), swarm::node_key(address.node)}, now());
  schedule();
}

void Fetcher::peer_news(const PeerAddress& address, std::vector<swarm::HaveEntry> entries) {
  auto peer = find_peer(address);
  if (!peer) return;
  for (const swarm::HaveEntry& entry : entries) {
    auto it = by_key_.find(entry.blob);
    if (it == by_key_.end()) continue;
    swarm::BlobId id = it->second;
    // A peer whose blob has another number of pieces means another blob, or lies.
    bool fits = entry.piece_count == blobs_.at(id).stored->layout().piece_count();
    if (entry.kind == swarm::HaveKind::kGone || !fits) {
      downloads_.peer_has_nothing(*peer, id, now());
    } else if (entry.kind == swarm::HaveKind::kComplete) {
      downloads_.peer_has_all(*peer, id, now());
    } else if (entry.kind == swarm::HaveKind::kBitmap) {
      downloads_.peer_has(*peer, id, entry.pieces, now());
    } else {
      for (content::PieceRange pieces : entry.added) downloads_.peer_has(*peer, id, pieces, now());
    }
  }
  schedule();
}

void Fetcher::peer_silent(const PeerAddress& address, const Error& error) {
  auto id = find_peer(address);
  if (!id) return;
  Peer& peer = *peers_[id->value()];
  if (peer.up) {
    peer.up = false;
    downloads_.peer_down(*id, now());
    lane_.drop_peer(address);
    schedule();
  }
  log::info("peer does not answer", {{"peer", address.node}, {"err", error}});
  listener_.peer_fault({address.node, peer.epoch, api::PeerFault::kUnreachable, error.message()});
  if (!peer.listed) drop_peer(*id);
}

std::size_t Fetcher::peers_up() const {
  return static_cast<std::size_t>(std::count_if(peers_.begin(), peers_.end(),
                                                [](const auto& peer) { return peer && peer->up; }));
}

std::vector<PeerAddress> Fetcher::peers() const {
  std::vector<PeerAddress> out;
  for (const auto& peer : peers_) {
    if (peer && !peer->leaving) out.push_back(peer->address);
  }
  return out;
}

// --- Tracker and leases
// ----------------------------------------------------------------------------

void Fetcher::tracker_up() {
  downloads_.tracker_up(now());
  schedule();
}

void Fetcher::tracker_down() {
  downloads_.tracker_down(now());
  schedule();
}

void Fetcher::lease_answered(const swarm::LeaseAsk& ask, const api::LeaseAnswer& answer) {
  if (!blobs_.contains(ask.blob)) return;
  if (answer.pieces.empty()) {
    downloads_.lease_denied(ask.kind, ask.blob, refusal_of(answer.reason), answer.retry, now());
  } else {
    downloads_.lease_granted(ask.kind, ask.blob, answer.pieces, now());
  }
  schedule();
}

void Fetcher::leases_lost(const std::vector<api::HeldLease>& lost) {
  for (const api::HeldLease& lease : lost) {
    auto it = ids_.find(lease.blob);
    swarm::LeaseKind kind =
        lease.kind == api::LeaseKind::kOrigin ? swarm::LeaseKind::kOrigin : swarm::LeaseKind::kRack;
    leases_.lost(kind, lease.blob, lease.pieces);
    if (it != ids_.end()) downloads_.lease_ended(kind, it->second, lease.pieces, now());
  }
  schedule();
}

void Fetcher::origin_changed(const content::Digest& digest) {
  auto it = ids_.find(digest);
  if (it == ids_.end()) return;
  Blob& blob = blobs_.at(it->second);
  blob.origin_error = changed_text("another node read another version of the file");
  note_error(blob, blob.origin_error);
  if (!blob.origins.empty()) not_that_file(it->second);
  schedule();
}

}  // namespace shoal::agent
