#include "tracker/bittorrent/swarm_table.h"

#include <algorithm>
#include <utility>

namespace shoal::tracker {

using content::TruncatedInfoHash;

SwarmTable::SwarmTable(Options options, std::uint64_t seed) : options_(options), random_(seed) {}

void SwarmTable::set_seed(Swarm& swarm, Client& client, bool seed) {
  if (client.seed == seed) return;
  client.seed = seed;
  // Unsigned numbers wrap as they should.
  const std::size_t change = seed ? 1 : static_cast<std::size_t>(-1);
  swarm.seeds += change;
  seeds_ += change;
}

void SwarmTable::leave(Swarm& swarm, std::size_t index) {
  set_seed(swarm, swarm.clients[index], false);
  if (index + 1 < swarm.clients.size()) swarm.clients[index] = std::move(swarm.clients.back());
  swarm.clients.pop_back();
  --clients_;
}

SwarmTable::Client* SwarmTable::enter(Swarm& swarm, const AnnounceQuery& query,
                                      const BtAddress& from) {
  std::size_t same_ip = 0;
  for (std::size_t i = 0; i < swarm.clients.size(); ++i) {
    Client& other = swarm.clients[i];
    const bool moved = !query.key.empty() && other.key == query.key &&
                       other.peer_id == query.peer_id && other.address.is_v4() == from.is_v4();
    if (moved) {
      other.address = from;
      return &other;
    }
    if (other.address.ip == from.ip) ++same_ip;
  }
  if (clients_ >= options_.max_clients || same_ip >= options_.max_clients_per_ip ||
      swarm.clients.size() >= options_.max_clients_per_torrent) {
    return nullptr;
  }
  ++clients_;
  Client& client = swarm.clients.emplace_back();
  client.address = from;
  return &client;
}

SwarmCounts SwarmTable::counts_of(const Swarm& swarm) const {
  return {swarm.seeds, swarm.clients.size() - swarm.seeds, swarm.completed};
}

std::vector<BtAddress> SwarmTable::choose(const Swarm& swarm, const AnnounceQuery& query,
                                          const BtAddress& from) {
  std::size_t wanted = std::min<std::size_t>(
      query.numwant.value_or(static_cast<std::uint32_t>(options_.default_peers)),
      options_.max_peers);
  std::vector<BtAddress> near, far;
  for (const Client& client : swarm.clients) {
    if (client.address == from || client.peer_id == query.peer_id) continue;
    if (query.seed && client.seed) continue;
    (client.address.is_v4() == from.is_v4() ? near : far).push_back(client.address);
  }
  std::vector<BtAddress> out;
  for (std::vector<BtAddress>* some : {&near, &far}) {
    for (std::size_t i = 0; i < some->size() && out.size() < wanted; ++i) {
      std::swap((*some)[i], (*some)[i + random_.below(some->size() - i)]);
      out.push_back((*some)[i]);
    }
  }
  return out;
}

SwarmTable::Answer SwarmTable::announce(const AnnounceQuery& query, const BtAddress& from,
                                        swarm::Time now) {
  const bool stopped = query.event == AnnounceQuery::Event::kStopped;
  Answer answer;
  auto found = swarms_.find(query.info_hash);
  if (found == swarms_.end()) {
    if (stopped) return answer;
    found = swarms_.emplace(query.info_hash, Swarm()).first;
  }
  Swarm& swarm = found->second;
  auto known = std::find_if(swarm.clients.begin(), swarm.clients.end(),
                            [&](const Client& client) { return client.address == from; });
  if (stopped) {
    if (known != swarm.clients.end() && known->peer_id == query.peer_id) {
      leave(swarm, static_cast<std::size_t>(known - swarm.clients.begin()));
    }
    answer.counts = counts_of(swarm);
    if (swarm.clients.empty() && swarm.completed == 0) swarms_.erase(found);
    return answer;
  }
  Client* client = known != swarm.clients.end() ? &*known : enter(swarm, query, from);
  answer.recorded = client != nullptr;
  if (client != nullptr) {
    if (client->peer_id != query.peer_id) client->completed = false;  // another client than before
    client->peer_id = query.peer_id;
    client->key = query.key;
    client->heard = now;
    set_seed(swarm, *client, query.seed);
    if (query.event == AnnounceQuery::Event::kCompleted &&
        !std::exchange(client->completed, true)) {
      ++swarm.completed;
    }
  }
  answer.counts = counts_of(swarm);
  answer.peers = choose(swarm, query, from);
  if (swarm.clients.empty() && swarm.completed == 0) swarms_.erase(found);
  return answer;
}

SwarmCounts SwarmTable::counts(const TruncatedInfoHash& torrent) const {
  auto found = swarms_.find(torrent);
  return found == swarms_.end() ? SwarmCounts() : counts_of(found->second);
}

void SwarmTable::expire(swarm::Time now) {
  for (auto it = swarms_.begin(); it != swarms_.end();) {
    Swarm& swarm = it->second;
    for (std::size_t i = swarm.clients.size(); i-- > 0;) {
      if (swarm.clients[i].heard + options_.lifetime <= now) leave(swarm, i);
    }
    it = swarm.clients.empty() && swarm.completed == 0 ? swarms_.erase(it) : std::next(it);
  }
}

void SwarmTable::retain(const std::function<bool(const TruncatedInfoHash&)>& keep) {
  for (auto it = swarms_.begin(); it != swarms_.end();) {
    if (keep(it->first)) {
      ++it;
      continue;
    }
    while (!it->second.clients.empty()) leave(it->second, it->second.clients.size() - 1);
    it = swarms_.erase(it);
  }
}

}  // namespace shoal::tracker
