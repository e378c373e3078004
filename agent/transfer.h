// What a fetch of adjacent pieces is, whoever carries it out: the lane or an origin reader.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "core/content/layout.h"
#include "core/http/url.h"
#include "core/store/blob.h"
#include "core/swarm/downloads.h"

namespace shoal::agent {

// Where another agent's lane listens, and whose certificate it must show.
struct PeerAddress {
  std::string node;
  http::HostPort lane;

  friend bool operator==(const PeerAddress&, const PeerAddress&) = default;
};

// An order of the control thread. Verified pieces go straight into `blob`.
struct Transfer {
  swarm::RequestId id;
  std::shared_ptr<store::Blob> blob;
  content::PieceRange pieces;
  swarm::Class cls = swarm::Class::kPrefetch;
  bool urgent = false;
  std::string pull_id;  // may be empty
};

// What became of an order, sent to the control thread. Every order ends with exactly one kEnded.
struct TransferEvent {
  enum class Kind : std::uint8_t {
    kVerified,  // `pieces` are verified and ready now
    kActive,    // bytes arrive, though no piece is complete
    kEnded,  // `outcome`, `retry_after` and `detail` say how; `pieces` as with kVerified, perhaps
             // none
  };

  swarm::RequestId id;
  Kind kind = Kind::kEnded;
  content::PieceRange pieces;
  swarm::Outcome outcome = swarm::Outcome::kFinished;
  std::chrono::milliseconds retry_after{0};
  std::string detail;  // for a person; empty when finished
};

}  // namespace shoal::agent
