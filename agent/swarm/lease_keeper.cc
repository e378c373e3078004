#include "agent/swarm/lease_keeper.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/base/log.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnswerTimeout{5'000};
// Progress alone is told this often; with an ask or a release it travels at once.
constexpr milliseconds kProgressInterval{500};
constexpr milliseconds kRetryWithoutTracker{500};

api::LeaseKind to_api(swarm::LeaseKind kind) {
  return kind == swarm::LeaseKind::kOrigin ? api::LeaseKind::kOrigin : api::LeaseKind::kRack;
}

void subtract(std::vector<content::PieceRange>& from, content::PieceRange cut) {
  std::vector<content::PieceRange> left;
  for (content::PieceRange range : from) {
    if (cut.end() <= range.first || range.end() <= cut.first) {
      left.push_back(range);
      continue;
    }
    if (range.first < cut.first) left.push_back({range.first, cut.first - range.first});
    if (cut.end() < range.end()) left.push_back({cut.end(), range.end() - cut.end()});
  }
  from = std::move(left);
}

// Adds a stretch, growing the last one when it continues it: transfers verify pieces in order.
void append(std::vector<content::PieceRange>& to, content::PieceRange pieces) {
  if (!to.empty() && to.back().end() == pieces.first) {
    to.back().count += pieces.count;
  } else {
    to.push_back(pieces);
  }
}

bool overlaps(const std::vector<content::PieceRange>& ranges, content::PieceRange pieces) {
  return std::any_of(ranges.begin(), ranges.end(), [&](content::PieceRange range) {
    return range.first < pieces.end() && pieces.first < range.end();
  });
}

}  // namespace

LeaseKeeper::LeaseKeeper(Executor executor, Tracker& tracker, Listener& listener)
    : tracker_(tracker), listener_(listener), stop_(executor), work_(executor) {}

void LeaseKeeper::close() {
  stop_.set();
  work_.notify_all();
}

void LeaseKeeper::ask(const swarm::LeaseAsk& ask, const content::Digest& blob) {
  asks_.push_back({ask, blob});
  work_.notify_all();
}

void LeaseKeeper::release(swarm::LeaseKind kind, const content::Digest& blob,
                          const std::vector<content::PieceRange>& pieces) {
  releases_.push_back({to_api(kind), blob, pieces});
  lost(kind, blob, pieces);
  work_.notify_all();
}

void LeaseKeeper::lost(swarm::LeaseKind kind, const content::Digest& blob,
                       const std::vector<content::PieceRange>& pieces) {
  auto it = held_.find({blob, kind});
  if (it == held_.end()) return;
  for (content::PieceRange range : pieces) subtract(it->second, range);
  if (it->second.empty()) held_.erase(it);
}

void LeaseKeeper::verified(const content::Digest& blob, content::PieceRange pieces) {
  bool leased = false;
  for (swarm::LeaseKind kind : {swarm::LeaseKind::kOrigin, swarm::LeaseKind::kRack}) {
    auto it = held_.find({blob, kind});
    if (it == held_.end() || !overlaps(it->second, pieces)) continue;
    leased = true;
    subtract(it->second, pieces);
    if (it->second.empty()) held_.erase(it);
  }
  if (!leased) return;
  if (progress_.empty()) work_.notify_all();
  append(progress_[blob], pieces);
}

void LeaseKeeper::active(const content::Digest& blob) {
  bool leased = held_.contains({blob, swarm::LeaseKind::kOrigin}) ||
                held_.contains({blob, swarm::LeaseKind::kRack});
  if (!leased) return;
  if (progress_.empty()) work_.notify_all();
  progress_.try_emplace(blob);
}

void LeaseKeeper::seen(const content::Digest& blob, std::string etag) {
  etags_[blob] = etag;
  seen_.push_back({blob, std::move(etag)});
  work_.notify_all();
}

void LeaseKeeper::forget(const content::Digest& blob) {
  std::erase_if(asks_, [&](const Ask& ask) { return ask.blob == blob; });
  for (Ask& ask : asked_) ask.forgotten |= ask.blob == blob;
  for (swarm::LeaseKind kind : {swarm::LeaseKind::kOrigin, swarm::LeaseKind::kRack}) {
    auto held = held_.extract({blob, kind});
    if (!held.empty()) releases_.push_back({to_api(kind), blob, std::move(held.mapped())});
  }
  if (!releases_.empty()) work_.notify_all();
  progress_.erase(blob);
  etags_.erase(blob);
}

std::vector<api::HeldLease> LeaseKeeper::held() const {
  std::vector<api::HeldLease> out;
  for (const auto& [key, pieces] : held_) {
    auto etag = etags_.find(key.first);
    out.push_back({to_api(key.second), key.first,
                   etag == etags_.end() ? std::string() : etag->second, pieces});
  }
  return out;
}

void LeaseKeeper::apply(const api::LeaseResponse& response) {
  const std::vector<Ask> asks = std::exchange(asked_, {});
  for (std::size_t i = 0; i < asks.size(); ++i) {
    // A tracker that answers fewer asks than it was sent has granted nothing to the rest.
    api::LeaseAnswer answer;
    answer.retry = kRetryWithoutTracker;
    if (i < response.answers.size()) answer = response.answers[i];
    if (asks[i].forgotten) {
      if (answer.pieces.empty()) continue;
      releases_.push_back({to_api(asks[i].ask.kind), asks[i].blob, std::move(answer.pieces)});
      continue;
    }
    Stretches& held = held_[{asks[i].blob, asks[i].ask.kind}];
    for (content::PieceRange range : answer.pieces) held.push_back(range);
    if (held.empty()) held_.erase({asks[i].blob, asks[i].ask.kind});
    listener_.lease_answered(asks[i].ask, answer);
  }
  for (const content::Digest& blob : response.origin_changed) listener_.origin_changed(blob);
}

Task<void> LeaseKeeper::run() {
  Deadline next_progress = Deadline::after(milliseconds(0));
  while (!stop_.is_set()) {
    if (!urgent_work() && progress_.empty()) {
      (void)co_await work_.wait(Deadline::never());
      continue;
    }
    if (!urgent_work() && !next_progress.expired()) {
      (void)co_await work_.wait(next_progress);
      continue;
    }
    next_progress = Deadline::after(kProgressInterval);
    asked_ = std::exchange(asks_, {});
    api::LeaseRequest request;
    request.seen = std::exchange(seen_, {});
    request.releases = std::exchange(releases_, {});
    for (auto& [blob, pieces] : std::exchange(progress_, {})) {
      request.progress.push_back({blob, std::move(pieces)});
    }
    for (const Ask& one : asked_) {
      request.asks.push_back({to_api(one.ask.kind), one.blob, one.ask.bytes, one.ask.candidates,
                              one.ask.urgent, one.ask.starved});
    }
    Result<api::LeaseResponse> response =
        co_await tracker_.leases(std::move(request), Deadline::after(kAnswerTimeout));
    if (stop_.is_set()) break;
    if (!response) log::debug("lease request failed", {{"err", response.error()}});
    apply(response ? *response : api::LeaseResponse{});
  }
}

}  // namespace shoal::agent
