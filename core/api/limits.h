// The limits of the tracker's HTTP API. A reader refuses what exceeds them, a writer never produces
// it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace shoal::api {

// Bodies, in bytes. Manifests and piece tables have the limits of core/content.
inline constexpr std::size_t kMaxRequestBody = 4u << 20;    // JSON sent to the tracker
inline constexpr std::size_t kMaxResponseBody = 64u << 20;  // JSON sent by the tracker
inline constexpr std::size_t kMaxStatementText = 8u << 10;
inline constexpr std::size_t kMaxDepth = 12;  // of nested JSON arrays and objects

// Text, in bytes.
inline constexpr std::size_t kMaxNodeId = 128;
inline constexpr std::size_t kMaxEpoch = 32;
inline constexpr std::size_t kMaxAddress = 300;  // "host:port"
inline constexpr std::size_t kMaxName = 253;  // topology parts, labels, versions, ids, media types
inline constexpr std::size_t kMaxReference = 512;
inline constexpr std::size_t kMaxRootText = 64;
inline constexpr std::size_t kMaxUrl = 4096;
inline constexpr std::size_t kMaxEtag = 256;
inline constexpr std::size_t kMaxText =
    2048;  // sentences for people: errors, what a pull waits for

// Entries of one message.
inline constexpr std::size_t kMaxLabels = 64;
inline constexpr std::size_t kMaxBlobReports = 16'384;  // the rest goes into the next heartbeat
inline constexpr std::size_t kMaxPullReports = 256;
inline constexpr std::size_t kMaxPullSources = 32;
inline constexpr std::size_t kMaxPullNotes = 16;  // waits and last errors, each
inline constexpr std::size_t kMaxPeerReports = 256;
inline constexpr std::size_t kMaxHeldLeases = 4096;
inline constexpr std::size_t kMaxLeaseAsks = 256;
inline constexpr std::size_t kMaxLeaseUpdates = 4096;
inline constexpr std::size_t kMaxEvictionAsks = 1024;
inline constexpr std::size_t kMaxCandidates = 256;  // of one lease ask
inline constexpr std::size_t kMaxSpans = 32'768;  // runs of pieces of one blob: every second piece
inline constexpr std::size_t kMaxNeighbours = 64;
inline constexpr std::size_t kMaxOrders = 1024;
inline constexpr std::size_t kMaxOrigins = 16;     // of one blob
inline constexpr std::size_t kMaxStatements = 16;  // of one blob
inline constexpr std::size_t kMaxWithdrawals = 1024;
inline constexpr std::size_t kMaxSelected = 10'000;  // node ids in one prefetch request
inline constexpr std::size_t kMaxNodes = 20'000;     // in an answer
inline constexpr std::size_t kMaxPage = 1000;        // references in one answer
inline constexpr std::size_t kMaxIngests = 1000;     // in one answer

// Numbers.
inline constexpr std::chrono::milliseconds kMaxWait{60'000};  // of a long poll; longer asks are cut
inline constexpr std::chrono::milliseconds kMaxTimeout{30LL * 24 * 3600 * 1000};

// One to kMaxNodeId of A-Z a-z 0-9 . _ -, not starting with a dot or dash: what a certificate names
// and what stands in a path.
bool valid_node_id(std::string_view text);
// One to kMaxEpoch lower-case hexadecimal digits.
bool valid_epoch(std::string_view text);
// "host:port" with port 1–65535; an IPv6 host stands in brackets. An empty host is valid only where
// `may_omit_host`.
bool valid_address(std::string_view text, bool may_omit_host = false);

}  // namespace shoal::api
