// The tracker API's paths and query parameters, so that three programs spell them alike. Paths are
// not percent-encoded: that is core/http's business.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "core/content/digest.h"

namespace shoal::api::paths {

// The same type as http::Query.
using Query = std::map<std::string, std::string, std::less<>>;

std::string node_register(std::string_view node);
std::string node_heartbeat(std::string_view node);
std::string node_leases(std::string_view node);
std::string node_evictions(std::string_view node);
std::string node_verdicts(std::string_view node);
std::string node_events(std::string_view node);
Query events_query(std::string_view epoch, std::uint64_t since, std::chrono::milliseconds wait);

std::string manifest(const content::Digest& digest);
std::string table(const content::Digest& blob);
std::string origins(const content::Digest& blob);
std::string statements(const content::Digest& blob);
std::string statement(const content::Digest& blob, std::string_view node);

inline constexpr std::string_view kReferences = "/v1/references";  // reference_query or list_query
inline constexpr std::string_view kResolve = "/v1/resolve";        // reference_query
inline constexpr std::string_view kStatus = "/v1/status";          // reference_query
Query reference_query(std::string_view reference);
Query list_query(std::string_view after, std::size_t limit);

inline constexpr std::string_view kPrefetch = "/v1/prefetch";
std::string prefetch(std::string_view id);
Query poll_query(std::uint64_t since, std::chrono::milliseconds wait);

inline constexpr std::string_view kIngests = "/v1/ingests";
std::string ingest(const content::Digest& manifest);  // a provisional one; GET with poll_query

inline constexpr std::string_view kNodes = "/v1/nodes";
inline constexpr std::string_view kVersion = "/v1/version";

}  // namespace shoal::api::paths
