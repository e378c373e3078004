#include "cli/session.h"

#include <poll.h>

#include <nlohmann/json.hpp>

#include "cli/interrupt.h"
#include "cli/text.h"
#include "core/base/random.h"

namespace shoal::cli {
namespace {

constexpr std::chrono::seconds kCleanupTimeout{5};

}  // namespace

void declare_globals(daemon::Settings& table, Globals& globals) {
  table.section("Connection");
  table.add(globals.agent, {.name = "agent",
                            .doc = "Socket of this node's shoal-agent.",
                            .example = "/run/shoal/agent.sock"});
  table.add(globals.tracker,
            {.name = "tracker",
             .doc = "URL of the tracker; without it, requests to it go through the agent.",
             .example = "https://shoal-tracker:6969"});
  table.add(globals.tls_cert, {.name = "tls-cert",
                               .doc = "Certificate for --tracker https://….",
                               .example = "/etc/shoal/tls.crt"});
  table.add(
      globals.tls_key,
      {.name = "tls-key", .doc = "Private key of --tls-cert.", .example = "/etc/shoal/tls.key"});
  table.add(globals.tls_ca, {.name = "tls-ca",
                             .doc = "Certificates of the cluster's CA.",
                             .example = "/etc/shoal/ca.crt"});
  table.add(globals.insecure, {.name = "insecure",
                               .doc = "Allow --tracker http://… to another machine.",
                               .flag_only = true});
  table.section("Output");
  table.add(globals.json, {.name = "json",
                           .doc = "Print one JSON object as the last line, and no tables.",
                           .flag_only = true});
  table.add(globals.quiet, {.name = "quiet",
                            .doc = "No progress and no closing remarks.",
                            .flag_only = true,
                            .short_flag = 'q'});
  table.add(globals.progress,
            {.name = "progress",
             .doc = "How to show progress on standard error (auto: bars on a terminal, else plain "
                    "lines; none with --json or --quiet).",
             .example = "json",
             .choices = {"auto", "bars", "plain", "json", "none"},
             .flag_only = true});
}

Session::Session(const Globals& globals, Output& output, int interrupt_fd)
    : globals_(globals), output_(output), interrupt_fd_(interrupt_fd) {}

agent_client::Client Session::agent() const {
  agent_client::Options options;
  options.socket = globals_.agent;
  options.pull_id = random_hex(8);
  options.cancel_fd = interrupt_fd_;
  return agent_client::Client(std::move(options));
}

agent_client::Client Session::agent_for_cleanup() const {
  agent_client::Options options;
  options.socket = globals_.agent;
  options.timeout = kCleanupTimeout;
  return agent_client::Client(std::move(options));
}

Result<std::unique_ptr<TrackerApi>> Session::tracker() const { return tracker(interrupt_fd_); }
Result<std::unique_ptr<TrackerApi>> Session::tracker_for_cleanup() const { return tracker(-1); }

Result<std::unique_ptr<TrackerApi>> Session::tracker(int interrupt_fd) const {
  if (!globals_.tracker) {
    agent_client::Options options;
    options.socket = globals_.agent;
    options.cancel_fd = interrupt_fd;
    if (interrupt_fd < 0) options.timeout = kCleanupTimeout;
    return std::make_unique<TrackerApi>(tracker_through_agent(std::move(options)));
  }
  http::TlsFiles files;
  if (globals_.tls_cert) files.certificate = globals_.tls_cert->string();
  if (globals_.tls_key) files.key = globals_.tls_key->string();
  if (globals_.tls_ca) files.ca = globals_.tls_ca->string();
  Result<std::unique_ptr<TrackerTransport>> transport =
      tracker_directly(*globals_.tracker, files, globals_.insecure, interrupt_fd);
  if (!transport) return fail(transport.error());
  return std::make_unique<TrackerApi>(std::move(*transport));
}

bool Session::interrupted() const { return is_readable(interrupt_fd_); }

bool Session::pause(std::chrono::milliseconds duration) const {
  pollfd poll_fd{interrupt_fd_, POLLIN, 0};
  return ::poll(&poll_fd, 1, static_cast<int>(duration.count())) == 0;
}

int Session::fail_with(const Error& error) { return fail_with(error, nlohmann::json::object()); }

int Session::fail_with(const Error& error, nlohmann::json details) {
  if (error.code() == Errc::kCancelled && interrupted()) {
    output_.complain("interrupted");
    output_.result(std::move(details), false, Error(Errc::kCancelled, "interrupted"));
    return kExitInterrupted;
  }
  output_.complain(printable(error.message()));
  if (std::string hint = next_step(error, globals_); !hint.empty()) output_.complain(hint);
  output_.result(std::move(details), false, error);
  return kExitFailed;
}

int Session::usage_error(std::string_view message) {
  output_.complain(message);
  output_.result(nlohmann::json::object(), false, Error(Errc::kInvalid, std::string(message)));
  return kExitUsage;
}

std::string next_step(const Error& error, const Globals& globals) {
  std::string agent = globals.agent.string();
  bool about_agent = error.message().find(agent) != std::string::npos;
  switch (error.code()) {
    case Errc::kUnavailable:
      if (about_agent) {
        return "is shoal-agent running? --agent or SHOAL_AGENT names another socket than " + agent;
      }
      return "";
    case Errc::kDenied:
      if (about_agent) {
        return "the socket belongs to root and the agent's group: run this as root, or as a member "
               "of that group";
      }
      return "";
    case Errc::kOverloaded:
      return "the other side is busy: try again in a while";
    case Errc::kNoSpace:
      return "free some space: `shoal gc --dry-run` shows what could go, `shoal unpin` releases "
             "what is pinned";
    case Errc::kNotFound:
    case Errc::kTimedOut:
    case Errc::kCorrupt:
    case Errc::kInvalid:
    case Errc::kConflict:
    case Errc::kCancelled:
    case Errc::kInternal:
      return "";
  }
  return "";
}

}  // namespace shoal::cli
