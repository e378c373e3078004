// The JSON bodies of requests. Internal to core/agent_client.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/agent_client/messages.h"

namespace shoal::agent_client {

std::string listing_json(const OriginQuery& query);
std::string ingest_json(IngestMode mode, const std::string& path);
std::string ingest_json(IngestMode mode, const OriginFile& file);
std::string publication_json(const PublicationRequest& request);
std::string publish_json(const PublishRequest& request);
std::string pull_json(std::string_view reference, bool pin, PullClass pull_class);
std::string digest_json(const content::Digest& digest);
std::string want_json(const Want& want);
// {"manifest"} for a digest, else {"reference"}.
std::string target_json(std::string_view target);
std::string gc_json(bool dry_run, std::optional<std::uint64_t> target_bytes);

}  // namespace shoal::agent_client
