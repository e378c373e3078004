// Links with rates and the connections that share them, in virtual time.
//
// Bytes are a fluid: time goes in steps, and in each the connections with something to send share
// every link max-min fairly, found by a few rounds of progressive filling (never more than a link's
// rate; what a round leaves over goes to those who can still use it). What is left out: packets,
// loss, slow start. A connection answers its requests one after the other, as the lane does.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "core/base/strong_type.h"

namespace shoal::sim {

using LinkId = Index<struct LinkTag>;
using ConnectionId = Index<struct ConnectionTag>;

// Thread: one.
class Network {
 public:
  static constexpr std::size_t kMostLinks = 4;

  LinkId add_link(double bytes_per_second);
  ConnectionId connect(std::vector<LinkId> links);

  // Appends a request that reaches the sender at `ready` (seconds).
  void request(ConnectionId id, std::uint64_t tag, std::uint64_t bytes, double ready);
  // Takes a request back, at whatever place in the queue.
  void cancel(ConnectionId id, std::uint64_t tag);
  // A blocked connection keeps its requests and moves no byte.
  void block(ConnectionId id, bool blocked);

  struct Delivery {
    ConnectionId connection;
    std::uint64_t tag;
    std::uint64_t done;  // bytes of the request that have arrived in all
    bool finished;
  };
  // Moves bytes during [now, now + step) seconds. The result is valid until the next call.
  const std::vector<Delivery>& advance(double now, double step);

  double bytes_through(LinkId link) const { return links_[link.value()].total; }

 private:
  struct Link {
    double rate;
    double total = 0;
    double left = 0;
    std::uint32_t users = 0;
  };
  struct Request {
    std::uint64_t tag;
    double bytes;
    double done = 0;
    double ready;
  };
  struct Connection {
    std::array<std::uint32_t, kMostLinks> links{};
    std::uint32_t link_count = 0;
    bool active = false;
    bool blocked = false;
    std::deque<Request> queue;
  };
  struct Flow {
    std::uint32_t connection;
    double demand;
    double given;
  };

  struct Grant {
    std::uint32_t flow;
    double bytes;
  };

  std::vector<Link> links_;
  std::vector<Connection> connections_;
  std::vector<std::uint32_t> active_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> open_;
  std::vector<Grant> grants_;
  std::vector<Delivery> deliveries_;
};

}  // namespace shoal::sim
