// Ctrl-C as something that can be waited for together with a socket.
#pragma once

#include "core/base/unique_fd.h"

namespace shoal::cli {

// From construction on SIGINT and SIGTERM no longer end the process: fd() becomes readable instead,
// and stays so. Once per process, before the first thread starts.
class Interrupt {
 public:
  Interrupt();
  int fd() const { return signals_.get(); }

 private:
  UniqueFd signals_;
};

// Whether `fd` (-1: never) is readable now.
bool is_readable(int fd);

}  // namespace shoal::cli
