// What is the same in every daemon: reading settings, logging them, signals, readiness, ordered
// stop, exit codes. A main() is then a handful of lines:
//
//   int main(int argc, char** argv) {
//     daemon::Program program("shoal-agent", "Holds the content store of one node.");
//     agent::Settings settings;
//     agent::declare(program.settings(), settings);
//     if (std::optional<int> code = program.begin(argc, argv)) return *code;
//     return program.run([&](daemon::Host host) -> Result<std::unique_ptr<daemon::Service>> {
//       return std::make_unique<agent::Agent>(std::move(host), settings);
//     });
//   }
//
// Exit codes: 0 stopped as asked, 1 failed (could not start, gave up, or did not stop in time; also
// --check-config with problems), 2 wrong usage or configuration.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/daemon/settings.h"

namespace shoal::daemon {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// The running program. All calls are made on the control thread.
class Service {
 public:
  virtual ~Service() = default;

  // Opens listeners and starts background work; when it returns the program is ready. An error ends
  // the program with code 1, after stop().
  virtual Task<Status> start() = 0;

  // Ends everything in reverse order of construction. Also called after a failed or unfinished
  // start(). Past `deadline` the process is ended as it is.
  virtual Task<void> stop(Deadline deadline) = 0;

  // SIGHUP: the names of live settings that have new values (their struct already holds them).
  // Files that settings name, such as certificates, should be read again whether or not `changed`
  // lists them.
  virtual void reload(const std::vector<std::string>& changed) = 0;
};

// What a Service is given.
struct Host {
  // The control thread's.
  Executor executor;
  // Stops the program, which then exits with code 1 after logging the error. Control thread only;
  // may be called more than once (the first counts). Valid until the service is destroyed.
  std::function<void(Error)> fatal;
};

// Called on the control thread, before anything runs. An error or exception ends the program,
// code 1.
using MakeService = std::function<Result<std::unique_ptr<Service>>(Host)>;

class Program {
 public:
  Program(std::string name, std::string summary);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // The table to declare the program's own settings in, before begin(). It has log-level,
  // log-format and stop-timeout already.
  Settings& settings();

  // Reads the settings, sets up logging and logs the effective set. The exit code if the process
  // has nothing more to do: it was asked for help, or the configuration is wrong (all problems are
  // on standard error then).
  std::optional<int> begin(int argc, const char* const* argv);

  // Runs the service on this thread until SIGTERM, SIGINT or Host::fatal, then stops it. A second
  // signal ends the process at once, and so does stop-timeout. SIGHUP reloads. SIGPIPE is ignored
  // and the limit of open files raised to the hard limit. Announces READY=1, RELOADING=1 and
  // STOPPING=1. Returns the exit code.
  int run(const MakeService& make);

 private:
  class Runner;
  struct LogSettings;

  Settings settings_;
  const std::unique_ptr<LogSettings> log_;
};

}  // namespace shoal::daemon
