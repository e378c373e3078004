// Waiting for something that other code of the same thread will do.
//
// Condition is the bare wake-up (a condition variable of coroutines); Event adds the sticky flag
// that stop requests and "it happened" need: an event that was set before anybody waited is not
// lost.
//
// Thread: the thread of the executor given; nothing here is locked. From another thread, post.
// Lifetime: outlives every wait(); the destructor checks that nobody waits.
#pragma once

#include "core/async/task.h"

#include <list>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"

namespace shoal {

class Condition : OneThreadOnly {
 public:
  explicit Condition(Executor executor) : executor_(std::move(executor)) {}
  ~Condition();
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  // Wakes everybody who waits now. Waiters resume later, from the event loop, in the order of their
  // waits: each must look at its condition again.
  void notify_all();

  // Ends all waits, now and in future, with kCancelled.
  void close();
  bool closed() const { return closed_; }

  // Waits for the next notify_all(). There is no turn of the event loop between a caller's look at
  // its condition and this wait, so no wake-up is lost. Errors: timed_out, cancelled (after
  // close()).
  Task<Status> wait(Deadline deadline);

 private:
  struct Waiter;

  // Constant after construction
  const Executor executor_;
  // Owner thread only
  std::list<Waiter*> waiters_;
  std::size_t waiting_ = 0;  // wait() calls that have not returned, notified ones included
  bool closed_ = false;
};

class Event {
 public:
  explicit Event(Executor executor) : condition_(std::move(executor)) {}

  // Idempotent; stays set.
  void set();
  bool is_set() const { return set_; }

  // Returns at once when set. Errors: timed_out.
  Task<Status> wait(Deadline deadline);

 private:
  Condition condition_;
  bool set_ = false;
};

// Sleeps until `when`, or until `stop` is set. Errors: cancelled (`stop` was or became set). `stop`
// outlives the task.
Task<Status> sleep_until(Deadline when, Event* stop);

}  // namespace shoal
