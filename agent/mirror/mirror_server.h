// The mirror's listener: models of the cluster as OCI artifacts, for any client of the OCI
// distribution spec 1.1 on this node (docs/formats/mirror.md). It reads only, and hands out
// verified bytes only: of a blob that is still on its way, each piece once it is verified.
//
// It has a thread of its own, so that bytes that go to clients hold up nothing else; what it needs
// to know it asks of MirrorContent on the control thread.
#pragma once

#include "core/async/task.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/mirror/content.h"
#include "agent/mirror/oci_request.h"
#include "core/async/blocking_pool.h"
#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/base/result.h"
#include "core/http/message.h"
#include "core/http/server.h"
#include "core/http/url.h"

namespace shoal::agent {

// Thread: the executor's, but for pieces_ready(). Lifetime: borrows everything given; stop() has
// ended before destruction.
class MirrorServer {
 public:
  struct Options {
    http::Endpoint listen;
    std::vector<std::string> names;  // registries whose names are the cluster's
    // So long without a verified byte of a blob ends the answers that wait for it.
    std::chrono::milliseconds stall{60'000};
    std::size_t max_readers = 256;  // of blobs, at once
    // How often an answer that waits looks whether its client is still there.
    std::chrono::milliseconds look{1'000};
  };

  // `control` is the executor of `content`.
  MirrorServer(Executor executor, Executor control, MirrorContent& content, BlockingPool& pool,
               Options options);
  ~MirrorServer();
  MirrorServer(const MirrorServer&) = delete;
  MirrorServer& operator=(const MirrorServer&) = delete;

  // Errors: those of http::Server::start().
  Task<Status> start();
  // With the real port; after start().
  const http::Endpoint& local() const { return server_.local(); }
  // Running answers end at once: what a client got of a blob is then short, and it sees that.
  Task<void> stop(Deadline deadline);

  // Some blob has pieces that it had not. From any thread.
  void pieces_ready();

 private:
  struct Reading;

  Task<http::Response> answer(http::Request request);
  Task<http::Response> route(http::Request request, ParsedOciRequest parsed);
  Task<http::Response> manifest(http::Request request, OciRequest asked);
  Task<http::Response> blob(http::Request request, OciRequest asked);
  Task<http::Response> referrers(OciRequest asked);
  Task<http::Response> list(http::Request request, OciRequest asked);
  Task<http::Response> failed(Error error, std::string name, std::string_view unknown);

  Task<Status> open(std::shared_ptr<Reading> reading);
  Task<Status> arrival(Reading* reading, std::uint64_t offset);
  Task<Status> send(http::Stream* stream, std::shared_ptr<Reading> reading);
  Task<Result<bool>> send_ready(http::Stream* stream, Reading* reading, ByteRange range);

  // Constant after construction
  const Executor executor_;
  const Executor control_;
  MirrorContent& content_;
  BlockingPool& pool_;
  const Options options_;

  // Executor's thread only
  http::Server server_;
  Condition arrived_;
  std::size_t readers_ = 0;
  bool stopping_ = false;

  std::atomic<std::size_t> waiting_{0};  // answers that wait for pieces
  std::atomic<bool> rung_{false};        // a wake-up of theirs is posted
};

}  // namespace shoal::agent
