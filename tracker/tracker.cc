#include "tracker/tracker.h"

#include <chrono>
#include <utility>

#include "core/base/log.h"

namespace shoal::tracker {
namespace {

// Certificates that a cluster's issuer replaced are taken up after this, also without a SIGHUP.
constexpr std::chrono::minutes kCertificateCheck{1};

TrackerService::Options service_options(const Settings& settings) {
  TrackerService::Options options;
  options.listen.tcp = {settings.listen.host, settings.listen.port};
  options.control.fleet.heartbeat = settings.heartbeat;
  return options;
}

std::unique_ptr<BitTorrentListener> bittorrent(const Executor& executor, const Settings& settings,
                                               TrackerService& service) {
  if (!settings.bt_listen) return nullptr;
  BitTorrentListener::Options options;
  options.listen.tcp = *settings.bt_listen;
  return std::make_unique<BitTorrentListener>(executor, std::move(options), service.control());
}

}  // namespace

Result<std::unique_ptr<daemon::Service>> Tracker::make(daemon::Host host,
                                                       const Settings& settings) {
  std::shared_ptr<http::TlsContext> tls;
  if (settings.tls()) {
    auto loaded = http::TlsContext::load({settings.tls_cert, settings.tls_key, settings.tls_ca});
    if (!loaded) return fail(loaded.error());
    tls = *std::move(loaded);
  }
  auto catalogue = Catalogue::open(settings.data);
  if (!catalogue) return fail(catalogue.error());
  return std::make_unique<Tracker>(std::move(host), settings, *std::move(catalogue),
                                   std::move(tls));
}

Tracker::Tracker(daemon::Host host, const Settings& settings, std::unique_ptr<Catalogue> catalogue,
                 std::shared_ptr<http::TlsContext> tls)
    : tls_(std::move(tls)),
      stop_(host.executor),
      tasks_(host.executor, "certificates"),
      service_(host.executor, service_options(settings), std::move(catalogue), tls_),
      bittorrent_(bittorrent(host.executor, settings, service_)),
      admin_(host.executor, settings.admin_listen, [this] { return service_.not_ready(); }) {}

Task<Status> Tracker::start() {
  // First, so that a start that takes long can be looked at.
  SHOAL_CO_TRY(admin_.start());
  SHOAL_CO_TRY(co_await service_.start());
  if (bittorrent_) {
    SHOAL_CO_TRY(bittorrent_->start());
    log::info("serving BitTorrent clients", {{"listen", bittorrent_->local().str()}});
  }
  if (tls_) tasks_.spawn("watch", watch_certificates(), [this] { stop_.set(); });
  log::info("serving", {{"listen", service_.local().str()},
                        {"admin", admin_.local().str()},
                        {"tls", tls_ != nullptr}});
  co_return Status();
}

Task<void> Tracker::stop(Deadline deadline) {
  co_await tasks_.stop();
  if (bittorrent_) co_await bittorrent_->stop(deadline);
  co_await service_.stop(deadline);
  co_await admin_.stop(deadline);
}

void Tracker::reload(const std::vector<std::string>&) {
  if (!tls_) return;
  if (Status loaded = tls_->reload(); !loaded) {
    log::error("kept the certificates that were: the new ones cannot be used",
               {{"err", loaded.error()}});
  } else {
    log::info("certificates read again");
  }
}

Task<void> Tracker::watch_certificates() {
  for (;;) {
    Status awake = co_await sleep_until(Deadline::after(kCertificateCheck), &stop_);
    if (!awake) co_return;
    Result<bool> changed = tls_->reload_if_changed();
    if (!changed) {
      log::error("kept the certificates that were: the new ones cannot be used",
                 {{"err", changed.error()}});
    } else if (*changed) {
      log::info("certificates read again");
    }
  }
}

}  // namespace shoal::tracker
