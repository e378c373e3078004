// The agent: one per node. Constructs its parts, wires them, stops them in reverse order; the parts
// decide and do.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent/agent_parts.h"
#include "agent/settings.h"
#include "core/base/result.h"
#include "core/daemon/run.h"

namespace shoal::agent {

// Thread: the control thread.
class Agent final : public daemon::Service {
 public:
  // `settings` outlives the agent.
  Agent(daemon::Host host, const Settings& settings);
  ~Agent() override;

  Task<Status> start() override;
  Task<void> stop(Deadline deadline) override;
  void reload(const std::vector<std::string>& changed) override;

 private:
  const daemon::Host host_;
  const Settings& settings_;
  std::unique_ptr<AgentParts> parts_;
};

}  // namespace shoal::agent
