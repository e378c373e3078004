#include "agent/agent.h"
#include "agent/settings.h"
#include "core/daemon/run.h"

int main(int argc, char** argv) {
  using namespace shoal;
  daemon::Program program("shoal-agent", "Holds one node's content and shares it with the others.");
  agent::Settings settings;
  agent::declare(program.settings(), settings);
  if (std::optional<int> code = program.begin(argc, argv)) return *code;
  return program.run([&settings](daemon::Host host) -> Result<std::unique_ptr<daemon::Service>> {
    return std::make_unique<agent::Agent>(std::move(host), settings);
  });
}
