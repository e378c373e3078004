#include "agent/lane/lane_connection.h"

#include <algorithm>
#include <utility>

#include "core/base/metrics.h"
#include "core/http/message.h"
#include "core/http/range.h"
#include "core/http/socket.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using swarm::Outcome;

constexpr milliseconds kConnectTimeout{5'000};
// An unwanted rest up to this long is read and thrown away; a longer one costs more than a new
// connection.
constexpr std::uint64_t kDrainLimit = 256 * 1024;
constexpr std::size_t kMaxHead = 16 * 1024;
constexpr std::size_t kMaxErrorBody = 64 * 1024;
constexpr milliseconds kActiveInterval{250};
// How long verified pieces may stay untold while more arrive: as long as they are gathered for
// other nodes (docs/formats/lane.md).
constexpr milliseconds kTellInterval{20};
constexpr milliseconds kBusyDefault{200};

Outcome outcome_of_stream(Errc code) {
  switch (code) {
    case Errc::kTimedOut:
      return Outcome::kTimeout;
    case Errc::kDenied:
      return Outcome::kRefused;
    case Errc::kCancelled:  // we closed it: the peer is dropped, or took no more requests
    case Errc::kNotFound:
    case Errc::kOverloaded:
    case Errc::kUnavailable:
    case Errc::kCorrupt:
    case Errc::kInvalid:
    case Errc::kConflict:
    case Errc::kNoSpace:
    case Errc::kInternal:
      return Outcome::kDisconnected;
  }
  return Outcome::kDisconnected;
}

Outcome outcome_of_status(int status) {
  switch (status) {
    case 503:
    case 429:
      return Outcome::kBusy;
    case 404:
    case 409:
      return Outcome::kNotHave;
    default:
      return Outcome::kRefused;
  }
}

}  // namespace

LaneConnection::LaneConnection(Executor executor, Options options, const Report& report)
    : executor_(executor),
      options_(std::move(options)),
      report_(report),
      stop_(executor),
      changed_(executor),
      writers_(executor, "lane-writer") {}

LaneConnection::~LaneConnection() = default;

void LaneConnection::add(Transfer transfer) {
  ByteRange range = transfer.blob->layout().range_of(transfer.pieces);
  waiting_.push_back({std::move(transfer), range, false});
  changed_.notify_all();
}

bool LaneConnection::cancel(swarm::RequestId id) {
  auto has_id = [id](const Order& order) { return order.transfer.id == id; };
  if (auto it = std::find_if(waiting_.begin(), waiting_.end(), has_id); it != waiting_.end()) {
    end(*it, Outcome::kCancelled);
    waiting_.erase(it);
    return true;
  }
  auto it = std::find_if(sent_.begin(), sent_.end(), has_id);
  if (it == sent_.end()) return false;
  // Its answer is on the way; read_responses() deals with it when it comes to it, or at the next
  // bytes if it is there already.
  it->cancelled = true;
  return true;
}

void LaneConnection::close() {
  stop_.set();
  connecting_.request_stop();
  changed_.notify_all();
  if (stream_ != nullptr) stream_->close();
}

// An answer that arrives.
struct LaneConnection::Body {
  RangeReceiver receiver;
  content::PieceIndex told;  // the first piece that was not reported
  Clock::time_point told_at = Clock::now();

  content::PieceRange untold() const { return {told, receiver.verified().end() - told}; }
};

// Reports the pieces that are verified since it did so last or, with none, that bytes arrive.
void LaneConnection::tell(const Order& order, Body* body) {
  TransferEvent event;
  event.id = order.transfer.id;
  event.pieces = body->untold();
  event.kind = event.pieces.empty() ? TransferEvent::Kind::kActive : TransferEvent::Kind::kVerified;
  body->told = body->receiver.verified().end();
  body->told_at = Clock::now();
  report_(std::move(event));
}

void LaneConnection::end(const Order& order, Outcome outcome, std::string detail,
                         milliseconds retry_after, content::PieceRange untold) {
  TransferEvent event;
  event.id = order.transfer.id;
  event.kind = TransferEvent::Kind::kEnded;
  event.pieces = untold;
  event.outcome = outcome;
  event.retry_after = retry_after;
  event.detail = std::move(detail);
  report_(std::move(event));
}

void LaneConnection::end_first(Outcome outcome, std::string detail, milliseconds retry_after,
                               content::PieceRange untold) {
  Order order = std::move(sent_.front());
  sent_.pop_front();
  end(order, outcome, std::move(detail), retry_after, untold);
  changed_.notify_all();
}

