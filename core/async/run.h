// Runs one Task to its end from ordinary code: main() and tests.
#pragma once

#include "core/async/task.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <type_traits>

namespace shoal {

namespace detail {

template <typename T>
Task<void> store_result(Task<T> task, std::optional<T>* out) {
  out->emplace(co_await std::move(task));
}

}  // namespace detail

// Runs handlers of `io` on the calling thread until `task` has ended, and returns its result or
// throws its exception. Other work of `io` that is still pending stays pending. Must not be called
// from a handler of `io`, nor while another thread runs it.
template <typename T>
T run_to_end(asio::io_context& io, Task<T> task) {
  if constexpr (std::is_void_v<T>) {
    bool done = false;
    std::exception_ptr failure;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr e) {
      failure = e;
      done = true;
    });
    io.restart();
    while (!done) io.run_one();
    if (failure) std::rethrow_exception(failure);
  } else {
    std::optional<T> result;
    run_to_end(io, detail::store_result(std::move(task), &result));
    return std::move(*result);
  }
}

}  // namespace shoal
