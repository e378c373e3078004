// An agent's decisions for tests, which carry them out by hand.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "core/base/units.h"
#include "core/swarm/downloads.h"

namespace shoal::swarm {

inline constexpr BlobId kBlob{0};
inline constexpr PeerInfo kNear{Locality::kRack, 1};
inline constexpr PeerInfo kFarAway{Locality::kZone, 2};

struct Agent {
  Time now = Time(std::chrono::seconds(1000));
  content::BlobLayout layout;
  Downloads downloads;
  std::map<std::uint64_t, StartRequest> running;
  std::vector<Action> last;
  std::vector<LeaseAsk> asked;
  std::vector<PeerId> banned;
  std::size_t stalls = 0;
  std::size_t silent = 0;  // requests cancelled because their source sent nothing

  explicit Agent(std::uint64_t size, Downloads::Options options = {}, std::uint64_t seed = 1)
      : layout(size), downloads(options, seed) {
    downloads.add_blob(kBlob, layout, 77, content::PieceSet(layout.piece_count()), true, now);
  }
  void want_all(Class cls = Class::kPrefetch) {
    downloads.want(kBlob, layout.all_pieces(), cls, kNever, now);
  }
  std::vector<StartRequest> decide() {
    last.clear();
    asked.clear();
    downloads.decide(now, last);
    std::vector<StartRequest> started;
    for (const Action& action : last) {
      if (const auto* start = std::get_if<StartRequest>(&action)) {
        started.push_back(*start);
        EXPECT_TRUE(running.emplace(start->id.value(), *start).second);
      } else if (const auto* lease = std::get_if<AskLease>(&action)) {
        asked.push_back(lease->ask);
      } else if (const auto* ban = std::get_if<BanPeer>(&action)) {
        banned.push_back(ban->peer);
      } else if (std::get_if<ReportStall>(&action)) {
        ++stalls;
      } else if (const auto* cancel = std::get_if<CancelRequest>(&action)) {
        silent += cancel->stalled ? 1 : 0;
        if (running.erase(cancel->id.value()) != 0) {
          downloads.request_ended(cancel->id, Outcome::kCancelled, {}, now);
        }
      }
    }
    return started;
  }
  std::vector<StartRequest> decide_after(Duration wait) {
    now += wait;
    return decide();
  }
  void finish(const StartRequest& request) {
    downloads.pieces_verified(request.id, request.pieces, now);
    end(request, Outcome::kFinished);
  }
  void end(const StartRequest& request, Outcome outcome, Duration retry = {}) {
    if (running.erase(request.id.value()) == 0) return;
    downloads.request_ended(request.id, outcome, retry, now);
  }
  Explanation explain() { return downloads.explain(kBlob, now); }
};

// Carries everything out, each round 20 ms later, until complete; false if it does not get there.
inline bool fetch_all(Agent& agent, int rounds = 5000) {
  for (int i = 0; i < rounds && !agent.downloads.complete(kBlob); ++i) {
    agent.decide_after(std::chrono::milliseconds(20));
    auto running = agent.running;
    for (const auto& [id, request] : running) agent.finish(request);
  }
  return agent.downloads.complete(kBlob);
}

}  // namespace shoal::swarm
