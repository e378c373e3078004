// Owner of background work. Every task that nobody awaits directly lives in a group, has a name,
// and ends before the group does: tasks may therefore hold pointers to whatever outlives the group.
//
//   group_.spawn("announce", announce_loop(), [this] { stop_.set(); });
//   …
//   co_await group_.stop();   // asks all to end, waits until they have
//
// Thread: the executor's. Lifetime: the destructor aborts the program if a task is still alive.
#pragma once

#include "core/async/task.h"

#include <exception>
#include <functional>
#include <list>
#include <string>

#include "core/async/event.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"

namespace shoal {

class TaskGroup : OneThreadOnly {
 public:
  // `name` prefixes the names of tasks in the log.
  TaskGroup(Executor executor, std::string name);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts `task` at the next turn of the event loop. `cancel` must make it end soon, whatever it
  // waits for at that moment, and must be sticky: close a socket, set an Event. It is called at
  // most once, never after the task ended. Without one the task must end by itself. An exception
  // that leaves the task, and an Error other than cancelled, are logged with the name. Returns
  // false, and destroys the task unstarted, once stop() or cancel() was called.
  bool spawn(std::string name, Task<void> task, std::function<void()> cancel = {});
  bool spawn(std::string name, Task<Status> task, std::function<void()> cancel = {});

  // Calls the cancel hooks of all living tasks and refuses new ones. Idempotent.
  void cancel();

  // Waits until no task lives. Without cancel() this may be never.
  Task<void> join();

  // cancel() and join(). Must not be awaited by a task of the group itself.
  Task<void> stop();

  std::size_t size() const { return tasks_.size(); }

 private:
  struct Entry {
    std::string name;
    std::function<void()> cancel;
  };
  using Entries = std::list<Entry>;

  void finished(Entries::iterator entry, std::exception_ptr failure, const Status& status);

  // Constant after construction
  const Executor executor_;
  const std::string name_;
  // Owner thread only
  Entries tasks_;
  bool cancelled_ = false;
  Condition empty_;
};

}  // namespace shoal
