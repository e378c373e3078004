// The program: opens the catalogue, loads certificates, wires service and admin endpoint, stops
// them in reverse. No decisions.
#pragma once

#include "core/async/task.h"

#include <memory>
#include <string>
#include <vector>

#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/daemon/admin.h"
#include "core/daemon/run.h"
#include "core/http/tls.h"
#include "tracker/bittorrent/bittorrent_listener.h"
#include "tracker/service/tracker_service.h"
#include "tracker/settings.h"

namespace shoal::tracker {

// Thread: control thread.
class Tracker final : public daemon::Service {
 public:
  // Errors: those of Catalogue::open and TlsContext::load.
  static Result<std::unique_ptr<daemon::Service>> make(daemon::Host host, const Settings& settings);

  Tracker(daemon::Host host, const Settings& settings, std::unique_ptr<Catalogue> catalogue,
          std::shared_ptr<http::TlsContext> tls);

  Task<Status> start() override;
  Task<void> stop(Deadline deadline) override;
  void reload(const std::vector<std::string>& changed) override;

 private:
  Task<void> watch_certificates();

  const std::shared_ptr<http::TlsContext> tls_;  // null: plain
  Event stop_;
  TaskGroup tasks_;
  TrackerService service_;
  std::unique_ptr<BitTorrentListener> bittorrent_;  // null: not wanted
  daemon::AdminEndpoint admin_;
};

}  // namespace shoal::tracker
