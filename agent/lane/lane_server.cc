#include "agent/lane/lane_server.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <stop_token>
#include <utility>

#include "agent/lane/page_cache.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/http/range.h"
#include "core/http/socket.h"
#include "core/http/tls.h"
#include "core/http/wire.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHandshakeTimeout{10'000};
constexpr milliseconds kIdleTimeout{60'000};
constexpr milliseconds kHeadTimeout{10'000};
// After a failure for want of descriptors or memory.
constexpr milliseconds kAcceptPause{100};
// A peer that takes nothing for so long is cut off.
constexpr milliseconds kSendTimeout{30'000};
// What is read of a next request while a long poll waits.
constexpr std::size_t kEarlyRead = 4 * 1024;
constexpr std::uint64_t kMaxRange = 16 * kMiB;
// How much is sent between two looks at the upload limit.
constexpr std::uint64_t kPacedChunk = 64 * kKiB;
// How much of a long body is looked at, brought into the page cache and sent at a time.
constexpr std::uint64_t kSendChunk = 4 * kMiB;
constexpr http::MessageLimits kLimits{16 * 1024, 64 * 1024};

swarm::Class class_of(std::string_view name) {
  for (std::size_t i = 0; i < swarm::kClassCount; ++i) {
    auto cls = static_cast<swarm::Class>(i);
    if (swarm::class_name(cls) == name) return cls;
  }
  return swarm::Class::kPlan;
}

metrics::Counter& sent_bytes() {
  static metrics::Counter& counter = metrics::counter(
      "shoal_agent_lane_sent_bytes_total", "Bytes of blobs sent to other agents over the lane.");
  return counter;
}

metrics::Counter& answers(std::string_view result) {
  return metrics::counter("shoal_agent_lane_answers_total",
                          "Answers to range requests of other agents.",
                          {{"result", std::string(result)}});
}

}  // namespace

// The connections of one lane thread. All members on that thread.
class LaneServer::Worker {
 public:
  Worker(LaneServer& server, IoThread& thread, BlobCache& blobs, UploadGate& gate,
         BlockingPool& pool, LaneBackend& backend)
      : server_(server),
        thread_(thread),
        blobs_(blobs),
        gate_(gate),
        pool_(pool),
        backend_(backend),
        tasks_(thread.executor(), "lane-server"),
        stop_(thread.executor()) {}

  IoThread& thread() { return thread_; }

  void take(UniqueFd socket) {
    auto ending = std::make_shared<Ending>();
    bool started = tasks_.spawn("connection", serve(std::move(socket), ending), [ending] {
      ending->handshake.request_stop();
      if (ending->stream != nullptr) ending->stream->close();
    });
    if (!started) --server_.connections_;
  }

  Task<void> stop() {
    stop_.set();
    co_await tasks_.stop();
  }

 private:
  // How a connection is made to end, in the handshake and after.
  struct Ending {
    std::stop_source handshake;
    http::Stream* stream = nullptr;
  };
  struct Connection {
    http::Stream* stream;
    std::string peer;  // who gets the upload slot
  };
  // The read of the next request while this one is answered.
  struct EarlyRead {
    explicit EarlyRead(Executor executor) : ended(std::move(executor)) {}
    Condition ended;
    bool under_way = false;  // a task borrows this, the stream and the buffer
    bool at_end = false;     // the peer closed, or the connection broke
  };

  Task<void> serve(UniqueFd socket, std::shared_ptr<Ending> ending) {
    std::unique_ptr<http::Stream> stream =
        co_await open(std::move(socket), ending->handshake.get_token());
    if (stream) {
      ending->stream = stream.get();
      if (!stop_.is_set()) {
        http::ReadBuffer buffer;
        EarlyRead early(thread_.executor());
        co_await serve_requests(stream.get(), &buffer, &early);
        if (early.under_way) {
          stream->close();
          (void)co_await early.ended.wait(Deadline::never());
        }
      }
      ending->stream = nullptr;
    }
    --server_.connections_;
  }

  Task<std::unique_ptr<http::Stream>> open(UniqueFd socket, std::stop_token stop) {
    Result<std::unique_ptr<http::Stream>> stream = fail(Errc::kInternal, "");
    if (server_.options_.tls) {
      stream = co_await http::Stream::accept_tls(thread_.executor(), std::move(socket),
                                                 server_.options_.tls,
                                                 Deadline::after(kHandshakeTimeout), stop);
    } else {
      stream = http::Stream::plain(thread_.executor(), std::move(socket));
    }
    if (!stream) {
      if (stream.error().code() == Errc::kCancelled) co_return nullptr;
      log::info("lane connection refused", {{"err", stream.error()}});
      co_return nullptr;
    }
    co_return std::move(*stream);
  }

  Task<void> serve_requests(http::Stream* stream, http::ReadBuffer* buffer, EarlyRead* early) {
    const std::string by_certificate = stream->peer_identity().node;
    for (;;) {
      Deadline idle = Deadline::after(kIdleTimeout);
      if (early->under_way) (void)co_await early->ended.wait(idle);
      if (early->under_way || early->at_end) co_return;
      auto incoming = co_await http::read_request(stream, buffer, kLimits, idle, kHeadTimeout);
      if (!incoming) co_return;
      http::Response response;
      bool keep = incoming->keep_alive && !stop_.is_set();
      if (incoming->request) {
        http::Request& request = *incoming->request;
        request.peer.address = stream->peer_address();
        request.peer.identity = stream->peer_identity();
        std::string node(request.headers.value(http::kNodeHeader));
        Connection connection{stream, by_certificate.empty() ? node : by_certificate};
        if (connection.peer.empty()) connection.peer = stream->peer_address();
        bool head_only = request.method == "HEAD";
        const bool of_blob = request.path.starts_with("/v1/blobs/");
        const bool asks_hashes = of_blob && request.path.ends_with("/hashes");
        const bool blob = of_blob && !asks_hashes && !request.path.ends_with("/table");
        if (blob && (request.method == "GET" || head_only)) {
          if (!co_await serve_blob(&connection, &request, keep, head_only)) co_return;
          if (!keep) co_return;
          continue;
        }
        if (asks_hashes && request.method == "GET") {
          response = co_await asio::co_spawn(server_.control_, hashes(std::move(request)),
                                             asio::use_awaitable);
        } else if (request.path == "/v1/have" && request.method == "GET") {
          response = co_await have(stream, buffer, early, std::move(request));
          if (early->at_end) co_return;
        } else {
          response = answer(request);
        }
      } else if (incoming->refusal != 0) {
        response = http::Response::error(Error(Errc::kInvalid, incoming->reason));
        response.status = incoming->refusal;
        keep = false;
      } else {
        co_return;  // closed between two requests
      }
      Status sent = co_await http::write_response(stream, &response, keep, false,
                                                  Deadline::after(kSendTimeout));
      if (!sent || !keep) co_return;
    }
  }

  // A long poll. A peer that leaves meanwhile must not hold its connection until the answer is due,
  // so the next request is read at the same time: that read sees the end.
  Task<http::Response> have(http::Stream* stream, http::ReadBuffer* buffer, EarlyRead* early,
                            http::Request request) {
    auto asker = std::make_shared<LaneAsker>();
    // With bytes of another request at hand the peer was there a moment ago, and its end is behind
    // them.
    if (buffer->empty()) {
      early->under_way = true;
      bool reads = tasks_.spawn("early read", read_early(stream, buffer, early, asker));
      if (!reads) early->under_way = false;
    }
    co_return co_await asio::co_spawn(
        server_.control_, backend_.have(std::move(request), std::move(asker)), asio::use_awaitable);
  }

  Task<void> read_early(http::Stream* stream, http::ReadBuffer* buffer, EarlyRead* early,
                        std::shared_ptr<LaneAsker> asker) {
    auto got = co_await stream->read_some(buffer->prepare(kEarlyRead), Deadline::never());
    if (got) buffer->commit(*got);
    const bool at_end = !got || *got == 0;
    early->at_end = at_end;
    early->under_way = false;
    early->ended.notify_all();
    if (!at_end) co_return;
    asio::post(server_.control_, [&backend = backend_, asker = std::move(asker)] {
      asker->gone = true;
      backend.askers_left();
    });
  }

  http::Response answer(const http::Request& request) {
    if (request.method != "GET") {
      http::Response response =
          http::Response::error(Error(Errc::kInvalid, "the lane answers GET only"));
      response.status = 405;
      return response;
    }
    if (request.path == "/v1/identity") {
      return http::Response::json("{\"node\":\"" + server_.options_.node + "\",\"epoch\":\"" +
                                  server_.options_.epoch + "\"}");
    }
    if (request.path.starts_with("/v1/blobs/") && request.path.ends_with("/table")) {
      std::string_view name = request.path;
      name.remove_prefix(std::string_view("/v1/blobs/").size());
      name.remove_suffix(std::string_view("/table").size());
      auto blob = find(name);
      if (!blob) return http::Response::error(blob.error());
      if (!(*blob)->settled()) {
        return http::Response::error(
            Error(Errc::kNotFound, (*blob)->digest().str() + " has no piece table yet"));
      }
      std::vector<std::byte> bytes = (*blob)->table().serialise();
      http::Response response;
      response.headers.set("Content-Type", "application/octet-stream");
      response.body.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return response;
    }
    return http::Response::error(Error(Errc::kNotFound, "no such resource on the lane"));
  }

  // On the control thread.
  Task<http::Response> hashes(http::Request request) {
    if (!server_.options_.hashes) {
      co_return http::Response::error(Error(Errc::kNotFound, "no such resource on the lane"));
    }
    co_return server_.options_.hashes(std::move(request));
  }

  Result<std::shared_ptr<store::Blob>> find(std::string_view name) {
    Result<content::Digest> digest = content::Digest::parse_name(name);
    if (!digest) return fail(digest.error());
    return blobs_.find(*digest);
  }

  // Writes the whole answer. False if the connection is of no further use.
  Task<bool> serve_blob(Connection* connection, http::Request* request, bool keep, bool head_only) {
    http::Response response;
    std::optional<UploadGate::Ticket> ticket;
    std::shared_ptr<store::Blob> blob;
    ByteRange range;
    int file = -1;
    swarm::Class cls = class_of(request->headers.value("Shoal-Class"));
    prepare(*connection, *request, cls, response, ticket, blob, range, file);
    Deadline deadline = Deadline::after(kSendTimeout);
    if (file < 0) {
      if (!response.ok()) answers(std::to_string(response.status)).add();
      co_return (
          co_await http::write_response(connection->stream, &response, keep, head_only, deadline))
          .has_value();
    }
    std::string head = http::serialise_head(response, range.length, keep);
    if (!co_await connection->stream->write_all(head, deadline)) co_return false;
    if (head_only) co_return true;
    while (!range.empty()) {
      ByteRange chunk{range.offset, std::min(range.length, kSendChunk)};
      if (!resident(file, chunk)) {
        auto work = [file, chunk] { read_ahead(file, chunk); };
        // On the pool, so that a cold disk does not hold up the thread's other connections.
        (void)co_await pool_.run(work);
      }
      if (!co_await send(connection->stream, file, chunk, cls)) co_return false;
      range = {chunk.end(), range.length - chunk.length};
    }
    answers("served").add();
    co_return true;
  }

  // Decides what to answer: either `response` is complete, or `file` is set and the bytes of
  // `range` follow its head.
  void prepare(const Connection& connection, const http::Request& request, swarm::Class cls,
               http::Response& response, std::optional<UploadGate::Ticket>& ticket,
               std::shared_ptr<store::Blob>& blob, ByteRange& range, int& file) {
    std::string_view name = request.path;
    name.remove_prefix(std::string_view("/v1/blobs/").size());
    auto found = find(name);
    if (!found) {
      response = http::Response::error(found.error());
      return;
    }
    blob = std::move(*found);
    const std::uint64_t size = blob->layout().size();
    range = {0, size};
    response.status = 200;
    if (auto header = request.headers.get("Range")) {
      Result<http::RangeRequest> parsed = http::parse_range(*header);
      if (!parsed) {
        response = http::Response::error(parsed.error());
        return;
      }
      std::optional<ByteRange> resolved = http::resolve_range(*parsed, size);
      if (!resolved) {
        response = http::Response::error(Error(Errc::kInvalid, "range outside the blob"));
        response.status = 416;
        response.headers.set("Content-Range", http::format_content_range({std::nullopt, size}));
        return;
      }
      range = *resolved;
      if (range.length > std::max(kMaxRange, blob->layout().piece_length())) {
        response = http::Response::error(
            Error(Errc::kInvalid, "range longer than 16 MiB and than one piece"));
        return;
      }
      response.status = 206;
      response.headers.set("Content-Range", http::format_content_range({range, size}));
    }
    Result<int> servable = blob->serve(range);
    if (!servable) {
      response = http::Response::error(servable.error());
      if (servable.error().code() == Errc::kUnavailable) {
        response.status = 409;
        response.headers.set("Shoal-Have-Version", std::to_string(blob->version()));
      }
      return;
    }
    milliseconds retry_after{0};
    if (!gate_.admit(connection.peer, cls, ticket, retry_after)) {
      response = http::Response::error(Error(Errc::kOverloaded, "upload slots are taken"),
                                       std::max(retry_after, milliseconds(1)));
      return;
    }
    response.headers.set("Content-Type", "application/octet-stream");
    response.headers.set("Accept-Ranges", "bytes");
    if (range.empty()) return;  // an empty blob: the head says it all
    file = *servable;
  }

  Task<bool> send(http::Stream* stream, int file, ByteRange range, swarm::Class cls) {
    while (!range.empty()) {
      std::uint64_t length = gate_.limited() ? std::min(range.length, kPacedChunk) : range.length;
      if (gate_.limited()) {
        while (auto when = gate_.take(cls, length, std::chrono::steady_clock::now())) {
          if (!co_await sleep_until(Deadline::at(*when), &stop_)) co_return false;
        }
      }
      Status sent =
          co_await stream->send_file(file, range.offset, length, Deadline::after(kSendTimeout));
      if (!sent) co_return false;
      sent_bytes().add(length);
      range = {range.offset + length, range.length - length};
    }
    co_return true;
  }

  LaneServer& server_;
  IoThread& thread_;
  BlobCache& blobs_;
  UploadGate& gate_;
  BlockingPool& pool_;
  LaneBackend& backend_;
  TaskGroup tasks_;
  Event stop_;
};

LaneServer::LaneServer(Executor control, LaneThreads& threads, BlobCache& blobs, UploadGate& gate,
                       BlockingPool& pool, LaneBackend& backend, Options options)
    : control_(control),
      threads_(threads),
      options_(std::move(options)),
      tasks_(control, "lane"),
      stop_(control) {
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(*this, threads_.at(i), blobs, gate, pool, backend));
  }
}

