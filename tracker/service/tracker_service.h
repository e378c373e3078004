// The tracker behind its API listener: state, routes and background work as one thing that starts
// and stops. docs/formats/tracker-api.md is what it speaks.
//
// Thread: the control thread. Lifetime: stop() has ended before destruction.
#pragma once

#include "core/async/task.h"

#include <memory>
#include <optional>
#include <string>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/http/url.h"
#include "tracker/catalogue/catalogue.h"
#include "tracker/service/control.h"

namespace shoal::http {
class Server;
class TlsContext;
}  // namespace shoal::http

namespace shoal::tracker {

class TrackerService {
 public:
  struct Options {
    http::Endpoint listen = {};
    Control::Options control = {};
  };

  // `tls` null: plain.
  TrackerService(Executor executor, Options options, std::unique_ptr<Catalogue> catalogue,
                 std::shared_ptr<http::TlsContext> tls);
  ~TrackerService();
  TrackerService(const TrackerService&) = delete;
  TrackerService& operator=(const TrackerService&) = delete;

  // Errors: those of the catalogue and of the listener. stop() is due after an error, too.
  Task<Status> start();
  // Long polls are answered with what there is; other requests may end until `deadline`.
  Task<void> stop(Deadline deadline);

  // With the real port; after start().
  const http::Endpoint& local() const;
  const std::string& epoch() const { return control_.epoch(); }
  // For other listeners, which stop before this does.
  Control& control() { return control_; }
  // Why the tracker is not ready; nothing when it is.
  std::optional<std::string> not_ready() const { return control_.not_ready(); }

 private:
  Control control_;
  const std::unique_ptr<http::Server> server_;
};

}  // namespace shoal::tracker
