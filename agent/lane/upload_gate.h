// Who may send how much, for all lane threads together: the upload slots and the upload limit.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/base/units.h"
#include "core/swarm/token_bucket.h"
#include "core/swarm/types.h"
#include "core/swarm/upload_slots.h"

namespace shoal::agent {

// Thread safe. Lifetime: outlives its tickets.
class UploadGate {
 public:
  UploadGate(Rate limit, swarm::UploadSlots::Options slots);
  UploadGate(const UploadGate&) = delete;
  UploadGate& operator=(const UploadGate&) = delete;

  // A slot, held until destruction.
  class Ticket {
   public:
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket();

   private:
    friend class UploadGate;
    Ticket(UploadGate* gate, std::string peer, swarm::Class cls)
        : gate_(gate), peer_(std::move(peer)), cls_(cls) {}
    UploadGate* gate_;
    std::string peer_;
    swarm::Class cls_;
  };

  // A slot for a request of `peer` (its node id, or address where it has none), put into the empty
  // `ticket`. False when there is none: `retry_after` then says when to ask again.
  bool admit(const std::string& peer, swarm::Class cls, std::optional<Ticket>& ticket,
             std::chrono::milliseconds& retry_after);

  bool limited() const { return limited_; }
  // Takes `bytes` of the limit, or nothing and says when to try again.
  std::optional<swarm::Time> take(swarm::Class cls, std::uint64_t bytes, swarm::Time now);

  std::size_t in_use() const;

 private:
  struct Peer {
    swarm::PeerId id;
    std::size_t tickets = 0;
  };

  void release(const std::string& peer, swarm::Class cls);

  const bool limited_;
  mutable std::mutex mutex_;
  swarm::UploadSlots slots_;                     // guarded by mutex_
  swarm::TokenBucket bucket_;                    // guarded by mutex_
  std::unordered_map<std::string, Peer> peers_;  // guarded by mutex_; those with tickets
  std::uint32_t next_peer_ = 0;                  // guarded by mutex_
};

}  // namespace shoal::agent
