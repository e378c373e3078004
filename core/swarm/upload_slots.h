// Which of the peers that ask are served now, and which are told 503 with a Retry-After.
//
// Serving everybody at once makes everybody slow and no piece complete; a few at a time passes
// pieces on early. Urgent requests always get in, within a reserve of their own that only bounds
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "core/swarm/types.h"

namespace shoal::swarm {

// Thread: one at a time.
class UploadSlots {
 public:
  struct Options {
    std::size_t bulk = 64;     // requests served at once
    std::size_t urgent = 256;  // besides those
    std::size_t per_peer = 4;  // of bulk; a connection pipelines no more
  };
  explicit UploadSlots(Options options);

  struct Answer {
    bool admitted = false;
    Duration retry_after{};  // when not admitted
  };
  // When the slots are scarce a peer that holds more than its fair part is refused first. An
  // admitted request must be ended with release().
  Answer ask(PeerId peer, Class cls);
  void release(PeerId peer, Class cls);
  // All requests of `peer` ended without release().
  void peer_down(PeerId peer);

  std::size_t in_use() const { return bulk_in_use_ + urgent_in_use_; }

 private:
  struct Use {
    std::size_t bulk = 0;
    std::size_t urgent = 0;
  };
  Options options_;
  std::unordered_map<PeerId, Use> peers_;
  std::size_t bulk_in_use_ = 0;
  std::size_t urgent_in_use_ = 0;
  std::size_t refused_since_release_ = 0;
};

}  // namespace shoal::swarm
