// The JSON bodies of answers. Internal to core/agent_client (and its fuzzer). Errors of all:
// corrupt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/agent_client/messages.h"

namespace shoal::agent_client {

// The error in an answer that is not 2xx: the one in its body if there is one, else one of its
// status.
Error parse_error(int status, std::string_view body);

Result<std::string> parse_job(std::string_view body);
Result<AgentStatus> parse_status(std::string_view body);
Result<std::vector<BlobInfo>> parse_blobs(std::string_view body);
Result<OriginListing> parse_listing(std::string_view body);
Result<IngestState> parse_ingest(std::string_view body);
Result<std::string> parse_publication_id(std::string_view body);
Result<PublicationState> parse_publication(std::string_view body);
Result<content::Digest> parse_published(std::string_view body);
Result<PullStarted> parse_pull_started(std::string_view body);
Result<PullProgress> parse_pull_progress(std::string_view body);
// Without the descriptors.
Result<OpenedBlob> parse_opened(std::string_view body);
Result<std::vector<Pinned>> parse_pinned(std::string_view body);
Result<VerifyState> parse_verify(std::string_view body);
Result<GcResult> parse_gc(std::string_view body);
Result<Explanation> parse_explanation(std::string_view body);

}  // namespace shoal::agent_client
