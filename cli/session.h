// What a verb is given: the global options, the way to the agent and the tracker, the output.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/output.h"
#include "cli/tracker_api.h"
#include "core/agent_client/client.h"
#include "core/base/result.h"
#include "core/daemon/settings.h"

namespace shoal::cli {

struct Globals {
  std::filesystem::path agent{std::string(agent_client::kDefaultSocket)};
  std::optional<std::string> tracker;
  std::optional<std::filesystem::path> tls_cert;
  std::optional<std::filesystem::path> tls_key;
  std::optional<std::filesystem::path> tls_ca;
  bool insecure = false;
  bool json = false;
  bool quiet = false;
  std::string progress = "auto";
};

void declare_globals(daemon::Settings& table, Globals& globals);

// Thread: one. Lifetime: borrows its parts.
class Session {
 public:
  // `interrupt_fd` becomes readable on Ctrl-C; -1: never.
  Session(const Globals& globals, Output& output, int interrupt_fd);

  Output& out() { return output_; }
  const Globals& globals() const { return globals_; }

  // A client of this node's agent, whose calls end with cancelled on Ctrl-C.
  agent_client::Client agent() const;
  // One whose calls Ctrl-C does not end and that gives up soon: for undoing after it.
  agent_client::Client agent_for_cleanup() const;

  // Through the agent unless --tracker is given. Errors: those of tracker_directly.
  Result<std::unique_ptr<TrackerApi>> tracker() const;
  Result<std::unique_ptr<TrackerApi>> tracker_for_cleanup() const;

  bool interrupted() const;
  // Sleeps; false if Ctrl-C came.
  bool pause(std::chrono::milliseconds duration) const;

  // Ends a verb with an error: says it and what to do next, writes the JSON result, gives the exit
  // code.
  int fail_with(const Error& error);
  int fail_with(const Error& error, nlohmann::json details);
  // The same for a mistake in the command line.
  int usage_error(std::string_view message);

 private:
  Result<std::unique_ptr<TrackerApi>> tracker(int interrupt_fd) const;

  const Globals& globals_;
  Output& output_;
  const int interrupt_fd_;
};

// What somebody who sees `error` should try; empty if the message says it all.
std::string next_step(const Error& error, const Globals& globals);

}  // namespace shoal::cli
