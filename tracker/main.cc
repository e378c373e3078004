#include "core/daemon/run.h"
#include "tracker/settings.h"
#include "tracker/tracker.h"

int main(int argc, char** argv) {
  namespace tracker = shoal::tracker;
  shoal::daemon::Program program(
      "shoal-tracker",
      "Introduces agents to one another, gives out origin leases, keeps the catalogue.");
  tracker::Settings settings;
  tracker::declare(program.settings(), settings);
  if (std::optional<int> code = program.begin(argc, argv)) return *code;
  return program.run(
      [&](shoal::daemon::Host host) { return tracker::Tracker::make(std::move(host), settings); });
}
