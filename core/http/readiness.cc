#include "core/http/readiness.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace shoal::http {

Readiness::Readiness(Executor executor)
    : descriptor_(executor), watchdog_(std::make_shared<Watchdog>(executor)) {
  watchdog_->owner = this;
}

Readiness::~Readiness() {
  watchdog_->owner = nullptr;
  watchdog_->timer.cancel();
}

Result<std::unique_ptr<Readiness>> Readiness::watch(Executor executor, UniqueFd fd) {
  std::unique_ptr<Readiness> readiness(new Readiness(std::move(executor)));
  boost::system::error_code error;
  readiness->descriptor_.assign(fd.get(), error);
  if (error) return fail(Errc::kInternal, "watching a socket: " + error.message());
  fd.release();
  return readiness;
}

Task<Status> Readiness::wait(Slot slot, For direction, Deadline deadline) {
  assert_owner_thread();
  if (closed_) co_return fail(Errc::kCancelled, "connection closed by us");
  if (deadline.expired()) co_return fail(Errc::kTimedOut, "no answer in time");
  deadlines_[slot] = deadline;
  arm(deadline);
  boost::system::error_code error;
  co_await descriptor_.async_wait(direction == For::kRead
                                      ? asio::posix::descriptor_base::wait_read
                                      : asio::posix::descriptor_base::wait_write,
                                  asio::redirect_error(asio::use_awaitable, error));
  deadlines_[slot] = Deadline::never();
  if (closed_) co_return fail(Errc::kCancelled, "connection closed by us");
  if (!error) co_return Status();
  // The watchdog aborts the waits of both slots: the one that has time left tries again.
  if (error != asio::error::operation_aborted) {
    co_return fail(Errc::kUnavailable, "waiting for a socket: " + error.message());
  }
  if (deadline.expired()) co_return fail(Errc::kTimedOut, "no answer in time");
  co_return Status();
}

// The timer runs for the earliest deadline seen and is not moved when waits come and go, so that
// the usual wait, which ends long before its deadline, costs no timer operation.
void Readiness::arm(Deadline deadline) {
  if (deadline >= watchdog_->set_for) return;
  watchdog_->set_for = deadline;
  watchdog_->timer.expires_at(deadline.time());
  watchdog_->timer.async_wait([watchdog = watchdog_](const boost::system::error_code& error) {
    if (!error && watchdog->owner != nullptr) watchdog->owner->timer_fired();
  });
}

void Readiness::timer_fired() {
  watchdog_->set_for = Deadline::never();
  const Deadline next = std::min(deadlines_[kReader], deadlines_[kWriter]);
  if (next.expired()) {
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
  } else {
    arm(next);
  }
}

void Readiness::close() {
  closed_ = true;
  boost::system::error_code ignored;
  descriptor_.cancel(ignored);
}

}  // namespace shoal::http
