#include <unistd.h>

#include <csignal>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/daemon/settings.h"

namespace {

void write_to(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) return;  // nobody reads any more; the exit code still says how it went
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shoal;
  std::signal(SIGPIPE, SIG_IGN);
  cli::Interrupt interrupt;
  try {
    return cli::run_command(
        std::vector<std::string>(argv + 1, argv + argc), daemon::current_environment(),
        cli::terminal_options(), [](std::string_view text) { write_to(STDOUT_FILENO, text); },
        [](std::string_view text) { write_to(STDERR_FILENO, text); }, interrupt.fd());
  } catch (const std::exception& error) {
    write_to(STDERR_FILENO, "shoal: " + std::string(error.what()) + "\n");
    return cli::kExitFailed;
  }
}
