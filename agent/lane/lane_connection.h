// One connection of the lane's client: a pipeline of range requests to one peer.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/lane/range_receiver.h"
#include "agent/transfer.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/http/stream.h"
#include "core/http/wire.h"

namespace shoal::http {
class TlsContext;
}

namespace shoal::agent {

// Thread: its executor's (a lane thread). Lifetime: run() has ended before destruction.
class LaneConnection {
 public:
  struct Options {
    PeerAddress peer;
    std::string node;                       // ours
    std::shared_ptr<http::TlsContext> tls;  // null: plain
    std::size_t pipeline = 4;
    std::chrono::milliseconds idle_limit{30'000};  // run() ends after this long without an order
    // A peer from which nothing comes for so long is given up, whatever is due.
    std::chrono::milliseconds silence_limit{10'000};
  };
  using Report = std::function<void(TransferEvent)>;

  LaneConnection(Executor executor, Options options, const Report& report);
  ~LaneConnection();
  LaneConnection(const LaneConnection&) = delete;
  LaneConnection& operator=(const LaneConnection&) = delete;

  // Adds an order to the pipeline, behind those it has.
  void add(Transfer transfer);
  // False if it has no such order.
  bool cancel(swarm::RequestId id);
  // Orders that have not ended.
  std::size_t load() const { return waiting_.size() + sent_.size(); }
  // No order may be added any more: run() is ending.
  bool closed() const { return stop_.is_set(); }

  // Connects, works off orders, ends after close(), when idle, or when the connection fails. All
  // orders have ended when it returns.
  Task<void> run();
  void close();

 private:
  using Clock = std::chrono::steady_clock;
  struct Order {
    Transfer transfer;
    ByteRange range;
    bool cancelled = false;
  };
  struct Failure {
    swarm::Outcome outcome;
    std::string detail;
  };

  Task<std::optional<Failure>> run_once();
  Task<void> write_requests(http::Stream* stream, Event* broken);
  Task<std::optional<Failure>> read_responses(http::Stream* stream);
  Task<std::optional<Failure>> read_body(http::Stream* stream, Order* order);
  struct Body;
  std::optional<Failure> store(const Order& order, Body* body, bool waits);
  Task<Status> discard(http::Stream* stream, std::uint64_t length);

  std::string request_text(const Order& order) const;
  void tell(const Order& order, Body* body);
  void end(const Order& order, swarm::Outcome outcome, std::string detail = {},
           std::chrono::milliseconds retry_after = {}, content::PieceRange untold = {});
  void end_first(swarm::Outcome outcome, std::string detail = {},
                 std::chrono::milliseconds retry_after = {}, content::PieceRange untold = {});

  // Constant after construction
  const Executor executor_;
  const Options options_;
  const Report& report_;

  Event stop_;
  std::stop_source connecting_;  // stopped with stop_
  Condition changed_;            // orders were added or ended
  TaskGroup writers_;
  std::deque<Order> waiting_;       // not sent yet
  std::deque<Order> sent_;          // answers due, in this order
  http::Stream* stream_ = nullptr;  // while connected
  bool rested_ = false;             // this connection was without orders for a while
  bool answered_ = false;           // it gave an answer since it was new or rested
  bool replace_ = false;            // closed on purpose, to get rid of an answer nobody wants
  http::ReadBuffer buffer_;
  ReceiveBuffer memory_;
};

}  // namespace shoal::agent
