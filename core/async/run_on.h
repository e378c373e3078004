// Crossing from one executor's thread to another's and back.
#pragma once

#include "core/async/task.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace shoal {

// Runs `task` on the thread of `executor` and gives its result, or throws its exception, on the
// caller's own. What was posted there before runs before; what `task` refers to outlives it, also
// when the caller is destroyed meanwhile.
template <typename T>
Task<T> run_on(Executor executor, Task<T> task) {
  co_return co_await asio::co_spawn(executor, std::move(task), asio::use_awaitable);
}

}  // namespace shoal
