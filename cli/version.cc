// shoal version

#include "core/daemon/version.h"

#include <nlohmann/json.hpp>
#include <string>

#include "cli/text.h"
#include "cli/verb.h"

namespace shoal::cli {
namespace {

class Version final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.usage_example("shoal version",
                        "Which versions run here; what does not answer is said so.");
  }

  int run(Session& session) override {
    nlohmann::json object{{"shoal", std::string(daemon::version())}};
    std::string text = "shoal    " + std::string(daemon::version()) + "\n";
    Result<agent_client::AgentStatus> agent = session.agent().status();
    text += "agent    " + (agent ? printable(agent->version) : unreachable(agent.error())) + "\n";
    if (agent) object["agent"] = agent->version;
    Result<api::VersionInfo> tracker = tracker_version(session);
    text +=
        "tracker  " + (tracker ? printable(tracker->version) : unreachable(tracker.error())) + "\n";
    if (tracker) object["tracker"] = tracker->version;
    session.out().print(text);
    session.out().result(std::move(object), true);
    return kExitOk;
  }

 private:
  static Result<api::VersionInfo> tracker_version(Session& session) {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return fail(tracker.error());
    return (*tracker)->version();
  }

  static std::string unreachable(const Error& error) {
    return "no answer: " + printable(error.message());
  }
};

}  // namespace

std::unique_ptr<Verb> make_version() { return std::make_unique<Version>(); }

}  // namespace shoal::cli
