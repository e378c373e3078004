// One instance of each message with every field set to something other than its default.
#pragma once

#include <string>
#include <string_view>

#include "core/api/catalogue.h"
#include "core/api/eviction.h"
#include "core/api/ingest.h"
#include "core/api/lease.h"
#include "core/api/node.h"
#include "core/api/operate.h"

namespace shoal::api::samples {

inline content::Digest digest(std::string_view text) { return content::digest_of(text); }

inline content::PieceRange pieces(std::uint32_t first, std::uint32_t count) {
  return {content::PieceIndex(first), count};
}

inline RegisterRequest register_request() {
  return {.epoch = "9f01",
          .advertise = "10.0.0.7:6970",
          .admin = ":6971",
          .topology = {"eu", "eu-1", "r7", "h1"},
          .labels = {{"pool", "a100"}, {"tier", ""}},
          .version = "0.1.0",
          .store_capacity = 1ull << 50};
}

inline RegisterResponse register_response() {
  return {.tracker_epoch = "ab",
          .heartbeat = std::chrono::milliseconds(500),
          .address = "[fe80::1]:6970"};
}

inline PullReport pull_report() {
  return {.id = "0123456789abcdef",
          .manifest = digest("m"),
          .state = PullState::kFailed,
          .bytes_total = 100,
          .bytes_done = 60,
          .by_source = {.peers = 30, .origin = 20, .local = 10},
          .rate = 5,
          .waiting_for = "a source of piece 3 of model.safetensors",
          .error = Error(Errc::kNoSpace, "the store is full"),
          .sources = {{"peer", "gpu-2", 30, 4}, {"origin", "http models.example", 20, 1}},
          .waits = {{"piece", "waiting for a source of piece 3"}},
          .last_errors = {"gpu-3 answered 503"}};
}

inline HeldLease held_lease() {
  return {LeaseKind::kRack, digest("b"), "\"v1\"", {pieces(0, 4), pieces(8, 1)}};
}

inline HeartbeatRequest heartbeat_request() {
  return {.epoch = "9f01",
          .seq = 7,
          .full = true,
          .blobs = {{.digest = digest("b"),
                     .size = 5 << 20,
                     .pieces_have = 12,
                     .have = {pieces(0, 4), pieces(8, 8)},
                     .state = BlobState::kFailed,
                     .wanted = true}},
          .removed = {digest("gone")},
          .pulls = {pull_report()},
          .store = {.used = 1, .capacity = 2, .free = 3},
          .leases = {held_lease()},
          .peers = {{"gpu-9", "77", PeerFault::kBadBytes, "piece 3"}}};
}

inline HeartbeatResponse heartbeat_response() {
  return {.tracker_epoch = "ab",
          .heartbeat = std::chrono::milliseconds(1),
          .resync = true,
          .lost = {held_lease()}};
}

inline EventsResponse events_response() {
  EventsResponse m{
      .tracker_epoch = "ab", .version = 3, .orders = {}, .neighbours = {}, .trust = {}};
  m.orders.emplace();
  m.orders->orders = {{.id = "1",
                       .reference = "llama:v1",
                       .manifest = digest("m"),
                       .traffic_class = "background",
                       .pin = true,
                       .remaining = std::chrono::milliseconds(9)}};
  m.orders->cancelled = {"2"};
  m.orders->removed = {digest("old")};
  m.trust.emplace();
  m.trust->withdrawn = {{digest("b"), std::string(64, 'a'), "gpu-9"}};
  m.trust->checks = {digest("c")};
  m.neighbours.emplace();
  m.neighbours->push_back({.node = "gpu-2",
                           .epoch = "1",
                           .address = "gpu-2:6970",
                           .topology = {"eu", "eu-1", "r7", "h2"},
                           .holds = {digest("b")},
                           .wants = {digest("c")}});
  return m;
}

inline LeaseRequest lease_request() {
  return {.epoch = "9f01",
          .seen = {{digest("b"), "\"v1\""}},
          .progress = {{digest("b"), {pieces(1, 2)}}},
          .releases = {{LeaseKind::kRack, digest("b"), {pieces(3, 1)}}},
          .asks = {{.kind = LeaseKind::kRack,
                    .blob = digest("b"),
                    .bytes = 16 << 20,
                    .candidates = {pieces(64, 64), pieces(0, 64)},
                    .urgent = true}}};
}

inline LeaseResponse lease_response() {
  return {.tracker_epoch = "ab",
          .answers = {{.reason = LeaseReason::kBusy,
                       .pieces = {pieces(64, 64)},
                       .retry = std::chrono::milliseconds(250),
                       .etag = "\"v1\""}},
          .origin_changed = {digest("b")}};
}

inline EvictionRequest eviction_request() {
  return {.epoch = "9f01",
          .replicas = 2,
          .bytes = 5 << 20,
          .dry_run = true,
          .blobs = {{digest("b"), 5 << 20}}};
}

inline EvictionResponse eviction_response() {
  return {.tracker_epoch = "ab",
          .answers = {{EvictionReason::kNotNeeded, 3}},
          .valid = std::chrono::milliseconds(5000)};
}

inline ReferenceRecord reference_record() { return {"llama:v1", digest("m"), 1, 2}; }

inline Origins origins() {
  return {{{.kind = "dir",
            .url = "file:///models/a",
            .etag = "\"x\"",
            .size = 5,
            .mtime_ns = -6,
            .nodes = {"gpu-1"},
            .labels = {{"pool", "a100"}}}}};
}

inline NodeProgress node_progress() {
  return {.node = "gpu-1",
          .state = NodePhase::kRunning,
          .bytes_total = 100,
          .bytes_done = 60,
          .by_source = {.peers = 30, .origin = 20, .local = 10},
          .rate = 5,
          .waiting_for = "a lease",
          .error = Error(Errc::kTimedOut, "too late"),
          .last_heard_ms_ago = 12,
          .sources = {{"peer", "gpu-2", 30, 4}},
          .waits = {{"lease", "waiting for a lease"}},
          .last_errors = {"x"}};
}

inline ProgressTotals totals() {
  return {.nodes = 4,
          .complete = 2,
          .failed = 1,
          .bytes_total = 400,
          .bytes_done = 300,
          .by_source = {.peers = 100, .origin = 100, .local = 100},
          .rate = 9};
}

inline PrefetchStatus prefetch_status() {
  return {.id = "0123456789abcdef",
          .version = 9,
          .reference = "llama:v1",
          .manifest = digest("m"),
          .state = PrefetchState::kTimedOut,
          .pin = true,
          .created_unix_ms = 1'700'000'000'000,
          .timeout = std::chrono::milliseconds(60'000),
          .remaining = std::chrono::milliseconds(59'000),
          .totals = totals(),
          .nodes = {node_progress()}};
}

inline NodeList node_list() {
  return {.tracker_epoch = "ab",
          .nodes = {{.node = "gpu-1",
                     .epoch = "9f01",
                     .state = "live",
                     .address = "10.0.0.7:6970",
                     .admin = "10.0.0.7:6971",
                     .topology = {"eu", "eu-1", "r7", "h1"},
                     .labels = {{"pool", "a100"}},
                     .version = "0.1.0",
                     .last_heard_ms_ago = 3,
                     .blobs = 4,
                     .complete = 3,
                     .pulls = 1,
                     .store = {.used = 1, .capacity = 2, .free = 3}}}};
}

inline StatusReport status_report() {
  return {"llama:v1", digest("m"), totals(), {node_progress()}};
}

inline IngestUpdate ingest_update() {
  return {.reference = "llama:v1",
          .node = "gpu-1",
          .epoch = "9f01",
          .state = IngestState::kSettled,
          .settled_as = digest("final"),
          .error = Error(Errc::kUnavailable, "the origin is gone")};
}

inline IngestStatus ingest_status() {
  return {.reference = "llama:v1",
          .manifest = digest("provisional"),
          .node = "gpu-1",
          .state = IngestState::kFailed,
          .settled_as = digest("final"),
          .error = Error(Errc::kUnavailable, "the origin is gone"),
          .version = 3,
          .created_unix_ms = 1,
          .updated_unix_ms = 2};
}

// Calls visitor(message) with each of them; a fuzzer's first byte picks one by its place.
template <typename Visitor>
void for_each(Visitor visitor) {
  visitor(register_request());
  visitor(register_response());
  visitor(Identity{"gpu-1", "9f01"});
  visitor(heartbeat_request());
  visitor(heartbeat_response());
  visitor(events_response());
  visitor(lease_request());
  visitor(lease_response());
  visitor(ReferenceUpdate{digest("m")});
  visitor(reference_record());
  visitor(ReferenceList{{reference_record()}, "llama:v1"});
  visitor(Resolved{"llama:v1", digest("m"), "application/json", 1, 2, 3});
  visitor(origins());
  visitor(Statements{{{"gpu-1", "signed"}}});
  visitor(PrefetchRequest{.reference = "llama:v1",
                          .nodes = {.all = false, .ids = {"gpu-1", "gpu-2"}, .labels = {}},
                          .pin = true,
                          .timeout = std::chrono::milliseconds(5)});
  visitor(PrefetchResponse{"0123456789abcdef", digest("m"), {"gpu-1"}});
  visitor(prefetch_status());
  visitor(node_list());
  visitor(status_report());
  visitor(eviction_request());
  visitor(eviction_response());
  visitor(Verdict{"9f01", digest("b"), std::string(64, 'a'), "gpu-9", true});
  visitor(VerdictResponse{"ab", true});
  visitor(VersionInfo{"shoal-tracker", "0.1.0", 1, "ab", 5});
  visitor(ingest_update());
  visitor(ingest_status());
  visitor(IngestList{{ingest_status(), ingest_status()}});
}

}  // namespace shoal::api::samples