Task<void> LaneConnection::run() {
  while (!stop_.is_set()) {
    if (load() == 0) {
      Status woken = co_await changed_.wait(Deadline::after(options_.idle_limit));
      if (!woken && load() == 0) break;
      continue;
    }
    answered_ = false;
    rested_ = false;
    replace_ = false;
    std::optional<Failure> failure = co_await run_once();
    // What was sent and not answered goes first on the next connection.
    waiting_.insert(waiting_.begin(), std::make_move_iterator(sent_.begin()),
                    std::make_move_iterator(sent_.end()));
    sent_.clear();
    std::erase_if(waiting_, [this](const Order& order) {
      if (order.cancelled) end(order, Outcome::kCancelled);
      return order.cancelled;
    });
    if (!failure || replace_) continue;
    // A kept connection may have been closed by the peer just when it was used again: once more.
    if (rested_ && !answered_ && failure->outcome == Outcome::kDisconnected) continue;
    for (const Order& order : std::exchange(waiting_, {})) {
      end(order, failure->outcome, failure->detail);
    }
    break;
  }
  stop_.set();
  for (const Order& order : std::exchange(waiting_, {})) end(order, Outcome::kDisconnected);
}

Task<std::optional<LaneConnection::Failure>> LaneConnection::run_once() {
  http::Endpoint endpoint;
  endpoint.tcp = options_.peer.lane;
  auto connected = co_await http::connect_stream(
      executor_, endpoint, options_.tls, http::ExpectedPeer::node_id(options_.peer.node),
      Deadline::after(kConnectTimeout), connecting_.get_token());
  if (!connected) {
    co_return Failure{outcome_of_stream(connected.error().code()), connected.error().str()};
  }
  std::unique_ptr<http::Stream> stream = std::move(*connected);
  if (stop_.is_set()) co_return Failure{Outcome::kDisconnected, "closed"};
  stream_ = stream.get();
  buffer_ = {};
  Event broken(executor_);
  writers_.spawn("requests", write_requests(stream.get(), &broken));
  std::optional<Failure> failure = co_await read_responses(stream.get());
  stream_ = nullptr;
  stream->close();
  broken.set();
  changed_.notify_all();
  co_await writers_.join();
  memory_.shrink();
  co_return failure;
}

std::string LaneConnection::request_text(const Order& order) const {
  http::Request request = http::Request::get("/v1/blobs/" + order.transfer.blob->digest().str());
  request.headers.add("Range", http::format_range(order.range));
  request.headers.add("Shoal-Class", std::string(swarm::class_name(order.transfer.cls)));
  if (!options_.tls) request.headers.add(std::string(http::kNodeHeader), options_.node);
  if (!order.transfer.pull_id.empty()) {
    request.headers.add(std::string(http::kPullIdHeader), order.transfer.pull_id);
  }
  return http::serialise_request(request, options_.peer.lane.str());
}

