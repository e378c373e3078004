// One named thread that runs one io_context: a lane thread, the control thread of a program that
// has another main thread, the other side of a test.
//
// Thread: post() and executor() from any thread; stop() and the destructor from another thread than
// this one. Lifetime: what runs on it (TaskGroups, Streams) ends before stop().
#pragma once

#include "core/async/task.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <memory>
#include <string>
#include <thread>

namespace shoal {

class IoThread {
 public:
  explicit IoThread(std::string name);
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  Executor executor() { return io_.get_executor(); }

  // Calls `fn` on the thread, later, in the order of the posts.
  template <typename F>
  void post(F fn) {
    asio::post(io_, std::move(fn));
  }

  // Runs `task` on the thread and blocks the calling one, which must be another, until it has
  // ended.
  template <typename T>
  T run(Task<T> task) {
    return asio::co_spawn(io_, std::move(task), asio::use_future).get();
  }

  // Lets pending work end and joins the thread. Blocks for as long as a task waits for something:
  // stop the groups first. Idempotent.
  void stop();

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace shoal
