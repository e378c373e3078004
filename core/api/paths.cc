#include "core/api/paths.h"

namespace shoal::api::paths {

namespace {

std::string node_path(std::string_view node, std::string_view last) {
  return std::string(kNodes) + "/" + std::string(node) + "/" + std::string(last);
}

}  // namespace

std::string node_register(std::string_view node) { return node_path(node, "register"); }
std::string node_heartbeat(std::string_view node) { return node_path(node, "heartbeat"); }
std::string node_leases(std::string_view node) { return node_path(node, "leases"); }
std::string node_evictions(std::string_view node) { return node_path(node, "evictions"); }
std::string node_verdicts(std::string_view node) { return node_path(node, "verdicts"); }
std::string node_events(std::string_view node) { return node_path(node, "events"); }

Query events_query(std::string_view epoch, std::uint64_t since, std::chrono::milliseconds wait) {
  Query query = poll_query(since, wait);
  query.emplace("epoch", epoch);
  return query;
}

std::string manifest(const content::Digest& digest) { return "/v1/manifests/" + digest.str(); }
std::string table(const content::Digest& blob) { return "/v1/tables/" + blob.str(); }
std::string origins(const content::Digest& blob) { return "/v1/origins/" + blob.str(); }
std::string statements(const content::Digest& blob) { return "/v1/statements/" + blob.str(); }
std::string statement(const content::Digest& blob, std::string_view node) {
  return statements(blob) + "/" + std::string(node);
}

Query reference_query(std::string_view reference) {
  return {{"reference", std::string(reference)}};
}

Query list_query(std::string_view after, std::size_t limit) {
  return {{"after", std::string(after)}, {"limit", std::to_string(limit)}};
}

std::string prefetch(std::string_view id) { return std::string(kPrefetch) + "/" + std::string(id); }

std::string ingest(const content::Digest& manifest) {
  return std::string(kIngests) + "/" + manifest.str();
}

Query poll_query(std::uint64_t since, std::chrono::milliseconds wait) {
  return {{"since", std::to_string(since)}, {"wait", std::to_string(wait.count())}};
}

}  // namespace shoal::api::paths
