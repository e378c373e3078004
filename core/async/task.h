// Task<T>: the coroutine type of everything that waits.
//
// This header is the only one that may include <boost/asio/awaitable.hpp>: with g++ 12 that header
// needs <utility> first, and only here is the order certain.
//
// Rules (they have no compiler behind them): parameters of a coroutine are values, or pointers and
// spans whose lifetime the comment states; a lambda with captures is never a coroutine; a lambda
// with captures, or a braced temporary, never stands inside a co_await expression, because g++ 12
// destroys it twice (name it on the line before); no lock and no iterator lives across a co_await;
// background work belongs to a TaskGroup.
#pragma once

// clang-format off
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
// clang-format on

namespace shoal {

namespace asio = boost::asio;

template <typename T = void>
using Task = asio::awaitable<T>;

using Executor = asio::any_io_executor;

}  // namespace shoal
