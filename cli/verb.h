// The verbs of the command: each is an object made for one run, with its own flags.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "cli/session.h"
#include "core/daemon/settings.h"

namespace shoal::cli {

class Verb {
 public:
  virtual ~Verb() = default;
  // Adds the verb's flags, words and examples to the table, which outlives the verb's use of it.
  virtual void declare(daemon::Settings& table) = 0;
  // The exit code. What went wrong has been said by then.
  virtual int run(Session& session) = 0;
};

struct VerbInfo {
  std::string_view name;
  std::string_view summary;  // one sentence
  std::unique_ptr<Verb> (*make)();
};

// In the order of the help text.
std::span<const VerbInfo> verbs();

std::unique_ptr<Verb> make_publish();
std::unique_ptr<Verb> make_prefetch();
std::unique_ptr<Verb> make_pull();
std::unique_ptr<Verb> make_verify();
std::unique_ptr<Verb> make_list();
std::unique_ptr<Verb> make_nodes();
std::unique_ptr<Verb> make_status();
std::unique_ptr<Verb> make_pin();
std::unique_ptr<Verb> make_unpin();
std::unique_ptr<Verb> make_remove();
std::unique_ptr<Verb> make_gc();
std::unique_ptr<Verb> make_torrent();
std::unique_ptr<Verb> make_cert();
std::unique_ptr<Verb> make_version();
std::unique_ptr<Verb> make_completion();

// Runs the command line `args` (without the program's name); the exit code.
int run_command(std::span<const std::string> args, const daemon::Environment& environment,
                OutputOptions options, Output::Write out, Output::Write err, int interrupt_fd);

}  // namespace shoal::cli
