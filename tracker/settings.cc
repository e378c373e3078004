#include "tracker/settings.h"

#include <optional>

namespace shoal::tracker {

void declare(daemon::Settings& table, Settings& settings) {
  table.usage_example(
      "shoal-tracker --listen 0.0.0.0:6969 --data /var/lib/shoal-tracker --tls-cert tracker.pem"
      " --tls-key tracker.key --tls-ca ca.pem",
      "serves a cluster");
  table.usage_example("shoal-tracker --listen 127.0.0.1:6969 --data /tmp/tracker",
                      "on one machine, to try it");
  table.section("Listeners");
  table.add(settings.listen, {.name = "listen",
                              .doc = "Where agents and operators reach the API.",
                              .example = "0.0.0.0:6969"});
  table.add(settings.admin_listen,
            {.name = "admin-listen",
             .doc = "Where /metrics, /healthz and /readyz are; plain, without content.",
             .example = "0.0.0.0:6968"});
  table.add(settings.bt_listen,
            {.name = "bt-listen",
             .doc = "Where BitTorrent clients find one another for the catalogue's torrents "
                    "(/announce, /scrape): plain HTTP, for everybody who reaches it; off if not "
                    "set.",
             .example = "0.0.0.0:6881"});
  table.section("State");
  table.add(settings.data, {.name = "data",
                            .doc = "Folder of the catalogue's database; one tracker uses it.",
                            .example = "/var/lib/shoal-tracker",
                            .required = true});
  table.add(settings.heartbeat,
            {.name = "heartbeat",
             .doc = "How often agents report; one that misses three is dead, and a restarted "
                    "tracker gives out no leases for one.",
             .example = "2s",
             .min = "50ms",
             .max = "30s"});
  table.section("Trust");
  table.add(settings.tls_cert, {.name = "tls-cert",
                                .doc = "PEM file with the tracker's certificate.",
                                .example = "/etc/shoal/tracker.pem"});
  table.add(settings.tls_key, {.name = "tls-key",
                               .doc = "PEM file with its private key.",
                               .example = "/etc/shoal/tracker.key"});
  table.add(settings.tls_ca,
            {.name = "tls-ca",
             .doc = "PEM file with the cluster's CA: callers must have its certificates.",
             .example = "/etc/shoal/ca.pem"});
  table.add(settings.insecure,
            {.name = "insecure",
             .doc = "Serves without TLS on addresses other than loopback: anybody who reaches "
                    "them may do everything."});
  table.rule([&settings]() -> std::optional<std::string> {
    bool some = !settings.tls_cert.empty() || !settings.tls_key.empty() || !settings.tls_ca.empty();
    bool all = !settings.tls_cert.empty() && !settings.tls_key.empty() && !settings.tls_ca.empty();
    if (some && !all) return "tls-cert, tls-key and tls-ca are needed together";
    if (all && settings.insecure) return "insecure contradicts tls-cert: give one of them";
    if (!all && !settings.insecure && !daemon::is_loopback(settings.listen)) {
      return "listen " + settings.listen.str() +
             " is reachable from other machines: give tls-cert, tls-key and tls-ca, or insecure";
    }
    return std::nullopt;
  });
}

}  // namespace shoal::tracker
