#include "core/daemon/run.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <utility>

#include "core/async/event.h"
#include "core/async/run.h"
#include "core/base/check.h"
#include "core/base/log.h"
#include "core/daemon/notify.h"
#include "core/daemon/version.h"

namespace shoal::daemon {

struct Program::LogSettings {
  std::string level = "info";
  std::string format = "text";
  std::chrono::milliseconds stop_timeout{25'000};

  void apply() const {
    // The choices of the table are exactly the names that these two know.
    log::configure(*log::parse_level(level), *log::parse_format(format));
  }
};

namespace {

void print_lines(std::FILE* to, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), to);
}

void notify(std::string_view state) {
  if (Status sent = notify_service_manager(state); !sent) {
    log::warn("cannot notify the service manager", {{"err", sent.error()}});
  }
}

// One file descriptor per connection and per open blob: the soft limit's usual 1024 is far too low,
// and raising it to what the administrator allows needs no privilege.
void raise_open_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log::warn("cannot raise the limit of open files", {{"err", errno_error("setrlimit", errno)}});
  }
}

// A stop that hangs must not depend on the thread that hangs, so the kernel's own timer ends it.
extern "C" void shoal_stop_timed_out(int /*signal*/) {
  constexpr std::string_view kMessage =
      "stop-timeout passed before everything had stopped; exiting\n";
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  ::_exit(kExitFailed);
}

void limit_stop(std::chrono::milliseconds timeout) {
  struct sigaction action {};
  action.sa_handler = shoal_stop_timed_out;
  ::sigaction(SIGALRM, &action, nullptr);
  auto seconds = std::chrono::ceil<std::chrono::seconds>(timeout).count();
  ::alarm(static_cast<unsigned>(std::max<long long>(1, seconds)));
}

std::string join_settings(const std::vector<Settings::Effective>& all, std::string_view source) {
  std::string out;
  for (const Settings::Effective& entry : all) {
    if (entry.source != source) continue;
    out += (out.empty() ? "" : " ") + entry.name + "=" + entry.value;
  }
  return out;
}

}  // namespace

// One run() from its first to its last instruction.
class Program::Runner {
 public:
  explicit Runner(Program& program)
      : program_(program),
        signals_(io_, SIGTERM, SIGINT, SIGHUP),
        stop_asked_(io_.get_executor()) {}

  int run(const MakeService& make) {
    await_signal();
    Host host{io_.get_executor(), [this](Error error) { fatal(std::move(error)); }};
    Result<std::unique_ptr<Service>> made = make(std::move(host));
    if (!made) {
      fatal(made.error());
    } else {
      service_ = std::move(*made);
      run_to_end(io_, serve());
    }
    boost::system::error_code ignored;
    signals_.cancel(ignored);
    service_.reset();
    // Handlers that were cancelled by the destructors still want to hear of it.
    io_.restart();
    io_.poll();
    ::alarm(0);
    if (failure_) {
      log::error("stopped after a failure",
                 {{"program", program_.settings_.program()}, {"err", *failure_}});
      return kExitFailed;
    }
    log::info("stopped", {{"program", program_.settings_.program()}});
    return kExitOk;
  }

 private:
  Task<void> serve() {
    Status started;
    try {
      started = co_await service_->start();
    } catch (const std::exception& error) {
      started = fail(Errc::kInternal, error.what());
    }
    if (!started) {
      fatal(started.error().with_context("cannot start"));
    } else if (!stop_asked_.is_set()) {
      log::info("ready", {{"program", program_.settings_.program()}});
      notify("READY=1");
      ready_ = true;
      // Never times out, so there is no error to look at.
      [[maybe_unused]] Status asked = co_await stop_asked_.wait(Deadline::never());
    }
    ready_ = false;
    notify("STOPPING=1");
    co_await service_->stop(Deadline::after(program_.log_->stop_timeout));
  }

