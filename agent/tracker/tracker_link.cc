#include "agent/tracker/tracker_link.h"

#include <algorithm>
#include <utility>

#include "agent/tracker/answer.h"
#include "core/api/limits.h"
#include "core/api/paths.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/http/message.h"

namespace shoal::agent {

namespace {

namespace paths = api::paths;
using std::chrono::milliseconds;

constexpr std::size_t kLeaseConnections = 4;
constexpr double kBeatJitter = 0.1;    // heartbeats come up to so much earlier than due
constexpr milliseconds kPollGap{100};  // between polls that bring nothing new
constexpr milliseconds kLogInterval{30'000};

metrics::Counter& heartbeats(bool answered) {
  return metrics::counter("shoal_agent_tracker_heartbeats_total", "Heartbeats sent to the tracker.",
                          {{"result", answered ? "answered" : "failed"}});
}

metrics::Counter& registrations() {
  return metrics::counter("shoal_agent_tracker_registrations_total",
                          "Registrations with the tracker; each after the first is a reconnect.");
}

metrics::Gauge& connected_gauge() {
  return metrics::gauge("shoal_agent_tracker_connected",
                        "1 while the tracker answers this node's heartbeats.");
}

// The tracker does not know this registration (any more).
bool means_unregistered(const Error& error) {
  return error.code() == Errc::kNotFound || error.code() == Errc::kConflict;
}

// Retrying will not help before a person has done something.
bool needs_an_operator(const Error& error) {
  switch (error.code()) {
    case Errc::kConflict:
    case Errc::kInvalid:
    case Errc::kDenied:
      return true;
    case Errc::kNotFound:
    case Errc::kTimedOut:
    case Errc::kOverloaded:
    case Errc::kUnavailable:
    case Errc::kCorrupt:
    case Errc::kNoSpace:
    case Errc::kCancelled:
    case Errc::kInternal:
      return false;
  }
  return false;
}

Error wrong_count(std::string_view what, std::size_t answers, std::size_t asks) {
  return {Errc::kCorrupt, std::string(what) + ": the tracker gave " + std::to_string(answers) +
                              " answers to " + std::to_string(asks) + " asks"};
}

Error restarted() { return {Errc::kUnavailable, "the tracker restarted"}; }

// The first of `held` that fit; a warning if that is not all of them.
std::vector<api::HeldLease> fitting(const std::vector<api::HeldLease>& held,
                                    std::size_t max_bytes) {
  std::vector<api::HeldLease> fit;
  std::size_t bytes = 0;
  for (const api::HeldLease& lease : held) {
    bytes += 160 + 2 * lease.etag.size() + 15 * lease.pieces.size();
    if (fit.size() == api::kMaxHeldLeases || bytes > max_bytes) {
      log::warn("too many leases for one heartbeat", {{"held", held.size()}, {"told", fit.size()}});
      break;
    }
    fit.push_back(lease);
  }
  return fit;
}

Deadline later(Deadline deadline, milliseconds by) { return Deadline::at(deadline.time() + by); }

}  // namespace

TrackerLink::TrackerLink(Executor executor, Options options, Listener& listener)
    : executor_(executor),
      options_(std::move(options)),
      listener_(listener),
      report_([this] { beat_now(); }),
      tasks_(executor, "tracker"),
      stop_(executor),
      wake_(executor),
      lease_calls_ended_(executor),
      beats_(executor, tracker_client_options(options_.tracker, 2)),
      lease_posts_(executor, tracker_client_options(options_.tracker, kLeaseConnections)),
      random_(random_u64()) {}

TrackerLink::~TrackerLink() = default;

void TrackerLink::start() {
  assert_owner_thread();
  connected_gauge().set(0);
  tasks_.spawn("registration", keep_registered(), [this] { end_waits(); });
  tasks_.spawn("events", poll_events(), [this] { end_waits(); });
  tasks_.spawn("absence", watch_absence(), [this] { end_waits(); });
}

void TrackerLink::end_waits() {
  stop_.set();
  wake_.close();
  beats_.close();
  lease_posts_.close();
  if (polls_) polls_->close();
}

Task<void> TrackerLink::stop() {
  assert_owner_thread();
  end_waits();
  co_await tasks_.stop();
  while (lease_calls_ > 0) co_await lease_calls_ended_.wait(Deadline::never());
  connected_ = false;
  connected_gauge().set(0);
}

void TrackerLink::beat_now() {
  assert_owner_thread();
  hurry_ = true;
  wake_.notify_all();
}

Task<void> TrackerLink::keep_registered() {
  Backoff backoff(options_.retry, random_.next());
  while (!stop_.is_set()) {
    RetryAfter retry_after;
    const bool registering = !registered_;
    Status done;  // not ?: with two co_awaits: g++ 12 destroys the result twice
    if (registered_) {
      done = co_await beat(&retry_after);
    } else {
      done = co_await register_node(&retry_after);
    }
    if (stop_.is_set()) break;
    if (!done) failed(done.error(), registering && needs_an_operator(done.error()));
    if (done && !announced_) continue;  // the heartbeat that a registration needs
    if (done) {
      backoff.reset();
      co_await wait_for_beat();
      if (registered_) continue;
    }
    const milliseconds delay = backoff.next(retry_after).value_or(options_.retry.longest);
    co_await sleep_until(Deadline::after(delay), &stop_);
  }
}

Task<Status> TrackerLink::register_node(RetryAfter* retry_after) {
  const api::RegisterRequest request{.epoch = options_.epoch,
                                     .advertise = options_.advertise,
                                     .admin = options_.admin,
                                     .topology = options_.topology,
                                     .labels = options_.labels,
                                     .version = options_.version,
                                     .store_capacity = options_.store_capacity};
  auto answer = co_await beats_.exchange(
      http::Request::post_json(paths::node_register(options_.node), api::encode(request)),
      Deadline::after(options_.register_timeout));
  if (answer) *retry_after = http::retry_after(answer->headers);
  auto registration = decode_answer<api::RegisterResponse>(answer);
  if (!registration) co_return fail(registration.error().with_context("registering"));
  if (registration->tracker_epoch.empty()) {
    co_return fail(Errc::kCorrupt, "registering: the answer names no tracker_epoch");
  }
  ++registration_;
  registered_ = true;
  tracker_epoch_ = std::move(registration->tracker_epoch);
  lane_address_ = std::move(registration->address);
  interval_ = std::max(registration->heartbeat, options_.beat_coalescing);
  report_.start_over();
  registrations().add();
  log::info("registered with the tracker", {{"tracker_epoch", tracker_epoch_},
                                            {"address", lane_address_},
                                            {"heartbeat_ms", interval_.count()}});
  co_return Status();
}

std::string TrackerLink::heartbeat_body(std::uint64_t* seq) {
  const bool full = report_.full();
  for (api::PullReport& pull : listener_.pull_reports(full)) report_.pull(std::move(pull));
  std::vector<api::HeldLease> held;
  if (full) held = listener_.held_leases();
  const api::StoreUsage store = listener_.store_usage();
  hurry_ = false;
  // The budget is an estimate; text with many escapes needs more.
  for (std::size_t budget = api::kMaxRequestBody / 2;; budget /= 2) {
    api::HeartbeatRequest message = report_.build(budget);
    message.epoch = options_.epoch;
    message.store = store;
    message.leases = fitting(held, budget / 2);
    std::string body = api::encode(message);
    if (body.size() <= api::kMaxRequestBody || budget == 0) {
      *seq = message.seq;
      return body;
    }
  }
}

Task<Status> TrackerLink::beat(RetryAfter* retry_after) {
  const bool full = report_.full();
  last_beat_ = Deadline::after({});
  std::uint64_t seq = 0;
  std::string body = heartbeat_body(&seq);
  auto exchanged = co_await beats_.exchange(
      http::Request::post_json(paths::node_heartbeat(options_.node), std::move(body)),
      Deadline::after(options_.heartbeat_timeout));
  if (stop_.is_set()) co_return fail(Errc::kCancelled, "stopped");
  if (exchanged) *retry_after = http::retry_after(exchanged->headers);
  auto answer = decode_answer<api::HeartbeatResponse>(exchanged);
  heartbeats(answer.has_value()).add();
  if (answer) report_.acknowledged(seq);
  if (!registered_) {  // another call learnt it meanwhile
    co_return fail(error_.value_or(restarted()));
  }
  if (!answer) {
    const Error why = answer.error().with_context("heartbeat");
    if (means_unregistered(why)) registration_lost(why);
    co_return fail(why);
  }
  if (answer->tracker_epoch != tracker_epoch_) {
    registration_lost(restarted());
    co_return fail(restarted());
  }
  heartbeat_answered(*answer, full);
  co_return Status();
}

void TrackerLink::heartbeat_answered(const api::HeartbeatResponse& answer, bool was_full) {
  interval_ = std::max(answer.heartbeat, options_.beat_coalescing);
  if (answer.resync) {
    report_.start_over();
    if (!was_full) hurry_ = true;
  }
  if (report_.left_over()) hurry_ = true;
  now_working();
  if (!answer.lost.empty()) listener_.leases_lost(answer.lost);
}

void TrackerLink::now_working() {
  absent_at_ = Deadline::never();
  error_.reset();
  logged_.reset();
  if (announced_ && connected_) return;
  announced_ = true;
  connected_ = true;
  connected_gauge().set(1);
  wake_.notify_all();
  listener_.tracker_up(tracker_epoch_);
}

void TrackerLink::failed(const Error& why, bool needs_operator) {
  error_ = why;
  if (absent_at_.is_never()) absent_at_ = Deadline::after(interval_);
  wake_.notify_all();
  if (logged_ == why.code() && !log_again_.expired()) return;
  logged_ = why.code();
  log_again_ = Deadline::after(kLogInterval);
  log::write(needs_operator ? log::Level::kError : log::Level::kWarn,
             "the tracker is not answering as it should",
             {{"tracker", options_.tracker.url.str()}, {"node", options_.node}, {"err", why}});
}

void TrackerLink::registration_lost(const Error& why) {
  if (!registered_) return;
  registered_ = false;
  announced_ = false;
  if (polls_) polls_->close();
  failed(why, false);
}

Task<void> TrackerLink::watch_absence() {
  while (!stop_.is_set()) {
    co_await wake_.wait(connected_ ? absent_at_ : Deadline::never());
    if (stop_.is_set() || !connected_ || !absent_at_.expired()) continue;
    connected_ = false;
    connected_gauge().set(0);
    const Error why = error_.value_or(restarted());
    listener_.tracker_down(why);
  }
}

Task<void> TrackerLink::wait_for_beat() {
  const milliseconds early(static_cast<milliseconds::rep>(static_cast<double>(interval_.count()) *
                                                          kBeatJitter * random_.unit()));
  while (!stop_.is_set() && registered_) {
    const Deadline due = later(last_beat_, hurry_ ? options_.beat_coalescing : interval_ - early);
    if (due.expired()) co_return;
    co_await wake_.wait(due);
  }
}

Task<void> TrackerLink::poll_events() {
  Backoff backoff(options_.retry, random_.next());
  std::uint64_t polled_for = 0;
  while (!stop_.is_set()) {
    if (!announced_) {
      co_await wake_.wait(Deadline::never());
      continue;
    }
    if (polled_for != registration_) {
      polled_for = registration_;
      polls_ =
          std::make_unique<http::Client>(executor_, tracker_client_options(options_.tracker, 1));
      version_ = 0;
    }
    Status polled = co_await poll_once();
    if (polled) {
      backoff.reset();
    } else if (announced_ && polled_for == registration_) {
      log::debug("polling the tracker for events failed", {{"err", polled.error()}});
      const milliseconds delay = backoff.next().value_or(options_.retry.longest);
      co_await sleep_until(Deadline::after(delay), &stop_);
    }
  }
}

Task<Status> TrackerLink::poll_once() {
  const std::uint64_t registration = registration_;
  const Deadline not_before = Deadline::after(kPollGap);
  auto exchanged = co_await polls_->exchange(
      http::Request::get(paths::node_events(options_.node),
                         paths::events_query(options_.epoch, version_, options_.poll_wait)),
      Deadline::after(options_.poll_wait + options_.poll_slack));
  if (stop_.is_set()) co_return fail(Errc::kCancelled, "stopped");
  auto events = decode_answer<api::EventsResponse>(exchanged);
  if (!announced_ || registration != registration_) {
    co_return fail(Errc::kCancelled, "the registration was lost");
  }
  if (!events) {
    const Error why = events.error().with_context("events");
    if (means_unregistered(why)) registration_lost(why);
    co_return fail(why);
  }
  if (events->tracker_epoch != tracker_epoch_) {
    registration_lost(restarted());
    co_return fail(restarted());
  }
  const bool news = events->version != version_;
  version_ = events->version;
  if (events->orders) listener_.orders(*events->orders);
  if (events->trust) listener_.trust(*events->trust);
  if (events->neighbours) listener_.neighbours(*events->neighbours);
  if (!news) co_await sleep_until(not_before, &stop_);
  co_return Status();
}

template <typename Response>
Task<Result<Response>> TrackerLink::call(std::string what, std::string path, std::string body,
                                         Deadline deadline) {
  if (stop_.is_set()) co_return fail(Errc::kCancelled, "stopped");
  if (!announced_) co_return fail(Errc::kUnavailable, "not registered with the tracker");
  struct Call {
    explicit Call(TrackerLink* owner) : link(owner) { ++link->lease_calls_; }
    ~Call() {
      --link->lease_calls_;
      link->lease_calls_ended_.notify_all();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    TrackerLink* const link;
  };
  const Call counted(this);
  const std::uint64_t registration = registration_;
  auto exchanged = co_await lease_posts_.exchange(
      http::Request::post_json(std::move(path), std::move(body)), deadline);
  auto answer = decode_answer<Response>(exchanged);
  const bool current = registration == registration_;
  if (!answer) {
    const Error why = answer.error().with_context(what);
    if (!means_unregistered(why)) co_return fail(why);
    if (current) registration_lost(why);
    co_return fail(Errc::kUnavailable, why.message());
  }
  if (answer->tracker_epoch != tracker_epoch_) {
    if (current) registration_lost(restarted());
    co_return fail(restarted());
  }
  co_return std::move(*answer);
}

Task<Result<api::LeaseResponse>> TrackerLink::leases(api::LeaseRequest request, Deadline deadline) {
  assert_owner_thread();
  request.epoch = options_.epoch;
  const std::size_t asks = request.asks.size();
  auto answer = co_await call<api::LeaseResponse>("leases", paths::node_leases(options_.node),
                                                  api::encode(request), deadline);
  if (answer && answer->answers.size() != asks) {
    co_return fail(wrong_count("leases", answer->answers.size(), asks));
  }
  co_return answer;
}

Task<Result<api::EvictionResponse>> TrackerLink::evictions(api::EvictionRequest request,
                                                           Deadline deadline) {
  assert_owner_thread();
  request.epoch = options_.epoch;
  const std::size_t asks = request.blobs.size();
  auto answer = co_await call<api::EvictionResponse>(
      "evictions", paths::node_evictions(options_.node), api::encode(request), deadline);
  if (answer && answer->answers.size() != asks) {
    co_return fail(wrong_count("evictions", answer->answers.size(), asks));
  }
  co_return answer;
}

Task<Result<api::VerdictResponse>> TrackerLink::verdict(api::Verdict verdict, Deadline deadline) {
  assert_owner_thread();
  verdict.epoch = options_.epoch;
  co_return co_await call<api::VerdictResponse>("verdict", paths::node_verdicts(options_.node),
                                                api::encode(verdict), deadline);
}

}  // namespace shoal::agent
