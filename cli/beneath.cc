#include "cli/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace shoal::cli {

UniqueFd open_beneath(int directory, const std::string& path, int flags, Links links,
                      std::uint64_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (links == Links::kNever) how.resolve |= RESOLVE_NO_SYMLINKS;
  for (;;) {
    long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof(how));
    // EAGAIN: something was renamed while the kernel checked that ".." stays inside.
    if (fd < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    return UniqueFd(static_cast<int>(fd));
  }
}

}  // namespace shoal::cli
