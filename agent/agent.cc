#include "agent/agent.h"

#include <utility>

#include "core/base/log.h"

namespace shoal::agent {

Agent::Agent(daemon::Host host, const Settings& settings)
    : host_(std::move(host)), settings_(settings) {}

Agent::~Agent() = default;

Task<Status> Agent::start() {
  Result<AllowList> allow = AllowList::parse(settings_.origin_allow);
  if (!allow) co_return fail(allow.error());
  std::shared_ptr<http::TlsContext> tls;
  if (!settings_.insecure) {
    auto loaded = http::TlsContext::load({settings_.tls_cert, settings_.tls_key, settings_.tls_ca});
    if (!loaded) co_return fail(loaded.error());
    tls = std::move(*loaded);
    if (!tls->identity().is_node(settings_.node_id)) {
      co_return fail(Errc::kInvalid, settings_.tls_cert.string() + " is for '" +
                                         tls->identity().uri() + "', not for node-id " +
                                         settings_.node_id);
    }
  } else if (!daemon::is_loopback(settings_.lane_listen)) {
    log::warn("insecure: everybody who can reach the lane can read every blob",
              {{"lane", settings_.lane_listen.str()}});
  }
  parts_ =
      std::make_unique<AgentParts>(host_.executor, settings_, std::move(tls), std::move(*allow));
  SHOAL_CO_TRY(parts_->open());
  co_return parts_->listen();
}

Task<void> Agent::stop(Deadline deadline) {
  if (parts_) co_await parts_->stop(deadline);
}

void Agent::reload(const std::vector<std::string>&) {
  if (parts_) parts_->reload_certificates();
}

}  // namespace shoal::agent