LaneServer::~LaneServer() = default;

Status LaneServer::start() {
  auto listener = http::Listener::open(control_, options_.listen);
  if (!listener) return fail(listener.error().with_context("lane-listen"));
  listener_ = std::move(*listener);
  tasks_.spawn("accept", accept_loop(), [this] {
    stop_.set();
    listener_->close();
  });
  return {};
}

http::HostPort LaneServer::local() const { return listener_->local().tcp; }

Task<void> LaneServer::accept_loop() {
  for (std::size_t next = 0;; ++next) {
    auto socket = co_await listener_->accept();
    if (!socket) {
      if (socket.error().code() == Errc::kCancelled) co_return;
      log::warn("lane cannot accept", {{"err", socket.error()}});
      if (!co_await sleep_until(Deadline::after(kAcceptPause), &stop_)) co_return;
      continue;
    }
    if (connections_ >= options_.max_connections) {
      log::warn("lane connection limit reached", {{"limit", options_.max_connections}});
      continue;
    }
    ++connections_;
    Worker& worker = *workers_[next % workers_.size()];
    auto shared = std::make_shared<UniqueFd>(std::move(*socket));
    worker.thread().post([&worker, shared] { worker.take(std::move(*shared)); });
  }
}

Task<void> LaneServer::stop() {
  co_await tasks_.stop();
  for (auto& worker : workers_) {
    co_await asio::co_spawn(worker->thread().executor(), worker->stop(), asio::use_awaitable);
  }
}

}  // namespace shoal::agent
