// Follows what one neighbour has: the asking side of the have long poll.
#pragma once

#include "core/async/task.h"

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/transfer.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/swarm/have_map.h"

namespace shoal::http {
class Client;
class TlsContext;
}  // namespace shoal::http

namespace shoal::agent {

// Thread: the control thread. Lifetime: run() has ended before destruction.
class HavePoller {
 public:
  class Listener {
   public:
    virtual ~Listener() = default;
    // blob_key()s that are being fetched, most wanted first; asked before each poll.
    virtual std::vector<std::uint64_t> interest() = 0;
    // How long the peer shall gather changes into one answer; asked before each poll.
    virtual std::chrono::milliseconds gather() = 0;
    virtual void peer_answers(const PeerAddress& peer) = 0;
    virtual void peer_news(const PeerAddress& peer, std::vector<swarm::HaveEntry> entries) = 0;
    virtual void peer_silent(const PeerAddress& peer, const Error& error) = 0;
  };

  struct Options {
    PeerAddress peer;
    std::string node;                       // ours
    std::shared_ptr<http::TlsContext> tls;  // null: plain
  };

  HavePoller(Executor executor, Options options, Listener& listener);
  ~HavePoller();
  HavePoller(const HavePoller&) = delete;
  HavePoller& operator=(const HavePoller&) = delete;

  const PeerAddress& peer() const { return options_.peer; }

  // Polls until close(). Waits while nothing is of interest.
  Task<void> run();
  void close();

  // interest() has changed: a running poll is replaced by one that asks for the new blobs too.
  void interest_changed();
  // What was heard about the blob is not remembered any more by the listener: when it is of
  // interest again, the peer has to tell everything anew.
  void forget(std::uint64_t blob);

 private:
  Task<Status> poll();
  std::unique_ptr<http::Client> make_client() const;

  // Constant after construction
  const Executor executor_;
  const Options options_;
  Listener& listener_;

  Event stop_;
  Condition changed_;
  std::unique_ptr<http::Client> client_;
  std::unordered_map<std::uint64_t, std::uint64_t> versions_;  // last seen, by blob
  std::vector<std::uint64_t> polled_;                          // what the running poll asks for
  bool polling_ = false;
  bool replaced_ = false;  // the running poll was closed by interest_changed()
  bool up_ = false;
};

}  // namespace shoal::agent
