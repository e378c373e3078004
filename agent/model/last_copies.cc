#include "agent/model/last_copies.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "core/base/log.h"
#include "core/base/metrics.h"

namespace shoal::agent {
namespace {

std::string reason_of(const api::EvictionAnswer& answer) {
  if (answer.reason == api::EvictionReason::kStarting) {
    return "the tracker has started and does not know yet who has copies";
  }
  return "one of the last copies in the fleet (" + std::to_string(answer.copies) +
         "), and no origin has it";
}

}  // namespace

LastCopies::LastCopies(Executor control, std::uint64_t replicas, Ask ask, Needed needed)
    : control_(control),
      replicas_(replicas),
      ask_(std::move(ask)),
      needed_(std::move(needed)),
      tasks_(control, "copies") {}

LastCopies::Plan LastCopies::plan(std::span<const store::BlobInfo> all, std::uint64_t bytes,
                                  bool dry_run) {
  Plan plan;
  std::vector<store::BlobInfo> in_order;
  for (const store::BlobInfo& info : all) {
    if (std::string why = needed_(info.digest); !why.empty()) {
      plan.kept.push_back({info.digest, std::move(why)});
    } else {
      in_order.push_back(info);
    }
  }
  std::uint64_t found = 0;
  auto take = [&](const store::BlobInfo& info) {
    plan.choice.blobs.push_back(info.digest);
    found += info.used;
  };
  if (replicas_ == 0) {
    for (const store::BlobInfo& info : in_order) {
      if (found >= bytes) break;
      take(info);
    }
    return plan;
  }
  const Deadline deadline = Deadline::after(kPatience);
  for (std::size_t first = 0; first < in_order.size() && found < bytes;) {
    auto some = std::span(in_order).subspan(
        first, std::min(api::kMaxEvictionAsks, in_order.size() - first));
    first += some.size();
    api::EvictionRequest request;
    request.replicas = replicas_;
    request.bytes = bytes - found;
    request.dry_run = dry_run;
    for (const store::BlobInfo& info : some) request.blobs.push_back({info.digest, info.used});
    const auto sent = std::chrono::steady_clock::now();
    Result<api::EvictionResponse> answer = ask(std::move(request), deadline);
    if (!answer) {
      const std::string why =
          "the tracker cannot be asked whether others have it: " + answer.error().message();
      for (const store::BlobInfo& info : some) plan.kept.push_back({info.digest, why});
      break;
    }
    plan.choice.until = std::min(plan.choice.until, sent + answer->valid);
    for (std::size_t i = 0; i < some.size(); ++i) {
      const api::EvictionAnswer& one = answer->answers[i];
      if (one.reason == api::EvictionReason::kNotNeeded) continue;
      if (one.reason == api::EvictionReason::kGranted) {
        take(some[i]);
      } else {
        plan.kept.push_back({some[i].digest, reason_of(one)});
      }
    }
  }
  return plan;
}

store::EvictionChoice LastCopies::choose(std::span<const store::BlobInfo> in_order,
                                         std::uint64_t bytes) {
  static metrics::Counter& kept =
      metrics::counter("shoal_agent_evictions_refused_total",
                       "Blobs that were not evicted for room because others may not have them.");
  Plan plan = this->plan(in_order, bytes, false);
  kept.add(plan.kept.size());
  if (!plan.kept.empty()) {
    log::info("not evicted", {{"blobs", plan.kept.size()},
                              {"first", plan.kept.front().blob.str()},
                              {"err", plan.kept.front().reason}});
  }
  return std::move(plan.choice);
}

Result<api::EvictionResponse> LastCopies::ask(api::EvictionRequest request, Deadline deadline) {
  auto call = std::make_shared<Call>();
  call->request = std::move(request);
  {
    std::lock_guard lock(mutex_);
    if (closed_) return fail(Errc::kCancelled, "the agent stops");
  }
  asio::post(control_, [this, call, deadline] {
    if (!tasks_.spawn("ask", carry(call, deadline))) {
      answered(*call, fail(Errc::kCancelled, "the agent stops"));
    }
  });
  std::unique_lock lock(mutex_);
  // The control thread ends the call in time; the second more is for one that is very busy.
  const bool ended = changed_.wait_until(lock, deadline.time() + std::chrono::seconds(1),
                                         [&] { return closed_ || call->answer.has_value(); });
  if (call->answer) return *std::move(call->answer);
  if (!ended) return fail(Errc::kTimedOut, "no answer in time");
  return fail(Errc::kCancelled, "the agent stops");
}

Task<void> LastCopies::carry(std::shared_ptr<Call> call, Deadline deadline) {
  auto answer = co_await ask_(call->request, deadline);
  answered(*call, std::move(answer));
}

void LastCopies::answered(Call& call, Result<api::EvictionResponse> answer) {
  std::lock_guard lock(mutex_);
  call.answer = std::move(answer);
  changed_.notify_all();
}

void LastCopies::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

Task<void> LastCopies::stop() {
  close();
  co_await tasks_.stop();
}

}  // namespace shoal::agent
