// A fixed number of named threads for calls that block: disk, inflate, hashing of whole files. The
// queue is bounded, so that a slow disk turns into a visible "overloaded" instead of memory.
//
// Thread: run() may be called from any executor's thread; the result arrives there.
// Lifetime: the destructor lets running jobs end, and ends queued ones with cancelled. An
// io_context that awaits jobs outlives them (stop() first, then let the waiting tasks end).
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "core/base/result.h"

namespace shoal {

class BlockingPool {
 public:
  // Threads are called "<name>-<n>" (the kernel shows 15 characters).
  BlockingPool(std::string name, std::size_t threads, std::size_t queue_limit);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `fn()` on a thread of the pool and gives its value. `fn` returns Result<T> (or Status), or
  // a plain T (or void), which becomes Result<T>. `fn` is not interrupted: it should be short, or
  // look at a flag of its own. An exception of `fn` becomes internal, with its text. Errors:
  // overloaded (queue full; nothing was started), cancelled (the pool was stopped before the job
  // began), and whatever `fn` gives.
  //
  // A lambda that captures strings, shared pointers and the like gets a name first, and is taken
  // from there: g++ 12 destroys such captures twice when the lambda stands inside the co_await.
  //   auto job = [path = std::move(path)] { return read_whole(path); };
  //   auto text = co_await pool.run(job);
  template <typename F>
  auto run(F&& fn);

  // Ends queued jobs with cancelled, refuses new ones, waits for the running ones (blocking).
  void stop();

 private:
  struct Shared;

  // Calls `job` on a pool thread; an error means that it was not and will not be called.
  Task<Status> run_job(std::function<Status()> job);

  const std::unique_ptr<Shared> shared_;
};

namespace detail {

template <typename R>
struct AsResult {
  using type = Result<R>;
};
template <typename T>
struct AsResult<Result<T>> {
  using type = Result<T>;
};

// Owned by the waiting coroutine and by the job on the pool thread: either may end first when an
// io_context is destroyed with work in it.
template <typename F>
struct BlockingCall {
  using R = typename AsResult<std::invoke_result_t<F&>>::type;
  explicit BlockingCall(F f) : fn(std::move(f)) {}
  F fn;
  std::optional<R> result;

  Status call() {
    if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
      fn();
      result.emplace();
    } else {
      result.emplace(fn());
    }
    return {};
  }
};

}  // namespace detail

template <typename F>
auto BlockingPool::run(F&& fn) {
  using Function = std::remove_cvref_t<F>;
  static_assert(std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<Function>,
                "give the lambda a name first, see above");
  using Call = detail::BlockingCall<Function>;
  struct Runner {
    static Task<typename Call::R> run(BlockingPool* pool, std::shared_ptr<Call> call) {
      std::function<Status()> job = [call] { return call->call(); };
      Status status = co_await pool->run_job(std::move(job));
      if (!status) co_return fail(status.error());
      co_return std::move(*call->result);
    }
  };
  return Runner::run(this, std::make_shared<Call>(std::move(fn)));
}

}  // namespace shoal
