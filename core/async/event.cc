#include "core/async/event.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/check.h"

namespace shoal {

// Lives in the frame of a wait(); linked while it can still be notified.
struct Condition::Waiter {
  Waiter(Condition* condition, Deadline deadline)
      : owner(condition), timer(condition->executor_, deadline.time()) {
    place = owner->waiters_.insert(owner->waiters_.end(), this);
    ++owner->waiting_;
  }
  ~Waiter() {
    if (!notified) owner->waiters_.erase(place);
    --owner->waiting_;
  }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  Condition* const owner;
  asio::steady_timer timer;
  std::list<Waiter*>::iterator place;
  bool notified = false;
};

Condition::~Condition() { SHOAL_CHECK(waiting_ == 0, "a condition dies while tasks wait for it"); }

void Condition::notify_all() {
  assert_owner_thread();
  for (Waiter* waiter : waiters_) {
    waiter->notified = true;
    waiter->timer.cancel();
  }
  waiters_.clear();
}

void Condition::close() {
  closed_ = true;
  notify_all();
}

Task<Status> Condition::wait(Deadline deadline) {
  assert_owner_thread();
  if (closed_) co_return fail(Errc::kCancelled, "stopped");
  if (deadline.expired()) co_return fail(Errc::kTimedOut, "nothing happened in time");
  Waiter waiter(this, deadline);
  boost::system::error_code woken;
  co_await waiter.timer.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  if (closed_) co_return fail(Errc::kCancelled, "stopped");
  if (!waiter.notified) co_return fail(Errc::kTimedOut, "nothing happened in time");
  co_return Status();
}

void Event::set() {
  set_ = true;
  condition_.notify_all();
}

Task<Status> Event::wait(Deadline deadline) {
  if (set_) co_return Status();
  co_return co_await condition_.wait(deadline);
}

Task<Status> sleep_until(Deadline when, Event* stop) {
  Status woken = co_await stop->wait(when);
  if (woken) co_return fail(Errc::kCancelled, "stopped");
  co_return Status();
}

}  // namespace shoal
