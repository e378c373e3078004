// The threads that move the lane's bytes. Each has its own event loop and connections; the control
// thread only gives orders and receives results.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/async/io_thread.h"

namespace shoal::agent {

// Thread: constant after construction.
class LaneThreads {
 public:
  explicit LaneThreads(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      threads_.push_back(std::make_unique<IoThread>("lane-" + std::to_string(i)));
    }
  }

  std::size_t size() const { return threads_.size(); }
  IoThread& at(std::size_t i) { return *threads_[i]; }

  // What runs on them must have ended.
  void stop() {
    for (auto& thread : threads_) thread->stop();
  }

 private:
  std::vector<std::unique_ptr<IoThread>> threads_;
};

}  // namespace shoal::agent