// Keeps the pipeline full. Ends when the connection is given up.
Task<void> LaneConnection::write_requests(http::Stream* stream, Event* broken) {
  while (!broken->is_set()) {
    if (waiting_.empty() || sent_.size() >= options_.pipeline) {
      (void)co_await changed_.wait(Deadline::never());
      continue;
    }
    std::string text;
    while (!waiting_.empty() && sent_.size() < options_.pipeline) {
      text += request_text(waiting_.front());
      sent_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    changed_.notify_all();
    if (!co_await stream->write_all(text, Deadline::after(options_.silence_limit))) {
      stream->close();  // the reader sees it and ends the connection
      co_return;
    }
  }
}

Task<std::optional<LaneConnection::Failure>> LaneConnection::read_responses(http::Stream* stream) {
  while (!stop_.is_set()) {
    if (sent_.empty()) {
      if (waiting_.empty()) {
        rested_ = true;
        answered_ = false;
        Status woken = co_await changed_.wait(Deadline::after(options_.idle_limit));
        if (!woken && load() == 0) {
          stop_.set();
          break;
        }
      } else {
        (void)co_await changed_.wait(Deadline::after(options_.silence_limit));
        if (stream->closed()) co_return Failure{Outcome::kDisconnected, "could not send"};
      }
      continue;
    }
    auto head = co_await http::read_response_head(stream, &buffer_, kMaxHead,
                                                  Deadline::after(options_.silence_limit));
    if (!head) {
      bool nonsense = head.error().code() == Errc::kCorrupt;
      co_return Failure{nonsense ? Outcome::kRefused : outcome_of_stream(head.error().code()),
                        head.error().str()};
    }
    answered_ = true;
    Order* order = &sent_.front();
    std::optional<Failure> failure;
    if (head->status == 206) {
      auto range = http::parse_content_range(head->headers.value("Content-Range"));
      if (!range || range->range != order->range || head->content_length != order->range.length) {
        failure = Failure{Outcome::kRefused, "answered with another range than was asked"};
      } else {
        failure = co_await read_body(stream, order);
      }
    } else if (head->status == 200) {
      failure = Failure{Outcome::kRefused, "answered 200 to a range"};
    } else {
      if (head->content_length > kMaxErrorBody) {
        failure = Failure{Outcome::kRefused, "answered with an oversize error"};
      } else if (Status gone = co_await discard(stream, head->content_length); !gone) {
        failure = Failure{outcome_of_stream(gone.error().code()), gone.error().str()};
      } else {
        Outcome outcome = order->cancelled ? Outcome::kCancelled : outcome_of_status(head->status);
        end_first(outcome, "answered " + std::to_string(head->status),
                  http::retry_after(head->headers).value_or(kBusyDefault));
      }
    }
    if (failure) {
      if (!sent_.empty() && failure->outcome != Outcome::kCancelled && !replace_) {
        // What the first one suffered says something about it alone; the others fail with the
        // connection.
        end_first(sent_.front().cancelled ? Outcome::kCancelled : failure->outcome,
                  failure->detail);
        failure->outcome = Outcome::kDisconnected;
      }
      co_return failure;
    }
    if (!head->keep_alive) co_return Failure{Outcome::kDisconnected, "closed by the peer"};
  }
  co_return Failure{Outcome::kDisconnected, "closed"};
}

Task<std::optional<LaneConnection::Failure>> LaneConnection::read_body(http::Stream* stream,
                                                                       Order* order) {
  Body body{RangeReceiver(order->transfer.blob, order->transfer.pieces, memory_),
            order->transfer.pieces.first};
  std::uint64_t missing = order->range.length;
  while (missing > 0) {
    if (order->cancelled) {
      if (auto failure = store(*order, &body, true)) co_return failure;
      if (missing > kDrainLimit) {
        replace_ = true;
        co_return Failure{Outcome::kCancelled, "cancelled"};
      }
      if (Status gone = co_await discard(stream, missing); !gone) {
        co_return Failure{outcome_of_stream(gone.error().code()), gone.error().str()};
      }
      end_first(Outcome::kCancelled);
      co_return std::nullopt;
    }
    std::span<std::byte> space = body.receiver.space();
    std::size_t got = buffer_.take(space);
    if (got == 0) got = stream->read_now(space);
    if (got == 0) {
      // What is here must not wait for what is not.
      if (auto failure = store(*order, &body, true)) co_return failure;
      auto read =
          co_await stream->read_gathered(space, missing, Deadline::after(options_.silence_limit));
      if (!read) co_return Failure{outcome_of_stream(read.error().code()), read.error().str()};
      if (*read == 0) {
        co_return Failure{Outcome::kShort,
                          "closed with " + std::to_string(missing) + " bytes of a body missing"};
      }
      got = *read;
    }
    missing -= got;
    if (!body.receiver.filled(got)) continue;
    if (auto failure = store(*order, &body, false)) co_return failure;
  }
  end_first(Outcome::kFinished, {}, {}, body.untold());
  co_return std::nullopt;
}

// Stores the pieces that are complete and reports them: those of an urgent transfer at once, as
// anything before it waits for more bytes; else several together, as each report wakes the control
// thread. The last ones come with the end.
std::optional<LaneConnection::Failure> LaneConnection::store(const Order& order, Body* body,
                                                             bool waits) {
  auto pieces = body->receiver.commit();
  if (!pieces) {
    // Those before the one that failed.
    if (!body->untold().empty()) tell(order, body);
    bool bad_bytes = pieces.error().code() == Errc::kCorrupt;
    return Failure{bad_bytes ? Outcome::kCorrupt : Outcome::kLocal, pieces.error().str()};
  }
  if (body->receiver.done()) return std::nullopt;
  auto interval = kActiveInterval;
  if (!body->untold().empty()) {
    interval = order.transfer.urgent || waits ? milliseconds(0) : kTellInterval;
  }
  if (Clock::now() - body->told_at >= interval) tell(order, body);
  return std::nullopt;
}

Task<Status> LaneConnection::discard(http::Stream* stream, std::uint64_t length) {
  std::span<std::byte> scratch = memory_.get(64 * 1024);
  while (length > 0) {
    auto space = scratch.first(std::min<std::uint64_t>(scratch.size(), length));
    std::size_t got = buffer_.take(space);
    if (got == 0) {
      auto read = co_await stream->read_some(space, Deadline::after(options_.silence_limit));
      if (!read) co_return fail(read.error());
      if (*read == 0) co_return fail(Errc::kUnavailable, "closed in the middle of a body");
      got = *read;
    }
    length -= got;
  }
  co_return Status{};
}

}  // namespace shoal::agent
