// What the tracker knows of each node, and a handle for it that core/swarm can use. Internal to
// tracker/fleet.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/api/node.h"
#include "core/swarm/types.h"

namespace shoal::tracker {

// One node's part of one blob, as it reported it.
struct NodeBlob {
  api::BlobState state = api::BlobState::kLive;
  std::uint32_t pieces_have = 0;
  bool wanted = false;

  // Whether somebody could get pieces of it there, now or soon.
  bool serves() const {
    return state != api::BlobState::kRevoked &&
           (pieces_have > 0 || state == api::BlobState::kComplete);
  }
};

struct Node {
  std::string id;
  swarm::NodeId handle;

  std::string epoch;
  std::string address;  // lane
  std::string admin;
  api::Topology topology;
  api::Labels labels;
  std::string version;

  bool live = false;
  bool reported = false;    // a full heartbeat of this epoch was applied
  bool distrusted = false;  // peers got bad bytes from it in this epoch
  std::uint64_t seq = 0;
  swarm::Time heard;
  api::StoreUsage store;
  std::unordered_map<swarm::BlobId, NodeBlob> blobs;
  std::map<std::string, api::PullReport> pulls;  // by id; unfinished ones, and the last finished

  // Who complained of it lately.
  std::map<std::string, swarm::Time> unreachable_for;
  std::set<std::string> bad_bytes_for;

  bool in_fleet() const { return live && reported && !distrusted; }
};

// Handles are reused once a node is forgotten.
class NodeTable {
 public:
  // Null if unknown. Valid until erase() of that node.
  Node* find(std::string_view id) {
    auto it = by_id_.find(id);
    return it == by_id_.end() ? nullptr : slots_[it->second.value()].get();
  }
  const Node* find(std::string_view id) const { return const_cast<NodeTable*>(this)->find(id); }
  Node* find(swarm::NodeId handle) {
    return handle.value() < slots_.size() ? slots_[handle.value()].get() : nullptr;
  }
  const Node* find(swarm::NodeId handle) const {
    return handle.value() < slots_.size() ? slots_[handle.value()].get() : nullptr;
  }

  Node& find_or_add(std::string_view id) {
    if (Node* node = find(id)) return *node;
    if (free_.empty()) {
      free_.push_back(swarm::NodeId(static_cast<std::uint32_t>(slots_.size())));
      slots_.emplace_back();
    }
    auto node = std::make_unique<Node>();
    node->id = id;
    node->handle = free_.back();
    free_.pop_back();
    by_id_.emplace(node->id, node->handle);
    return *(slots_[node->handle.value()] = std::move(node));
  }

  void erase(swarm::NodeId handle) {
    by_id_.erase(by_id_.find(slots_[handle.value()]->id));
    slots_[handle.value()].reset();
    free_.push_back(handle);
  }

  // Ascending by id.
  const std::map<std::string, swarm::NodeId, std::less<>>& by_id() const { return by_id_; }

 private:
  std::map<std::string, swarm::NodeId, std::less<>> by_id_;
  std::vector<std::unique_ptr<Node>> slots_;
  std::vector<swarm::NodeId> free_;
};

// The labels a selector or an origin's readers are compared with: those given, and the topology
// under the names region, zone, rack and host where there is no such label.
bool has_labels(const api::Labels& labels, const api::Topology& topology,
                const api::Labels& wanted);

}  // namespace shoal::tracker
