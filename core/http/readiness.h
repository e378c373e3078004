// Waiting until a non-blocking descriptor can be read or written, with deadlines and a sticky
// close: what Stream, Listener and dialling share. Internal to core/http.
//
// Thread: the executor's. Lifetime: every wait() has ended before destruction.
#pragma once

#include "core/async/task.h"

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/base/unique_fd.h"

namespace shoal::http {

class Readiness : OneThreadOnly {
 public:
  enum class For { kRead, kWrite };
  // Two waits can be under way, one in each slot; a user gives each of its two roles a slot.
  enum Slot : std::size_t { kReader, kWriter };

  // `fd` is non-blocking. Errors: internal (the event loop refuses the descriptor).
  static Result<std::unique_ptr<Readiness>> watch(Executor executor, UniqueFd fd);
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  // Returns when the descriptor may be ready: try the system call again, and wait again on EAGAIN.
  // Errors: timed_out, cancelled (closed), unavailable.
  Task<Status> wait(Slot slot, For direction, Deadline deadline);

  // Ends all waits, now and in future, with cancelled. The descriptor stays open.
  void close();
  bool closed() const { return closed_; }

  int fd() { return descriptor_.native_handle(); }
  // Gives the descriptor away; nothing but destruction may follow.
  UniqueFd release() { return UniqueFd(descriptor_.release()); }

 private:
  // The timer outlives this object until its last handler has run.
  struct Watchdog {
    explicit Watchdog(Executor executor) : timer(std::move(executor)) {}
    asio::steady_timer timer;
    Deadline set_for = Deadline::never();
    Readiness* owner = nullptr;
  };

  explicit Readiness(Executor executor);
  void arm(Deadline deadline);
  void timer_fired();

  asio::posix::stream_descriptor descriptor_;
  const std::shared_ptr<Watchdog> watchdog_;
  std::array<Deadline, 2> deadlines_{Deadline::never(), Deadline::never()};  // of waits under way
  bool closed_ = false;
};

}  // namespace shoal::http
