#include "agent/swarm/have_poller.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <span>

#include "agent/lane/peer_client.h"
#include "core/async/retry.h"
#include "core/base/random.h"
#include "core/http/client.h"
#include "core/http/message.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWait{25'000};
constexpr milliseconds kAnswerMargin{5'000};
constexpr milliseconds kConnectTimeout{3'000};
// Polls of one peer start at least this far apart, so that a busy swarm costs a bounded number of
// messages.
constexpr milliseconds kSpacing{20};
// What fits into the head of a request (docs/formats/lane.md).
constexpr std::size_t kMaxAsked = 256;

}  // namespace

HavePoller::HavePoller(Executor executor, Options options, Listener& listener)
    : executor_(executor),
      options_(std::move(options)),
      listener_(listener),
      stop_(executor),
      changed_(executor),
      client_(make_client()) {}

HavePoller::~HavePoller() = default;

std::unique_ptr<http::Client> HavePoller::make_client() const {
  http::Client::Options options =
      peer_client_options(options_.peer, options_.tls, swarm::kMaxHaveMessage);
  options.max_connections = 1;
  options.connect_timeout = kConnectTimeout;
  return std::make_unique<http::Client>(executor_, std::move(options));
}

void HavePoller::close() {
  stop_.set();
  changed_.notify_all();
  client_->close();
}

void HavePoller::interest_changed() {
  std::vector<std::uint64_t> wanted = listener_.interest();
  if (wanted.size() > kMaxAsked) wanted.resize(kMaxAsked);
  bool asked = std::all_of(wanted.begin(), wanted.end(), [this](std::uint64_t blob) {
    return std::find(polled_.begin(), polled_.end(), blob) != polled_.end();
  });
  if (asked) return;
  if (polling_) {
    replaced_ = true;
    client_->close();
  }
  changed_.notify_all();
}

void HavePoller::forget(std::uint64_t blob) {
  versions_.erase(blob);
  std::erase(polled_, blob);
}

Task<void> HavePoller::run() {
  Backoff backoff({.first = milliseconds(200), .longest = milliseconds(5'000)}, random_u64());
  while (!stop_.is_set()) {
    polled_ = listener_.interest();
    if (polled_.size() > kMaxAsked) polled_.resize(kMaxAsked);
    if (polled_.empty()) {
      (void)co_await changed_.wait(Deadline::never());
      continue;
    }
    Deadline next = Deadline::after(kSpacing);
    polling_ = true;
    Status polled = co_await poll();
    polling_ = false;
    polled_.clear();
    if (stop_.is_set()) break;
    if (replaced_) {
      replaced_ = false;
      client_ = make_client();
      continue;
    }
    if (polled) {
      backoff.reset();
      (void)co_await sleep_until(next, &stop_);
      continue;
    }
    if (up_) {
      up_ = false;
      versions_.clear();
    }
    listener_.peer_silent(options_.peer, polled.error());
    (void)co_await wait_before_retry(&backoff, std::nullopt, Deadline::never(), &stop_);
  }
}

Task<Status> HavePoller::poll() {
  std::string blobs;
  for (std::uint64_t blob : polled_) {
    std::array<char, 48> item{};
    auto seen = versions_.find(blob);
    std::snprintf(item.data(), item.size(), "%s%016llx.%llu", blobs.empty() ? "" : ",",
                  static_cast<unsigned long long>(blob),
                  static_cast<unsigned long long>(seen == versions_.end() ? 0 : seen->second));
    blobs += item.data();
  }
  // The first poll asks without waiting: it also shows that the peer is there.
  milliseconds wait = up_ ? kWait : milliseconds(0);
  http::Request request = peer_get("/v1/have", options_.node, options_.tls == nullptr,
                                   {{"wait", std::to_string(wait.count())},
                                    {"gather", std::to_string(listener_.gather().count())},
                                    {"blobs", std::move(blobs)}});
  auto answer =
      co_await client_->request(std::move(request), Deadline::after(wait + kAnswerMargin));
  if (!answer) co_return fail(answer.error());
  auto entries = swarm::decode_have(std::as_bytes(std::span(answer->body)));
  if (!entries) co_return fail(entries.error());
  for (const swarm::HaveEntry& entry : *entries) {
    // Not of blobs that nobody asked for, or that were forgotten meanwhile.
    bool asked = std::find(polled_.begin(), polled_.end(), entry.blob) != polled_.end();
    if (asked) versions_[entry.blob] = entry.version;
  }
  if (!up_) {
    up_ = true;
    listener_.peer_answers(options_.peer);
  }
  if (!entries->empty()) listener_.peer_news(options_.peer, std::move(*entries));
  co_return Status{};
}

}  // namespace shoal::agent
