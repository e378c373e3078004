// A fleet without a service: nodes that register and beat when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/units.h"
#include "tracker/fleet/fleet.h"

namespace shoal::tracker {

inline content::Digest digest(std::string_view text) { return content::digest_of(text); }

inline content::PieceRange pieces(std::uint32_t first, std::uint32_t count) {
  return {content::PieceIndex(first), count};
}

inline constexpr std::uint64_t kSize = 64 * kMiB;  // 1024 pieces

class FleetTest : public ::testing::Test {
 protected:
  FleetTest() : fleet_({}, "ab", now_, 1) {
    ManifestBlobs manifest;
    manifest.manifest = model_;
    manifest.blobs = {{a_, kSize}, {b_, kSize}};
    fleet_.set_manifest(manifest);
  }

  void register_node(const std::string& id, const std::string& epoch = "1",
                     api::Topology topology = {}, api::Labels labels = {}) {
    api::RegisterRequest request{.epoch = epoch, .topology = topology, .labels = labels};
    fleet_.register_node(id, request, id + ":6970", "", now_);
    seq_[id] = 0;
  }
  api::HeartbeatRequest beat(const std::string& id, bool full = false) {
    return {.epoch = fleet_.node(id)->epoch, .seq = ++seq_[id], .full = full};
  }
  Fleet::Applied send(const std::string& id, const api::HeartbeatRequest& request) {
    auto applied = fleet_.heartbeat(id, request, now_);
    EXPECT_TRUE(applied) << applied.error().str();
    return applied ? *applied : Fleet::Applied{};
  }
  // Registered and heard, with these blobs.
  void join(const std::string& id, std::vector<api::BlobReport> blobs, api::Topology topology = {},
            api::Labels labels = {}) {
    register_node(id, "1", topology, labels);
    auto request = beat(id, true);
    request.blobs = std::move(blobs);
    EXPECT_FALSE(send(id, request).resync);
  }
  void beat_all(std::initializer_list<const char*> ids) {
    for (const char* id : ids) send(id, beat(id));
  }
  static api::BlobReport complete(const content::Digest& blob) {
    return {.digest = blob, .size = kSize, .pieces_have = 1024, .state = api::BlobState::kComplete};
  }
  static api::BlobReport wanted(const content::Digest& blob) {
    return {.digest = blob, .size = kSize, .wanted = true};
  }
  std::vector<std::string> neighbours(const std::string& id) {
    std::vector<std::string> out;
    for (const auto& neighbour : fleet_.neighbours(id)) out.push_back(neighbour.node);
    return out;
  }
  api::LeaseAnswer ask(const std::string& id, const content::Digest& blob,
                       api::LeaseKind kind = api::LeaseKind::kOrigin) {
    api::LeaseRequest request{.epoch = fleet_.node(id)->epoch};
    request.asks = {{.kind = kind, .blob = blob, .bytes = 4 * kMiB}};
    if (kind == api::LeaseKind::kRack) request.asks[0].candidates = {pieces(0, 1024)};
    auto response = fleet_.leases(id, request, now_);
    EXPECT_TRUE(response) << response.error().str();
    return response->answers.at(0);
  }
  void give_origin(const content::Digest& blob,
                   api::Origin origin = {.kind = "http", .url = "http://o/x"}) {
    fleet_.set_origins(blob, {{origin}});
  }

  swarm::Time now_{std::chrono::seconds(1000)};
  const content::Digest model_ = digest("model");
  const content::Digest a_ = digest("a");
  const content::Digest b_ = digest("b");
  std::map<std::string, std::uint64_t> seq_;
  Fleet fleet_;
};

}  // namespace shoal::tracker
