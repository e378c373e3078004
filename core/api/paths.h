// The tracker API's paths, so that three programs spell them alike. Ids and references are escaped.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/content/digest.h"

namespace shoal::api::paths {

// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ (RFC 3986, section 2.3).
std::string escape(std::string_view text);

std::string node_register(std::string_view node);
std::string node_heartbeat(std::string_view node);
std::string node_leases(std::string_view node);
std::string node_events(std::string_view node, std::string_view epoch, std::uint64_t since,
                        std::chrono::milliseconds wait);

std::string manifest(const content::Digest& digest);
std::string table(const content::Digest& blob);
std::string origins(const content::Digest& blob);
std::string statements(const content::Digest& blob);
std::string statement(const content::Digest& blob, std::string_view node);
std::string reference(std::string_view reference);
std::string references(std::string_view after, std::size_t limit);
std::string resolve(std::string_view reference);

std::string prefetch();
std::string prefetch(std::string_view id);
std::string prefetch(std::string_view id, std::uint64_t since, std::chrono::milliseconds wait);
std::string nodes();
std::string status(std::string_view reference);
std::string version();

}  // namespace shoal::api::paths
