// Who takes part in the swarms of which torrents, as BitTorrent clients announce themselves. Soft
// state: clients that say nothing for a while are forgotten, and a restarted tracker hears of all
// within an announce interval.
//
// Pure: no I/O, no clock. Every call takes `now`.
//
// Thread: one at a time (the control thread).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/content/torrent.h"
#include "core/swarm/types.h"
#include "tracker/bittorrent/announce.h"

namespace shoal::tracker {

class SwarmTable {
 public:
  struct Options {
    swarm::Duration lifetime = std::chrono::minutes(11);  // of a client since its last announce
    std::size_t max_clients = 200'000;                    // in all
    std::size_t max_clients_per_torrent = 4'000;
    std::size_t max_clients_per_ip = 64;  // of one torrent: clients of one machine, or behind a NAT
    std::size_t default_peers = 50;       // given to a client that does not say how many it wants
    std::size_t max_peers = 200;          // given to one that wants more
  };

  // `seed` of the choice of peers.
  SwarmTable(Options options, std::uint64_t seed);
  SwarmTable(const SwarmTable&) = delete;
  SwarmTable& operator=(const SwarmTable&) = delete;

  struct Answer {
    SwarmCounts counts;            // after this announce
    std::vector<BtAddress> peers;  // others, each once; no seeds for a seed
    bool recorded = true;          // false: a limit is reached, others will not hear of this client
  };
  // A client is known by its address. One with the peer id and the key of another has moved and
  // takes its place; an event "stopped" with another peer id than the last announce of that address
  // is late news of a predecessor and changes nothing. `from` has the client's port. Peers of the
  // client's own address family come first.
  Answer announce(const AnnounceQuery& query, const BtAddress& from, swarm::Time now);

  // Zeros for a torrent that nobody announced.
  SwarmCounts counts(const content::TruncatedInfoHash& torrent) const;

  // Forgets clients that were silent for too long.
  void expire(swarm::Time now);
  // Forgets the torrents for which `keep` is false.
  void retain(const std::function<bool(const content::TruncatedInfoHash&)>& keep);

  std::size_t torrents() const { return swarms_.size(); }
  std::size_t seeds() const { return seeds_; }
  std::size_t clients() const { return clients_; }

 private:
  struct Client {
    BtAddress address;
    BtPeerId peer_id;
    std::string key;
    swarm::Time heard;
    bool seed = false;
    bool completed = false;  // its download was counted
  };
  struct Swarm {
    std::vector<Client> clients;  // in no order
    std::size_t seeds = 0;
    std::uint64_t completed = 0;
  };

  // Null if a limit forbids another one.
  Client* enter(Swarm& swarm, const AnnounceQuery& query, const BtAddress& from);
  void set_seed(Swarm& swarm, Client& client, bool seed);
  void leave(Swarm& swarm, std::size_t index);
  SwarmCounts counts_of(const Swarm& swarm) const;
  std::vector<BtAddress> choose(const Swarm& swarm, const AnnounceQuery& query,
                                const BtAddress& from);

  const Options options_;
  SeededRandom random_;
  std::map<content::TruncatedInfoHash, Swarm> swarms_;  // none without clients or downloads
  std::size_t clients_ = 0;
  std::size_t seeds_ = 0;
};

}  // namespace shoal::tracker
