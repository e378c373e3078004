// The command run inside the test's process: its words, its exit code, and Ctrl-C when wanted.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "core/base/unique_fd.h"

namespace shoal::cli {

struct Ran {
  int code = -1;
  std::string out;
  std::string err;

  // The last line of standard output, as --json promises.
  nlohmann::json json() const {
    std::string text = out;
    while (text.ends_with('\n')) text.pop_back();
    return nlohmann::json::parse(text.substr(text.rfind('\n') + 1), nullptr, false);
  }
};

class CommandRun {
 public:
  CommandRun() : interrupt_(::eventfd(0, EFD_CLOEXEC)) {}

  // From any thread; stays.
  void press_ctrl_c() {
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(interrupt_.get(), &one, sizeof one);
  }

  Ran run(std::vector<std::string> args, const daemon::Environment& environment = {}) {
    Ran ran;
    OutputOptions options;
    options.terminal_size = [] { return ProgressDisplay::Size{80, 24}; };
    ran.code = run_command(
        args, environment, std::move(options), [&](std::string_view text) { ran.out += text; },
        [&](std::string_view text) { ran.err += text; }, interrupt_.get());
    return ran;
  }

 private:
  UniqueFd interrupt_;
};

}  // namespace shoal::cli
