#include "core/async/blocking_pool.h"

#include <pthread.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "core/async/event.h"
#include "core/base/check.h"

namespace shoal {

namespace {

// Owned by the waiting coroutine and, until it has posted the end, by the queue.
struct Ticket {
  explicit Ticket(Executor e) : executor(e), ended(std::move(e)) {}
  const Executor executor;
  std::function<Status()> job;
  Status status;
  Event ended;
};

Status call(const std::function<Status()>& job) {
  try {
    return job();
  } catch (const std::exception& e) {
    return fail(Errc::kInternal, std::string("blocking call threw: ") + e.what());
  }
}

void end(std::shared_ptr<Ticket> ticket, Status status) {
  ticket->status = std::move(status);
  ticket->job = nullptr;
  const Executor executor = ticket->executor;
  asio::post(executor, [ticket = std::move(ticket)] { ticket->ended.set(); });
}

}  // namespace

struct BlockingPool::Shared {
  // Constant after construction
  std::size_t queue_limit = 0;
  // Owner thread only
  std::vector<std::thread> threads;
  // Guarded by mutex
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::shared_ptr<Ticket>> queue;
  bool stopped = false;

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [this] { return stopped || !queue.empty(); });
      if (stopped) return;
      std::shared_ptr<Ticket> ticket = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      Status status = call(ticket->job);
      end(std::move(ticket), std::move(status));
      lock.lock();
    }
  }
};

BlockingPool::BlockingPool(std::string name, std::size_t threads, std::size_t queue_limit)
    : shared_(std::make_unique<Shared>()) {
  SHOAL_CHECK(threads > 0 && queue_limit > 0, "a pool needs threads and a queue");
  shared_->queue_limit = queue_limit;
  for (std::size_t i = 0; i < threads; ++i) {
    std::thread& thread =
        shared_->threads.emplace_back([shared = shared_.get()] { shared->work(); });
    const std::string thread_name = (name + "-" + std::to_string(i)).substr(0, 15);
    pthread_setname_np(thread.native_handle(), thread_name.c_str());
  }
}

BlockingPool::~BlockingPool() { stop(); }

void BlockingPool::stop() {
  std::deque<std::shared_ptr<Ticket>> dropped;
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopped = true;
    dropped.swap(shared_->queue);
  }
  shared_->wake.notify_all();
  for (std::shared_ptr<Ticket>& ticket : dropped) {
    end(std::move(ticket), fail(Errc::kCancelled, "pool stopped"));
  }
  for (std::thread& thread : shared_->threads) thread.join();
  shared_->threads.clear();
}

Task<Status> BlockingPool::run_job(std::function<Status()> job) {
  auto ticket = std::make_shared<Ticket>(co_await asio::this_coro::executor);
  ticket->job = std::move(job);
  {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->stopped) co_return fail(Errc::kCancelled, "pool stopped");
    if (shared_->queue.size() >= shared_->queue_limit) {
      co_return fail(Errc::kOverloaded, "queue of blocking calls is full");
    }
    shared_->queue.push_back(ticket);
  }
  shared_->wake.notify_one();
  co_await ticket->ended.wait(Deadline::never());
  co_return std::move(ticket->status);
}

}  // namespace shoal
