#include "cli/interrupt.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <csignal>

#include "core/base/check.h"

namespace shoal::cli {

Interrupt::Interrupt() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  // Never read, so one signal is enough for every later look.
  signals_ = UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  SHOAL_CHECK(static_cast<bool>(signals_), "signalfd");
}

bool is_readable(int fd) {
  if (fd < 0) return false;
  pollfd poll_fd{fd, POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

}  // namespace shoal::cli
