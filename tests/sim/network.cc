#include "tests/sim/network.h"

#include <algorithm>

#include "core/base/check.h"

namespace shoal::sim {
namespace {

constexpr int kRounds = 5;
constexpr double kByte = 0.5;  // less than this is nothing

}  // namespace

LinkId Network::add_link(double bytes_per_second) {
  links_.push_back({bytes_per_second});
  return LinkId(static_cast<std::uint32_t>(links_.size() - 1));
}

ConnectionId Network::connect(std::vector<LinkId> links) {
  SHOAL_CHECK(links.size() <= kMostLinks, "a path of too many links");
  Connection connection;
  for (LinkId link : links) connection.links[connection.link_count++] = link.value();
  connections_.push_back(std::move(connection));
  return ConnectionId(static_cast<std::uint32_t>(connections_.size() - 1));
}

void Network::request(ConnectionId id, std::uint64_t tag, std::uint64_t bytes, double ready) {
  Connection& connection = connections_[id.value()];
  connection.queue.push_back({tag, static_cast<double>(bytes), 0, ready});
  if (!connection.active) {
    connection.active = true;
    active_.push_back(id.value());
  }
}

void Network::cancel(ConnectionId id, std::uint64_t tag) {
  std::erase_if(connections_[id.value()].queue, [tag](const Request& r) { return r.tag == tag; });
}

void Network::block(ConnectionId id, bool blocked) { connections_[id.value()].blocked = blocked; }

const std::vector<Network::Delivery>& Network::advance(double now, double step) {
  deliveries_.clear();
  flows_.clear();
  std::size_t kept = 0;
  for (std::uint32_t id : active_) {
    Connection& connection = connections_[id];
    if (connection.queue.empty()) {
      connection.active = false;
      continue;
    }
    active_[kept++] = id;
    if (connection.blocked) continue;
    double demand = 0;
    for (const Request& request : connection.queue) {
      if (request.ready > now + step) break;
      demand += request.bytes - request.done;
    }
    // What arrives within the step can use only the rest of it; half of it on average.
    if (connection.queue.front().ready > now) continue;
    if (demand > 0) flows_.push_back({id, demand, 0});
  }
  active_.resize(kept);

  for (Link& link : links_) link.left = link.rate * step;
  open_.resize(flows_.size());
  for (std::size_t i = 0; i < flows_.size(); ++i) open_[i] = static_cast<std::uint32_t>(i);
  for (int round = 0; round < kRounds && !open_.empty(); ++round) {
    for (std::uint32_t i : open_) {
      const Connection& connection = connections_[flows_[i].connection];
      for (std::uint32_t l = 0; l < connection.link_count; ++l) {
        Link& link = links_[connection.links[l]];
        ++link.users;
      }
    }
    // The shares of this round: what is left of each link, split among its users. Kept in `given`
    // only at the end of the round, so the order of flows does not matter.
    std::size_t still = 0;
    grants_.clear();
    for (std::uint32_t i : open_) {
      const Connection& connection = connections_[flows_[i].connection];
      double share = flows_[i].demand - flows_[i].given;
      for (std::uint32_t l = 0; l < connection.link_count; ++l) {
        const Link& link = links_[connection.links[l]];
        share = std::min(share, link.left / link.users);
      }
      grants_.push_back({i, share});
    }
    for (std::uint32_t i : open_) {
      const Connection& connection = connections_[flows_[i].connection];
      for (std::uint32_t l = 0; l < connection.link_count; ++l) {
        links_[connection.links[l]].users = 0;
      }
    }
    for (const Grant& grant : grants_) {
      Flow& flow = flows_[grant.flow];
      const Connection& connection = connections_[flow.connection];
      flow.given += grant.bytes;
      for (std::uint32_t l = 0; l < connection.link_count; ++l) {
        links_[connection.links[l]].left -= grant.bytes;
      }
    }
    for (std::uint32_t i : open_) {
      const Flow& flow = flows_[i];
      const Connection& connection = connections_[flow.connection];
      bool full = flow.demand - flow.given < kByte;
      for (std::uint32_t l = 0; l < connection.link_count && !full; ++l) {
        const Link& link = links_[connection.links[l]];
        full = link.left < link.rate * step * 1e-4;
      }
      if (!full) open_[still++] = i;
    }
    open_.resize(still);
  }

  for (const Flow& flow : flows_) {
    Connection& connection = connections_[flow.connection];
    for (std::uint32_t l = 0; l < connection.link_count; ++l) {
      links_[connection.links[l]].total += flow.given;
    }
    double left = flow.given;
    while (left > kByte / 2 && !connection.queue.empty()) {
      Request& request = connection.queue.front();
      double part = std::min(left, request.bytes - request.done);
      request.done += part;
      left -= part;
      bool finished = request.bytes - request.done < kByte;
      deliveries_.push_back({ConnectionId(flow.connection), request.tag,
                             static_cast<std::uint64_t>(finished ? request.bytes : request.done),
                             finished});
      if (!finished) break;
      connection.queue.pop_front();
    }
  }
  return deliveries_;
}

}  // namespace shoal::sim
