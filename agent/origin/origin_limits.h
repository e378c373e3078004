// How much this node asks of origins: requests at once to one host, bytes per second from one host
// and from all.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "agent/origin/origin.h"
#include "core/base/result.h"
#include "core/base/units.h"
#include "core/swarm/token_bucket.h"

namespace shoal::agent {

// Thread safe.
class OriginLimits {
 public:
  struct Options {
    Rate total;                         // zero: no limit
    Rate per_host;                      // the same
    std::size_t requests_per_host = 0;  // at once; 0: no limit
  };

  explicit OriginLimits(Options options);
  ~OriginLimits();

  // The right to one request to a host, for as long as it lives.
  class Permit {
   public:
    Permit(Permit&& other) noexcept;
    Permit& operator=(Permit&&) = delete;
    ~Permit();

   private:
    friend class OriginLimits;
    Permit(OriginLimits* limits, std::string host);
    OriginLimits* limits_;
    std::string host_;
  };

  // Waits for its turn. Errors: cancelled.
  Result<Permit> enter(const std::string& host, const CancelFlag& cancel);
  // Waits until so many bytes more may have come from the host. Errors: cancelled.
  Status received(const std::string& host, std::size_t bytes, const CancelFlag& cancel);

 private:
  struct Host;

  Host& host(const std::string& name);
  void leave(const std::string& name);

  const Options options_;
  std::mutex mutex_;
  std::condition_variable left_;
  swarm::TokenBucket total_;                            // guarded by mutex_
  std::map<std::string, std::unique_ptr<Host>> hosts_;  // guarded by mutex_; those in use
};

}  // namespace shoal::agent
