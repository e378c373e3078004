#include "agent/lane/upload_gate.h"

#include <utility>

namespace shoal::agent {

UploadGate::UploadGate(Rate limit, swarm::UploadSlots::Options slots)
    : limited_(!limit.unlimited()), slots_(slots), bucket_(limit) {}

UploadGate::Ticket::Ticket(Ticket&& other) noexcept
    : gate_(std::exchange(other.gate_, nullptr)), peer_(std::move(other.peer_)), cls_(other.cls_) {}

UploadGate::Ticket::~Ticket() {
  if (gate_ != nullptr) gate_->release(peer_, cls_);
}

bool UploadGate::admit(const std::string& peer, swarm::Class cls, std::optional<Ticket>& ticket,
                       std::chrono::milliseconds& retry_after) {
  std::lock_guard lock(mutex_);
  auto it = peers_.find(peer);
  swarm::PeerId id = it != peers_.end() ? it->second.id : swarm::PeerId(next_peer_);
  swarm::UploadSlots::Answer answer = slots_.ask(id, cls);
  if (!answer.admitted) {
    retry_after = std::chrono::duration_cast<std::chrono::milliseconds>(answer.retry_after);
    return false;
  }
  if (it == peers_.end()) {
    it = peers_.emplace(peer, Peer{id, 0}).first;
    ++next_peer_;
  }
  ++it->second.tickets;
  ticket.emplace(Ticket(this, peer, cls));
  return true;
}

void UploadGate::release(const std::string& peer, swarm::Class cls) {
  std::lock_guard lock(mutex_);
  auto it = peers_.find(peer);
  slots_.release(it->second.id, cls);
  if (--it->second.tickets == 0) peers_.erase(it);
}

std::optional<swarm::Time> UploadGate::take(swarm::Class cls, std::uint64_t bytes,
                                            swarm::Time now) {
  std::lock_guard lock(mutex_);
  if (bucket_.take(cls, bytes, now)) return std::nullopt;
  return bucket_.ready_at(cls, now);
}

std::size_t UploadGate::in_use() const {
  std::lock_guard lock(mutex_);
  return slots_.in_use();
}

}  // namespace shoal::agent
