#include "agent/agent.h"

#include <utility>

#include "core/base/log.h"
#include "core/daemon/version.h"

namespace shoal::agent {
namespace {

Result<std::unique_ptr<Origins>> make_origins(const Settings& settings) {
  Result<AllowList> allow = AllowList::parse(settings.origin_allow);
  if (!allow) return fail(allow.error());
  OriginSettings origins;
  origins.allow = std::move(*allow);
  origins.limits = {settings.origin_limit, settings.origin_host_limit,
                    settings.origin_host_requests};
  origins.http.user_agent = "shoal-agent/" + std::string(daemon::version());
  origins.http.proxy = settings.origin_proxy;
  origins.http.ca_file = settings.origin_ca.string();
  origins.s3.endpoint = settings.s3_endpoint;
  origins.s3.region = settings.s3_region;
  using Addressing = S3Settings::Addressing;
  origins.s3.addressing = settings.s3_addressing == "path"      ? Addressing::kPath
                          : settings.s3_addressing == "virtual" ? Addressing::kVirtual
                                                                : Addressing::kAuto;
  origins.registry_config = settings.registry_config.string();
  origins.registry_plain = settings.registry_plain;
  return Origins::make(std::move(origins), Environment::of_process());
}

}  // namespace

Agent::Agent(daemon::Host host, const Settings& settings)
    : host_(std::move(host)), settings_(settings) {}

Agent::~Agent() = default;

Task<Status> Agent::start() {
  Result<std::unique_ptr<Origins>> origins = make_origins(settings_);
  if (!origins) co_return fail(origins.error());
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
      std::make_unique<AgentParts>(host_.executor, settings_, std::move(tls), std::move(*origins));
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
