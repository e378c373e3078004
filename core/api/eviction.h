// Messages about which copies an agent may give up. docs/formats/tracker-api.md, "evictions".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/limits.h"
#include "core/api/message.h"
#include "core/content/digest.h"

namespace shoal::api {

// A blob that would go.
struct EvictionAsk {
  content::Digest blob = {};
  std::uint64_t bytes = 0;  // what that gives back

  friend bool operator==(const EvictionAsk&, const EvictionAsk&) = default;
};

// POST /v1/nodes/{id}/evictions
struct EvictionRequest {
  std::string epoch = {};      // required
  std::uint64_t replicas = 0;  // so many whole copies of what no origin has stay in the fleet
  std::uint64_t bytes = 0;     // so much has to be given back
  bool dry_run = false;        // only tell: nothing is granted
  std::vector<EvictionAsk> blobs = {};  // in the order in which they should go

  friend bool operator==(const EvictionRequest&, const EvictionRequest&) = default;
};

enum class EvictionReason {
  kGranted,     // "granted": it may be unlinked within `valid`
  kNotNeeded,   // "not_needed": those granted before it in this answer give enough
  kLastCopies,  // "last_copies": it must stay
  kStarting,    // "starting": the tracker does not know yet who holds what; ask again later
};
std::string_view eviction_reason_name(EvictionReason reason);

struct EvictionAnswer {
  EvictionReason reason = EvictionReason::kLastCopies;
  std::uint32_t copies = 0;  // whole ones in the fleet, for last_copies

  friend bool operator==(const EvictionAnswer&, const EvictionAnswer&) = default;
};

struct EvictionResponse {
  std::string tracker_epoch = {};
  std::vector<EvictionAnswer> answers = {};  // one for each ask, in order
  // "valid_ms": from the sending of the request on; what is not unlinked by then has to be asked
  // for again.
  std::chrono::milliseconds valid{0};

  friend bool operator==(const EvictionResponse&, const EvictionResponse&) = default;
};

}  // namespace shoal::api
