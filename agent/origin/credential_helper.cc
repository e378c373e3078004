#include "agent/origin/credential_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/base/unique_fd.h"

namespace shoal::agent {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxAnswer = 64 * 1024;

bool valid_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

// A started program and our ends of the pipes to it.
struct Child {
  pid_t pid = -1;
  UniqueFd input;
  UniqueFd output;
};

Result<Child> start(const std::string& program) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0) return fail(errno_error("pipe", errno));
  Child child;
  UniqueFd their_input(in[0]);
  child.input.reset(in[1]);
  if (::pipe2(out, O_CLOEXEC) != 0) return fail(errno_error("pipe", errno));
  child.output.reset(out[0]);
  UniqueFd their_output(out[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, their_input.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, their_output.get(), 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = program;
  std::string verb = "get";
  char* const arguments[] = {name.data(), verb.data(), nullptr};
  int error =
      ::posix_spawnp(&child.pid, program.c_str(), &actions, &attributes, arguments, environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return fail(Errc::kNotFound, "there is no program " + program);
  if (error != 0) return fail(errno_error(program, error));
  return child;
}

Result<std::string> read_all(int fd, Clock::time_point deadline, const std::string& program) {
  std::string text;
  for (;;) {
    auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    pollfd waited{fd, POLLIN, 0};
    int ready = left > 0 ? ::poll(&waited, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return fail(Errc::kTimedOut, program + " did not answer in time");
    char buffer[4096];
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(program, errno));
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > kMaxAnswer) return fail(Errc::kInvalid, program + " answers without an end");
  }
}

}  // namespace

Result<std::string> run_credential_helper(const std::string& name, const std::string& registry,
                                          milliseconds timeout) {
  if (!valid_name(name)) return fail(Errc::kInvalid, "a credential helper with a strange name");
  const std::string program = "docker-credential-" + name;
  Result<Child> child = start(program);
  if (!child) return fail(child.error());
  // A name fits into the pipe's buffer: this does not block. Who does not read it may have gone
  // (SIGPIPE is ignored in daemons).
  const std::string line = registry + "\n";
  (void)!::write(child->input.get(), line.data(), line.size());
  child->input.reset();
  Result<std::string> text = read_all(child->output.get(), Clock::now() + timeout, program);
  if (!text) (void)::kill(child->pid, SIGKILL);
  int status = 0;
  while (::waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!text) return text;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return fail(Errc::kNotFound, "there is no program " + program);
  }
  // What helpers say, on their standard output, of a registry they have nothing for.
  if (text->find("credentials not found") != std::string::npos) {
    return fail(Errc::kNotFound, program + " has no credentials for " + registry);
  }
  return fail(Errc::kUnavailable, program + " failed for " + registry);
}

}  // namespace shoal::agent
