#include "core/async/task_group.h"

#include <boost/asio/co_spawn.hpp>

#include "core/base/check.h"
#include "core/base/log.h"

namespace shoal {

namespace {

Task<Status> without_result(Task<void> task) {
  co_await std::move(task);
  co_return Status();
}

}  // namespace

TaskGroup::TaskGroup(Executor executor, std::string name)
    : executor_(executor), name_(std::move(name)), empty_(executor) {}

TaskGroup::~TaskGroup() {
  SHOAL_CHECK(tasks_.empty(), "task group " + name_ + " dies before its task " +
                                  (tasks_.empty() ? "" : tasks_.front().name));
}

bool TaskGroup::spawn(std::string name, Task<void> task, std::function<void()> cancel) {
  return spawn(std::move(name), without_result(std::move(task)), std::move(cancel));
}

bool TaskGroup::spawn(std::string name, Task<Status> task, std::function<void()> cancel) {
  assert_owner_thread();
  if (cancelled_) return false;
  const Entries::iterator entry =
      tasks_.insert(tasks_.end(), Entry{std::move(name), std::move(cancel)});
  asio::co_spawn(executor_, std::move(task),
                 [this, entry](std::exception_ptr failure, Status status) {
                   finished(entry, std::move(failure), status);
                 });
  return true;
}

void TaskGroup::finished(Entries::iterator entry, std::exception_ptr failure,
                         const Status& status) {
  assert_owner_thread();
  if (failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      log::error("task threw", {{"task", name_ + "/" + entry->name}, {"err", e.what()}});
    } catch (...) {
      log::error("task threw", {{"task", name_ + "/" + entry->name}, {"err", "not an exception"}});
    }
  } else if (!status && status.error().code() != Errc::kCancelled) {
    log::warn("task failed", {{"task", name_ + "/" + entry->name}, {"err", status.error()}});
  }
  tasks_.erase(entry);
  if (tasks_.empty()) empty_.notify_all();
}

void TaskGroup::cancel() {
  assert_owner_thread();
  if (cancelled_) return;
  cancelled_ = true;
  // A hook may do anything except end a task at once: completions arrive by the event loop.
  for (Entry& entry : tasks_) {
    if (entry.cancel) std::exchange(entry.cancel, nullptr)();
  }
}

Task<void> TaskGroup::join() {
  while (!tasks_.empty()) co_await empty_.wait(Deadline::never());
}

Task<void> TaskGroup::stop() {
  cancel();
  co_await join();
}

}  // namespace shoal
