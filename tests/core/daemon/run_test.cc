#include "core/daemon/run.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/async/event.h"
#include "core/base/random.h"
#include "core/base/unique_fd.h"

namespace shoal::daemon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

enum class Behaviour { kNormal, kStartFails, kStartThrows, kFatal, kStopHangs, kMakeFails };

// Says on a pipe what happens to it.
class ProbeService final : public Service {
 public:
  ProbeService(Host host, Behaviour behaviour, int report, const std::string* greeting)
      : host_(std::move(host)), behaviour_(behaviour), report_(report), greeting_(greeting) {}
  ~ProbeService() override { say("gone;"); }

  Task<Status> start() override {
    say("start;");
    if (behaviour_ == Behaviour::kStartThrows) throw std::runtime_error("thrown");
    if (behaviour_ == Behaviour::kStartFails) co_return fail(Errc::kUnavailable, "port taken");
    if (behaviour_ == Behaviour::kFatal) host_.fatal(Error(Errc::kConflict, "another node"));
    co_return Status();
  }
  Task<void> stop(Deadline) override {
    say("stop;");
    if (behaviour_ == Behaviour::kStopHangs) {
      Event never(host_.executor);
      [[maybe_unused]] Status waited = co_await never.wait(Deadline::never());
    }
  }
  void reload(const std::vector<std::string>& changed) override {
    std::string text = "reload";
    for (const std::string& name : changed) text += " " + name;
    say(text + " " + *greeting_ + ";");
  }

