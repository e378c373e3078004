#include "agent/lane/lane_client.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <unordered_map>
#include <utility>

#include "agent/lane/lane_connection.h"
#include "core/async/task_group.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kBulkPipeline = 4;
constexpr std::size_t kMaxUrgent = 4;
// More of one peer's bulk connections are not kept full: orders that are out cannot go elsewhere.
constexpr std::size_t kMostConnections = 4;
constexpr std::chrono::milliseconds kIdle{30'000};
// A peer counts for the sharing of threads for so long after a fetch.
constexpr std::chrono::seconds kLately{2};

std::string key_of(const PeerAddress& peer) { return peer.node + "@" + peer.lane.str(); }

}  // namespace

// The connections of one lane thread. All members but post() on that thread.
class LaneClient::Worker {
 public:
  Worker(IoThread& thread, Options options, Report report)
      : thread_(thread),
        options_(std::move(options)),
        report_([this, report = std::move(report)](TransferEvent event) {
          if (event.kind == TransferEvent::Kind::kEnded) --load_;
          report(std::move(event));
        }),
        tasks_(thread.executor(), "lane-client") {}

  IoThread& thread() { return thread_; }

  // Transfers that were given to it and have not ended. Any thread.
  std::atomic<std::size_t>& load() { return load_; }

  void fetch(Transfer transfer, const PeerAddress& peer) {
    if (stopped_) return;
    std::string key = key_of(peer);
    Peer& entry = peers_[key];
    LaneConnection* connection =
        transfer.urgent ? urgent(entry, key, peer) : bulk(entry, key, peer);
    connection->add(std::move(transfer));
  }

  void cancel(swarm::RequestId id, const PeerAddress& peer) {
    auto it = peers_.find(key_of(peer));
    if (it == peers_.end()) return;
    for (auto& connection : it->second.connections) {
      if (connection.lane->cancel(id)) return;
    }
  }

  void drop_peer(const PeerAddress& peer) {
    auto it = peers_.find(key_of(peer));
    if (it == peers_.end()) return;
    for (auto& connection : it->second.connections) connection.lane->close();
  }

  Task<void> stop() {
    stopped_ = true;
    co_await tasks_.stop();
    peers_.clear();
  }

 private:
  struct Connection {
    std::unique_ptr<LaneConnection> lane;
    bool urgent = false;
  };
  struct Peer {
    std::vector<Connection> connections;
  };

  LaneConnection* bulk(Peer& entry, const std::string& key, const PeerAddress& peer) {
    for (Connection& connection : entry.connections) {
      if (!connection.urgent && !connection.lane->closed()) return connection.lane.get();
    }
    return open(entry, key, peer, false);
  }

  LaneConnection* urgent(Peer& entry, const std::string& key, const PeerAddress& peer) {
    LaneConnection* best = nullptr;
    std::size_t count = 0;
    for (Connection& connection : entry.connections) {
      if (!connection.urgent || connection.lane->closed()) continue;
      ++count;
      if (best == nullptr || connection.lane->load() < best->load()) best = connection.lane.get();
    }
    if (best != nullptr && (best->load() == 0 || count >= kMaxUrgent)) return best;
    return open(entry, key, peer, true);
  }

  LaneConnection* open(Peer& entry, const std::string& key, const PeerAddress& peer, bool urgent) {
    LaneConnection::Options options;
    options.peer = peer;
    options.node = options_.node;
    options.tls = options_.tls;
    options.pipeline = urgent ? 1 : kBulkPipeline;
    options.idle_limit = kIdle;
    options.silence_limit = options_.silence_limit;
    auto lane = std::make_unique<LaneConnection>(thread_.executor(), std::move(options), report_);
    LaneConnection* connection = lane.get();
    entry.connections.push_back({std::move(lane), urgent});
    tasks_.spawn(key, run(key, connection), [connection] { connection->close(); });
    return connection;
  }

  Task<void> run(std::string key, LaneConnection* connection) {
    co_await connection->run();
    auto it = peers_.find(key);
    std::erase_if(it->second.connections,
                  [connection](const Connection& c) { return c.lane.get() == connection; });
    if (it->second.connections.empty()) peers_.erase(it);
  }

  IoThread& thread_;
  const Options options_;
  const Report report_;
  TaskGroup tasks_;
  std::unordered_map<std::string, Peer> peers_;
  std::atomic<std::size_t> load_ = 0;
  bool stopped_ = false;
};

LaneClient::LaneClient(LaneThreads& threads, Options options, Report report) {
  for (std::size_t i = 0; i < threads.size(); ++i) {
    workers_.push_back(std::make_unique<Worker>(threads.at(i), options, report));
  }
}

LaneClient::~LaneClient() = default;

// Of the threads that are this peer's share the one with the least to do.
LaneClient::Worker& LaneClient::next_worker(const PeerAddress& peer) {
  const auto now = std::chrono::steady_clock::now();
  std::string key = key_of(peer);
  const std::size_t first = std::hash<std::string>()(key);
  last_fetch_[std::move(key)] = now;
  std::erase_if(last_fetch_, [now](const auto& known) { return known.second < now - kLately; });
  const std::size_t share = std::max<std::size_t>(1, workers_.size() / last_fetch_.size());
  Worker* best = nullptr;
  for (std::size_t i = 0; i < share; ++i) {
    Worker& worker = *workers_[(first + i) % workers_.size()];
    if (best == nullptr || worker.load() < best->load()) best = &worker;
  }
  return *best;
}

std::size_t LaneClient::pipeline() const {
  return kBulkPipeline * std::min(workers_.size(), kMostConnections);
}

void LaneClient::fetch(Transfer transfer, const PeerAddress& peer) {
  Worker& worker = next_worker(peer);
  ++worker.load();
  worker.thread().post([&worker, transfer = std::move(transfer), peer]() mutable {
    worker.fetch(std::move(transfer), peer);
  });
}

void LaneClient::cancel(swarm::RequestId id, const PeerAddress& peer) {
  for (auto& worker : workers_) {
    worker->thread().post([worker = worker.get(), id, peer] { worker->cancel(id, peer); });
  }
}

void LaneClient::drop_peer(const PeerAddress& peer) {
  for (auto& worker : workers_) {
    worker->thread().post([worker = worker.get(), peer] { worker->drop_peer(peer); });
  }
}

Task<void> LaneClient::stop() {
  for (auto& worker : workers_) {
    co_await asio::co_spawn(worker->thread().executor(), worker->stop(), asio::use_awaitable);
  }
}

}  // namespace shoal::agent
