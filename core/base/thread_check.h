// A thread rule that is asserted rather than written in prose.
#pragma once

#include <thread>

#include "core/base/check.h"

namespace shoal {

// Base of every class whose state belongs to one thread: the first thread that calls
// assert_owner_thread() becomes the owner. Free in release builds.
class OneThreadOnly {
 protected:
  OneThreadOnly() = default;
  ~OneThreadOnly() = default;

#ifdef NDEBUG
  void assert_owner_thread() const {}
  void release_owner_thread() const {}
#else
  void assert_owner_thread() const {
    if (owner_ == std::thread::id()) owner_ = std::this_thread::get_id();
    SHOAL_CHECK(owner_ == std::this_thread::get_id(), "called from a foreign thread");
  }
  // For an object built on one thread and handed to another before use.
  void release_owner_thread() const { owner_ = std::thread::id(); }

 private:
  mutable std::thread::id owner_;
#endif
};

}  // namespace shoal