 private:
  void say(std::string_view text) {
    EXPECT_EQ(::write(report_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  Host host_;
  Behaviour behaviour_;
  int report_;
  const std::string* greeting_;
};

// A program in a process of its own: signals and exit codes belong to a process.
class ProgramProcess {
 public:
  ProgramProcess(Behaviour behaviour, std::vector<std::string> args) {
    folder_ = std::filesystem::temp_directory_path() / ("shoal-run-" + random_hex(8));
    std::filesystem::create_directories(folder_);
    notify_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (folder_ / "notify").c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(notify_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    config_ = folder_ / "conf.yaml";
    configure("greeting: hello\n");
    args.insert(args.begin(), {"prog", "--config", config_.string()});
    std::array<int, 2> report{};
    std::array<int, 2> errors{};
    EXPECT_EQ(::pipe2(report.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(errors.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(errors[1], STDERR_FILENO);
      ::dup2(errors[1], STDOUT_FILENO);
      ::setenv("NOTIFY_SOCKET", (folder_ / "notify").c_str(), 1);
      int code = child(behaviour, args, report[1]);
      std::fflush(nullptr);
      ::_exit(code);
    }
    report_ = UniqueFd(report[0]);
    errors_ = UniqueFd(errors[0]);
    ::close(report[1]);
    ::close(errors[1]);
  }
  ~ProgramProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
    std::filesystem::remove_all(folder_);
  }

  void configure(std::string_view text) { std::ofstream(config_) << text; }
  void signal(int number) { ::kill(pid_, number); }

  // The next datagram of the sd_notify protocol; blocks until it comes.
  std::string notified() {
    std::array<char, 200> buffer{};
    ssize_t got = ::recv(notify_.get(), buffer.data(), buffer.size(), 0);
    return std::string(buffer.data(), got < 0 ? 0 : static_cast<std::size_t>(got));
  }
  // Exit code, or 128 + signal.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // After wait()
  std::string report() { return read_all(report_.get()); }
  std::string errors() { return read_all(errors_.get()); }

 private:
  static int child(Behaviour behaviour, const std::vector<std::string>& args, int report) {
    Program program("prog", "Does something.");
    std::string greeting = "none";
    program.settings().add(
        greeting, {.name = "greeting", .doc = "What to say.", .example = "hi", .live = true});
    std::vector<const char*> argv;
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    if (auto code = program.begin(static_cast<int>(argv.size()), argv.data())) return *code;
    return program.run([&](Host host) -> Result<std::unique_ptr<Service>> {
      if (behaviour == Behaviour::kMakeFails) return fail(Errc::kInvalid, "cannot make");
      return std::make_unique<ProbeService>(std::move(host), behaviour, report, &greeting);
    });
  }

  static std::string read_all(int fd) {
    std::string out;
    std::array<char, 4096> buffer{};
    for (;;) {
      ssize_t got = ::read(fd, buffer.data(), buffer.size());
      if (got <= 0) return out;
      out.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }

  std::filesystem::path folder_;
  std::filesystem::path config_;
  UniqueFd notify_;
  UniqueFd report_;
  UniqueFd errors_;
  pid_t pid_ = -1;
};

TEST(Program, RunsUntilASignalAndStopsInOrder) {
  for (int signal : {SIGTERM, SIGINT}) {
    ProgramProcess process(Behaviour::kNormal, {});
    EXPECT_EQ(process.notified(), "READY=1");
    process.signal(signal);
    EXPECT_EQ(process.notified(), "STOPPING=1");
    EXPECT_EQ(process.wait(), 0);
    EXPECT_EQ(process.report(), "start;stop;gone;");
    EXPECT_THAT(process.errors(),
                AllOf(HasSubstr("starting program=prog"), HasSubstr("file=\"greeting=hello\""),
                      HasSubstr("ready"), HasSubstr("stopped")));
  }
}

TEST(Program, AFailedStartIsLoudAndStopsWhatWasStarted) {
  ProgramProcess process(Behaviour::kStartFails, {});
  EXPECT_EQ(process.wait(), 1);
  EXPECT_EQ(process.report(), "start;stop;gone;");
  EXPECT_THAT(process.errors(), HasSubstr("cannot start: port taken"));
}

TEST(Program, AnExceptionOfTheStartIsAFailedStart) {
  ProgramProcess process(Behaviour::kStartThrows, {});
  EXPECT_EQ(process.wait(), 1);
  EXPECT_EQ(process.report(), "start;stop;gone;");
  EXPECT_THAT(process.errors(), HasSubstr("thrown"));
}

TEST(Program, AServiceThatCannotBeMadeIsAFailedStart) {
  ProgramProcess process(Behaviour::kMakeFails, {});
  EXPECT_EQ(process.wait(), 1);
  EXPECT_THAT(process.errors(), HasSubstr("cannot make"));
}

TEST(Program, AServiceCanGiveUp) {
  ProgramProcess process(Behaviour::kFatal, {});
  EXPECT_EQ(process.wait(), 1);
  EXPECT_EQ(process.report(), "start;stop;gone;");
  EXPECT_THAT(process.errors(), HasSubstr("another node"));
}

TEST(Program, AStopThatHangsIsEndedByTheSecondSignal) {
  ProgramProcess process(Behaviour::kStopHangs, {});
  EXPECT_EQ(process.notified(), "READY=1");
  process.signal(SIGTERM);
  EXPECT_EQ(process.notified(), "STOPPING=1");
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
}

TEST(Program, AStopThatHangsIsEndedByItsTimeout) {
  ProgramProcess process(Behaviour::kStopHangs, {"--stop-timeout=1s"});
  EXPECT_EQ(process.notified(), "READY=1");
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 1);
  EXPECT_THAT(process.errors(), HasSubstr("stop-timeout"));
}

TEST(Program, HangupReloadsLiveSettings) {
  ProgramProcess process(Behaviour::kNormal, {});
  EXPECT_EQ(process.notified(), "READY=1");
  process.configure("greeting: bonjour\n");
  process.signal(SIGHUP);
  EXPECT_THAT(process.notified(), HasSubstr("RELOADING=1"));
  EXPECT_EQ(process.notified(), "READY=1");
  process.configure("greetings: typo\n");
  process.signal(SIGHUP);
  EXPECT_THAT(process.notified(), HasSubstr("RELOADING=1"));
  EXPECT_EQ(process.notified(), "READY=1");
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(process.report(), "start;reload greeting bonjour;reload bonjour;stop;gone;");
  EXPECT_THAT(process.errors(), HasSubstr("did you mean greeting?"));
}

TEST(Program, WrongSettingsStartNothing) {
  ProgramProcess process(Behaviour::kNormal, {"--greting", "x", "--log-level=loud"});
  EXPECT_EQ(process.wait(), 2);
  EXPECT_EQ(process.report(), "");
  EXPECT_THAT(process.errors(), AllOf(HasSubstr("did you mean --greeting?"),
                                      HasSubstr("one of trace, debug, info, warn, error"),
                                      HasSubstr("nothing was started")));
}

TEST(Program, AnswersQuestionsWithoutStarting) {
  struct Question {
    std::vector<std::string> args;
    int code;
    const char* text;
  };
  for (const Question& question : {Question{{"--help"}, 0, "Usage: prog"},
                                   {{"--version"}, 0, "prog 0."},
                                   {{"--print-settings-doc"}, 0, "| `greeting` TEXT |"},
                                   {{"--check-config"}, 0, "settings are valid"},
                                   {{"--check-config", "--bad"}, 1, "unknown flag"}}) {
    ProgramProcess process(Behaviour::kNormal, question.args);
    EXPECT_EQ(process.wait(), question.code) << question.args[0];
    EXPECT_THAT(process.errors(), HasSubstr(question.text));
    EXPECT_EQ(process.report(), "");
  }
}

}  // namespace
}  // namespace shoal::daemon