  void await_signal() {
    signals_.async_wait([this](const boost::system::error_code& ec, int signal) {
      if (ec) return;
      if (signal == SIGHUP) {
        reload();
        await_signal();
        return;
      }
      log::info("stopping", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
      // Gives the next signal its default action: it ends the process, even if this thread hangs.
      boost::system::error_code ignored;
      signals_.clear(ignored);
      ask_stop();
    });
  }

  void fatal(Error error) {
    if (!failure_) failure_ = std::move(error);
    ask_stop();
  }

  void ask_stop() {
    if (stop_asked_.is_set()) return;
    limit_stop(program_.log_->stop_timeout);
    stop_asked_.set();
  }

  void reload() {
    if (!ready_) return;
    auto now = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now().time_since_epoch());
    notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.count()));
    Settings::Reloaded reloaded = program_.settings_.reload();
    for (const std::string& problem : reloaded.problems) {
      log::error("configuration not reloaded", {{"err", problem}});
    }
    for (const std::string& name : reloaded.needs_restart) {
      log::warn("setting changed in the file, needs a restart", {{"setting", name}});
    }
    if (!reloaded.changed.empty()) {
      program_.log_->apply();
      log::info("settings reloaded",
                {{"file", join_settings(program_.settings_.effective(), "file")}});
    }
    service_->reload(reloaded.changed);
    notify("READY=1");
  }

  Program& program_;
  asio::io_context io_{1};
  asio::signal_set signals_;
  Event stop_asked_;
  std::unique_ptr<Service> service_;
  std::optional<Error> failure_;
  bool ready_ = false;
};

Program::Program(std::string name, std::string summary)
    : settings_(std::move(name), std::move(summary)), log_(std::make_unique<LogSettings>()) {
  settings_.section("Process");
  settings_.add(log_->level, {.name = "log-level",
                              .doc = "Least important lines that are logged.",
                              .example = "debug",
                              .choices = {"trace", "debug", "info", "warn", "error"},
                              .live = true});
  settings_.add(log_->format, {.name = "log-format",
                               .doc = "Form of log lines on standard error.",
                               .example = "json",
                               .choices = {"text", "json"},
                               .live = true});
  settings_.add(log_->stop_timeout,
                {.name = "stop-timeout",
                 .doc = "How long an orderly stop may take before the process exits as it is.",
                 .example = "10s",
                 .min = "1s",
                 .max = "1h"});
}

Program::~Program() = default;

Settings& Program::settings() { return settings_; }

std::optional<int> Program::begin(int argc, const char* const* argv) {
  SHOAL_CHECK(argc >= 1, "a program has a name");
  std::vector<std::string> args(argv + 1, argv + argc);
  std::vector<std::string> problems = settings_.load(args, current_environment());
  const Settings::Asked& asked = settings_.asked();
  if (asked.help) {
    print_lines(stdout, settings_.help());
    return kExitOk;
  }
  if (asked.version) {
    print_lines(stdout, settings_.program() + " " + std::string(version()) + "\n");
    return kExitOk;
  }
  if (asked.print_settings_doc) {
    print_lines(stdout, settings_.markdown());
    return kExitOk;
  }
  for (const std::string& warning : settings_.warnings()) {
    print_lines(stderr, settings_.program() + ": warning: " + warning + "\n");
  }
  for (const std::string& problem : problems) {
    print_lines(stderr, settings_.program() + ": " + problem + "\n");
  }
  if (asked.check_config) {
    if (problems.empty()) print_lines(stdout, "settings are valid\n");
    return problems.empty() ? kExitOk : kExitFailed;
  }
  if (!problems.empty()) {
    print_lines(stderr, settings_.program() + ": nothing was started; see --help\n");
    return kExitUsage;
  }
  log_->apply();
  std::vector<Settings::Effective> all = settings_.effective();
  log::info("starting", {{"program", settings_.program()},
                         {"version", version()},
                         {"pid", ::getpid()},
                         {"config", settings_.config_file().string()}});
  log::info("settings", {{"flag", join_settings(all, "flag")},
                         {"environment", join_settings(all, "environment")},
                         {"file", join_settings(all, "file")},
                         {"default", join_settings(all, "default")}});
  return std::nullopt;
}

int Program::run(const MakeService& make) {
  std::signal(SIGPIPE, SIG_IGN);
  raise_open_file_limit();
  try {
    return Runner(*this).run(make);
  } catch (const std::exception& error) {
    log::error("failed", {{"program", settings_.program()}, {"err", error.what()}});
    return kExitFailed;
  }
}

}  // namespace shoal::daemon
