// The agent's local API for programs on its node: command line, loader, snapshotter. Blocking calls
// on one unix-socket connection; no event loop, no threads, no Boost, because the loader runs
// inside other people's processes. Hides HTTP, JSON and the passing of descriptors.
//
// Thread: one at a time. Use a client for each thread.
// Lifetime: what was opened or wanted holds as long as the connection it was asked on; generation()
// says when that has changed.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/agent_client/messages.h"
#include "core/base/result.h"

namespace shoal::agent_client {

inline constexpr std::string_view kDefaultSocket = "/run/shoal/agent.sock";

struct Options {
  std::filesystem::path socket{kDefaultSocket};
  // Of each call, from connecting to the last byte of the answer, beside the `wait` that some take.
  std::chrono::milliseconds timeout{30'000};
  std::string pull_id;  // sent with each request, if not empty
  // A descriptor that becomes readable when calls shall end with cancelled: an eventfd or a
  // signalfd, which the client never reads. Outlives the client. -1: none.
  int cancel_fd = -1;
};

// An answer as it came, for requests that are forwarded to the tracker.
struct RawAnswer {
  int status = 0;
  std::string content_type;
  std::string body;
};

// Errors of all calls beside those named: unavailable (no agent listens, or the connection broke),
// denied (no permission for the socket or the request), timed_out, cancelled, corrupt (the answer
// is not what the document says), and whatever code the agent sent. A call that failed leaves the
// client usable.
class Client {
 public:
  explicit Client(Options options);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  Result<AgentStatus> status();
  Result<std::vector<BlobInfo>> blobs();

  // What an origin has there. Errors: those of the origin: denied, not_found, overloaded, …
  Result<OriginListing> list_origin(const OriginQuery& query);

  // Lets the agent read a file of an origin, whole; `mode` is copy or hash. The job's id.
  Result<std::string> start_ingest(const OriginFile& file, IngestMode mode);
  // Hands `fd` (open for reading; it stays the caller's) to the agent, which reads the whole file.
  // `path` is absolute; needed for in-place, and shown in messages. The job's id.
  Result<std::string> start_ingest(int fd, IngestMode mode, const std::filesystem::path& path);
  // Returns when the job has ended, else after `wait`.
  Result<IngestState> ingest(std::string_view job, std::chrono::milliseconds wait);
  Status cancel_ingest(std::string_view job);
  // Publishes a model from its origin; the publication's id. It goes on whatever becomes of this
  // process. Errors: conflict (this node is publishing that reference already).
  Result<std::string> start_publication(const PublicationRequest& request);
  // Returns when it has ended, else after `wait`.
  Result<PublicationState> publication(std::string_view id, std::chrono::milliseconds wait);
  Status cancel_publication(std::string_view id);
  // The manifest's digest. Every layer must be known from an ingest of this agent (else invalid).
  Result<content::Digest> publish(const PublishRequest& request);

  // Errors: not_found for an unknown reference.
  Result<PullStarted> start_pull(std::string_view reference, bool pin, PullClass pull_class);
  // Returns when the progress has a version past `since`, else after `wait`.
  Result<PullProgress> pull(std::string_view pull, std::uint64_t since,
                            std::chrono::milliseconds wait);
  Status cancel_pull(std::string_view pull);

  // Errors: not_found if the store does not know the blob.
  Result<OpenedBlob> open(const content::Digest& digest);
  Status want(const Want& want);

  // `target` is a reference or a manifest's digest. What is pinned afterwards.
  Result<std::vector<Pinned>> pin(std::string_view target);
  Result<std::vector<Pinned>> unpin(std::string_view target);

  Result<std::string> start_verify(std::string_view reference);  // the job's id
  Result<VerifyState> verify(std::string_view job, std::chrono::milliseconds wait);

  // Evicts down to the low watermark, or by `target_bytes` if given. With `dry_run` only says what
  // would be evicted.
  Result<GcResult> gc(bool dry_run, std::optional<std::uint64_t> target_bytes);

  Result<Explanation> explain(std::string_view reference);

  // Sends a request of the tracker's API (`target` begins with /v1/) through the agent; `wait` is
  // how long the tracker may take beyond the timeout. The answer whatever its status; unavailable
  // if the agent has no tracker.
  Result<RawAnswer> forward(std::string_view method, std::string_view target, std::string_view body,
                            std::chrono::milliseconds wait);

  // Grows with every new connection: blobs opened and wants set before belong to the one that is
  // gone.
  std::uint64_t generation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::agent_client
