// Both ends of the lane over real sockets: stores, threads, and what a client reported.
#pragma once

#include "core/async/task.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/lane/lane_client.h"
#include "agent/lane/lane_server.h"
#include "agent/lane/lane_threads.h"
#include "agent/lane/upload_gate.h"
#include "agent/swarm/have_board.h"
#include "core/async/blocking_pool.h"
#include "core/async/io_thread.h"
#include "core/http/tls.h"
#include "tests/agent/temp_store.h"

namespace shoal::agent {

// Calls `fn` on the thread and waits for it.
inline void call_on(IoThread& thread, std::function<void()> fn) {
  std::promise<void> done;
  thread.post([&] {
    fn();
    done.set_value();
  });
  done.get_future().get();
}

inline swarm::RequestId request_id(std::uint32_t n) { return swarm::RequestId(n); }

// What transfers reported, from any thread.
class Reports {
 public:
  LaneClient::Report receiver() {
    return [this](TransferEvent event) { add(std::move(event)); };
  }

  void add(TransferEvent event) {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(ended_.contains(event.id)) << "an event after the end";
    pieces_[event.id] += event.pieces.count;
    if (event.kind == TransferEvent::Kind::kEnded) ended_.emplace(event.id, std::move(event));
    changed_.notify_all();
  }

  // Waits for the end of a transfer.
  TransferEvent end_of(std::uint32_t n) {
    std::unique_lock lock(mutex_);
    bool ended = changed_.wait_for(lock, kLimit, [&] { return ended_.contains(request_id(n)); });
    EXPECT_TRUE(ended) << "transfer " << n << " does not end";
    return ended ? ended_.at(request_id(n)) : TransferEvent{};
  }
  // Waits until this many pieces of a transfer are verified.
  bool wait_for_pieces(std::uint32_t n, std::uint32_t pieces) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLimit, [&] { return pieces_[request_id(n)] >= pieces; });
  }
  std::uint32_t pieces_of(std::uint32_t n) {
    std::lock_guard lock(mutex_);
    return pieces_[request_id(n)];
  }
  std::size_t ended() {
    std::lock_guard lock(mutex_);
    return ended_.size();
  }

 private:
  static constexpr std::chrono::seconds kLimit{60};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<swarm::RequestId, TransferEvent> ended_;
  std::map<swarm::RequestId, std::uint32_t> pieces_;
};

// The asking end.
class ClientEnd {
 public:
  explicit ClientEnd(std::shared_ptr<http::TlsContext> tls = nullptr,
                     std::chrono::milliseconds silence_limit = std::chrono::seconds(10),
                     std::size_t threads = 1)
      : threads_(threads),
        client_(threads_, {"asker", std::move(tls), silence_limit}, reports.receiver()) {}
  ~ClientEnd() {
    stop();
    threads_.stop();
  }

  void fetch(std::uint32_t id, std::shared_ptr<store::Blob> blob, content::PieceRange pieces,
             const PeerAddress& peer, swarm::Class cls = swarm::Class::kPrefetch) {
    Transfer transfer;
    transfer.id = request_id(id);
    transfer.blob = std::move(blob);
    transfer.pieces = pieces;
    transfer.cls = cls;
    transfer.urgent = swarm::is_urgent(cls);
    client_.fetch(std::move(transfer), peer);
  }
  void cancel(std::uint32_t id, const PeerAddress& peer) { client_.cancel(request_id(id), peer); }
  std::size_t pipeline() const { return client_.pipeline(); }
  void drop_peer(const PeerAddress& peer) { client_.drop_peer(peer); }
  void stop() {
    if (!std::exchange(stopped_, true)) control_.run(client_.stop());
  }

  Reports reports;

 private:
  IoThread control_{"client-control"};
  LaneThreads threads_;
  LaneClient client_;
  bool stopped_ = false;
};

struct ServerOptions {
  std::shared_ptr<http::TlsContext> tls = nullptr;
  Rate upload_limit = {};
  swarm::UploadSlots::Options slots = {};
  std::size_t threads = 2;
};

// The answering end, with a have board.
class ServerEnd {
 public:
  using Options = ServerOptions;

  explicit ServerEnd(store::BlobStore& store, Options options = {})
      : cache_(store), gate_(options.upload_limit, options.slots), threads_(options.threads) {
    call_on(control_, [&] {
      board_ = std::make_unique<HaveBoard>(control_.executor());
      LaneServer::Options lane;
      lane.listen.tcp = {"127.0.0.1", 0};
      lane.node = "server";
      lane.epoch = "1f";
      lane.tls = options.tls;
      server_ = std::make_unique<LaneServer>(control_.executor(), threads_, cache_, gate_, pool_,
                                             *board_, std::move(lane));
      EXPECT_TRUE(server_->start());
      peer_ = {"server", server_->local()};
    });
  }
  ~ServerEnd() {
    stop();
    call_on(control_, [this] {
      server_.reset();
      board_.reset();
    });
    threads_.stop();
  }

  void stop() {
    if (std::exchange(stopped_, true)) return;
    call_on(control_, [this] { board_->close(); });
    control_.run(server_->stop());
  }

  const PeerAddress& peer() const { return peer_; }
  UploadGate& gate() { return gate_; }
  BlobCache& cache() { return cache_; }
  // Calls `fn` with the board, on its thread.
  void on_board(const std::function<void(HaveBoard&)>& fn) {
    call_on(control_, [&] { fn(*board_); });
  }
  IoThread& control() { return control_; }

 private:
  BlobCache cache_;
  UploadGate gate_;
  BlockingPool pool_{"pool", 2, 64};
  LaneThreads threads_;
  IoThread control_{"server-control"};
  std::unique_ptr<HaveBoard> board_;
  std::unique_ptr<LaneServer> server_;
  PeerAddress peer_;
  bool stopped_ = false;
};

}  // namespace shoal::agent
