#include "agent/origin/origin_limits.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How soon a waiter notices that it was cancelled.
constexpr milliseconds kNotice{100};
// All bytes of origins are alike here: which of them come first is decided elsewhere.
constexpr swarm::Class kAny = swarm::Class::kFault;
// A host's account outlives its requests: a next one pays what the last one owed.
constexpr std::size_t kMaxIdleHosts = 1024;

tl::unexpected<Error> cancelled() { return fail(Errc::kCancelled, "read cancelled"); }

}  // namespace

struct OriginLimits::Host {
  explicit Host(Rate rate) : bucket(rate) {}
  std::size_t requests = 0;
  swarm::TokenBucket bucket;
};

OriginLimits::OriginLimits(Options options) : options_(options), total_(options.total) {}
OriginLimits::~OriginLimits() = default;

OriginLimits::Permit::Permit(OriginLimits* limits, std::string host)
    : limits_(limits), host_(std::move(host)) {}
OriginLimits::Permit::Permit(Permit&& other) noexcept
    : limits_(std::exchange(other.limits_, nullptr)), host_(std::move(other.host_)) {}
OriginLimits::Permit::~Permit() {
  if (limits_ != nullptr) limits_->leave(host_);
}

OriginLimits::Host& OriginLimits::host(const std::string& name) {
  std::unique_ptr<Host>& entry = hosts_[name];
  if (!entry) entry = std::make_unique<Host>(options_.per_host);
  return *entry;
}

Result<OriginLimits::Permit> OriginLimits::enter(const std::string& name,
                                                 const CancelFlag& cancel) {
  std::unique_lock lock(mutex_);
  while (options_.requests_per_host > 0 && host(name).requests >= options_.requests_per_host) {
    if (cancel.load(std::memory_order_relaxed)) return cancelled();
    left_.wait_for(lock, kNotice);
  }
  ++host(name).requests;
  return Permit(this, name);
}

void OriginLimits::leave(const std::string& name) {
  {
    std::lock_guard lock(mutex_);
    auto it = hosts_.find(name);
    if (--it->second->requests == 0 && hosts_.size() > kMaxIdleHosts) hosts_.erase(it);
  }
  left_.notify_one();
}

Status OriginLimits::received(const std::string& name, std::size_t bytes,
                              const CancelFlag& cancel) {
  if (options_.total.unlimited() && options_.per_host.unlimited()) return {};
  bool total_paid = false;
  bool host_paid = false;
  for (;;) {
    if (cancel.load(std::memory_order_relaxed)) return cancelled();
    swarm::Time ready;
    {
      std::lock_guard lock(mutex_);
      const swarm::Time now = Clock::now();
      swarm::TokenBucket& bucket = host(name).bucket;
      host_paid = host_paid || bucket.take(kAny, bytes, now);
      total_paid = total_paid || total_.take(kAny, bytes, now);
      if (host_paid && total_paid) return {};
      ready = host_paid ? total_.ready_at(kAny, now) : bucket.ready_at(kAny, now);
    }
    std::this_thread::sleep_until(std::min<swarm::Time>(ready, Clock::now() + kNotice));
  }
}

}  // namespace shoal::agent
