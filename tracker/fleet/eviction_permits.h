// Which agents were allowed to give up a copy of a blob and may not have done so yet: two that make
// room at the same time must not drop the last copies together.
//
// Pure: no I/O, no clock. Thread: one at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <span>

#include "core/swarm/types.h"

namespace shoal::tracker {

class EvictionPermits {
 public:
  struct Options {
    // A permit may be used for so long after the request for it was sent …
    std::chrono::milliseconds valid{5'000};
    // … and counts as used until its node says that it has the blob no more, at most for so long:
    // what was unlinked at the last moment has reached the tracker by then.
    std::chrono::milliseconds hold{30'000};
  };

  // Until `start` + valid nobody is granted anything: permits of an earlier tracker may be in use.
  EvictionPermits(Options options, swarm::Time start) : options_(options), start_(start) {}

  bool starting(swarm::Time now) const { return now < start_ + options_.valid; }

  // How many of the nodes that have the blob whole will have it still, with every permit used.
  std::size_t remaining(swarm::BlobId blob, std::span<const swarm::NodeId> whole,
                        swarm::Time now) const;

  // May `node` drop the blob, so that at least `keep` of `whole` remain? It counts as one of them
  // if it is among them. Changes nothing.
  bool may(swarm::NodeId node, swarm::BlobId blob, std::span<const swarm::NodeId> whole,
           std::size_t keep, swarm::Time now) const;
  void grant(swarm::NodeId node, swarm::BlobId blob, swarm::Time now);

  // Permits for the blob that may be in use.
  std::size_t held(swarm::BlobId blob) const {
    auto permits = granted_.find(blob);
    return permits == granted_.end() ? 0 : permits->second.size();
  }

  // The node has the blob no more.
  void dropped(swarm::NodeId node, swarm::BlobId blob);
  // Forgets what has lapsed.
  void tick(swarm::Time now);

  const Options& options() const { return options_; }

 private:
  // Whether the node's permit counts as used.
  bool out(swarm::NodeId node, swarm::BlobId blob, swarm::Time now) const;

  const Options options_;
  const swarm::Time start_;
  std::map<swarm::BlobId, std::map<swarm::NodeId, swarm::Time>> granted_;  // until when it counts
};

}  // namespace shoal::tracker
