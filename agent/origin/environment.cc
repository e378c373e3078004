#include "agent/origin/environment.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/base/unique_fd.h"

namespace shoal::agent {

Environment Environment::of_process() {
  return {[](const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return std::string(value == nullptr ? "" : value);
  }};
}

std::string Environment::home(const std::string& below) const {
  std::string home = get("HOME");
  return home.empty() ? std::string() : home + "/" + below;
}

Result<std::optional<std::string>> read_small_file(const std::string& path, std::size_t most) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
  if (!fd) return fail(errno_error(path, errno));
  std::string text;
  for (;;) {
    char buffer[4096];
    ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(path, errno));
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > most) {
      return fail(Errc::kInvalid, path + " is longer than " + std::to_string(most) + " bytes");
    }
  }
}

}  // namespace shoal::agent
