#include "agent/settings.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/system/error_code.hpp>
#include <span>

#include "agent/origin/allow_list.h"
#include "core/content/torrent.h"
#include "core/http/identity.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

std::optional<std::string> broken_tls(const Settings& s) {
  int given =
      (s.tls_cert.empty() ? 0 : 1) + (s.tls_key.empty() ? 0 : 1) + (s.tls_ca.empty() ? 0 : 1);
  if (given != 0 && given != 3)
    return "tls-cert, tls-key and tls-ca belong together: give all three";
  if (given == 3 && s.insecure)
    return "insecure contradicts tls-cert, tls-key and tls-ca: drop one";
  if (given == 0 && !s.insecure) {
    return "give tls-cert, tls-key and tls-ca (`shoal cert` makes them), or insecure for a trial";
  }
  return std::nullopt;
}

std::optional<std::string> broken_tracker(const Settings& s) {
  Result<http::Url> url = http::parse_url(s.tracker);
  if (!url) return "tracker: " + url.error().message();
  if (url->scheme == http::Url::Scheme::kUnix)
    return "tracker: write http://host:port or https://…";
  bool https = url->scheme == http::Url::Scheme::kHttps;
  if (https && s.insecure) return "tracker is https, which needs tls-cert, tls-key and tls-ca";
  if (!https && !s.insecure) return "tracker is http, which needs insecure; write https://";
  return std::nullopt;
}

std::optional<std::string> broken_bittorrent(const Settings& s) {
  if (!s.bt_listen) {
    if (s.bt_announce.empty()) return std::nullopt;
    return "bt-announce belongs to bt-listen: give both";
  }
  if (s.bt_announce.empty()) {
    return "bt-listen needs bt-announce: the URL of /announce at the tracker's own bt-listen";
  }
  boost::system::error_code error;
  boost::asio::ip::make_address(s.bt_listen->host, error);
  if (error) return "bt-listen: write an IP address and a port";
  Result<std::vector<std::string>> url = content::announce_urls(std::span(&s.bt_announce, 1));
  if (!url) return "bt-announce: " + url.error().message();
  return std::nullopt;
}

std::optional<std::string> broken_topology(const Settings& s) {
  for (const auto& [key, value] : s.topology) {
    if (key != "region" && key != "zone" && key != "rack" && key != "host") {
      return "topology: '" + key + "' is none of region, zone, rack and host";
    }
  }
  return std::nullopt;
}

std::optional<std::string> broken_mirror(const Settings& s) {
  Result<std::optional<daemon::Address>> address = mirror_address(s);
  if (!address) return address.error().message();
  if (!*address || daemon::is_loopback(**address) || s.mirror_open) return std::nullopt;
  return "mirror-listen: " + s.mirror_listen +
         " can be reached from other machines, which would read every model without being asked "
         "who "
         "they are; listen on loopback, or set mirror-open if that is meant";
}

}  // namespace

Result<std::optional<daemon::Address>> mirror_address(const Settings& s) {
  if (s.mirror_listen.empty() || s.mirror_listen == "off") return std::optional<daemon::Address>();
  Result<daemon::Address> address = daemon::parse_address(s.mirror_listen);
  if (!address) return fail(address.error().with_context("mirror-listen"));
  return std::optional(*address);
}

void declare(daemon::Settings& table, Settings& v) {
  table.section("Node");
  table.add(v.tracker, {.name = "tracker",
                        .doc = "URL of the tracker.",
                        .example = "https://shoal-tracker.shoal.svc:6969",
                        .required = true});
  table.add(v.node_id, {.name = "node-id",
                        .doc = "This node's name in the fleet, as in its certificate.",
                        .example = "gpu-17",
                        .required = true});
  table.add(v.topology, {.name = "topology",
                         .doc = "Where the node is: region, zone, rack and host; what is left out "
                                "is shared with all nodes that leave it out.",
                         .example = "region=eu,zone=a,rack=r12"});
  table.add(v.labels, {.name = "labels",
                       .doc = "Names by which prefetch orders can select this node.",
                       .example = "pool=h200,team=serving"});

  table.section("Store");
  table.add(v.store,
            {.name = "store", .doc = "Folder of the content store.", .example = "/var/lib/shoal"});
  table.add(v.runtime, {.name = "runtime",
                        .doc = "Folder on a tmpfs for the ready maps that readers look at.",
                        .example = "/run/shoal/runtime"});
  table.add(v.store_capacity,
            {.name = "store-capacity",
             .doc = "How much the store may hold; 0 leaves it to free-space-floor.",
             .example = "2TiB"});
  table.add(
      v.free_space_floor,
      {.name = "free-space-floor",
       .doc = "Percent of the file system that the store leaves free; the kubelet evicts pods "
              "at 10.",
       .example = "15",
       .min = "0",
       .max = "90"});
  table.add(v.replicas,
            {.name = "replicas",
             .doc = "So many whole copies of a file stay in the fleet when stores make room, if no "
                    "origin has it; 0 lets the last one go.",
             .example = "2",
             .max = "1000"});
  table.add(v.scrub_rate,
            {.name = "scrub-rate",
             .doc = "How fast stored bytes are re-read and checked in the background; "
                    "0 does not.",
             .example = "20MB/s"});
  table.add(v.scrub_pause, {.name = "scrub-pause",
                            .doc = "How long after the start, and after a pass over the store, the "
                                   "next pass of that check begins.",
                            .example = "1h",
                            .min = "1s",
                            .max = "30d"});

  table.section("Lane");
  table.add(
      v.lane_listen,
      {.name = "lane-listen", .doc = "Where other agents connect to.", .example = "0.0.0.0:6970"});
  table.add(v.advertise, {.name = "advertise",
                          .doc = "The lane's address as others reach it, HOST:PORT; by default the "
                                 "address from which this node reaches the tracker.",
                          .example = "10.1.2.3:6970"});
  table.add(v.lane_threads, {.name = "lane-threads",
                             .doc = "Threads that move the lane's bytes.",
                             .example = "2",
                             .min = "1",
                             .max = "64"});
  table.add(v.upload_slots, {.name = "upload-slots",
                             .doc = "Bulk requests of other agents that are served at once.",
                             .example = "64",
                             .min = "1",
                             .max = "4096"});
  table.add(v.upload_limit, {.name = "upload-limit",
                             .doc = "Most bytes per second sent to other agents and to "
                                    "BitTorrent clients together; these come last.",
                             .example = "10Gbit/s"});
  table.add(v.download_limit, {.name = "download-limit",
                               .doc = "Most bytes per second received from agents and origins.",
                               .example = "10Gbit/s"});

  table.section("BitTorrent");
  table.add(v.bt_listen,
            {.name = "bt-listen",
             .doc = "Address and port where BitTorrent clients get the published models that are "
                    "whole here: plain, for everybody who reaches it and knows an info-hash; off "
                    "if not set.",
             .example = "0.0.0.0:6881"});
  table.add(v.bt_announce, {.name = "bt-announce",
                            .doc = "Where they find this node: URL of /announce at the tracker's "
                                   "own bt-listen.",
                            .example = "http://shoal-tracker.shoal.svc:6881/announce"});

  table.section("Origins");
  table.add(v.origin_allow, {.name = "origin-allow",
                             .doc = "Places from which first copies may be read: host, host:port, "
                                    "*.example.org, address prefix, or dir:/folder.",
                             .example = "models.example.org,dir:/srv/models"});
  table.add(v.origin_threads, {.name = "origin-threads",
                               .doc = "Requests to origins that run at once.",
                               .example = "16",
                               .min = "1",
                               .max = "256"});
  table.add(v.origin_limit, {.name = "origin-limit",
                             .doc = "Most bytes per second received from all origins.",
                             .example = "5Gbit/s"});
  table.add(v.origin_host_limit, {.name = "origin-host-limit",
                                  .doc = "Most bytes per second received from one host.",
                                  .example = "1Gbit/s"});
  table.add(v.origin_host_requests,
            {.name = "origin-host-requests",
             .doc = "Requests to one host of an origin that run at once; 0 sets no limit.",
             .example = "8",
             .max = "256"});
  table.add(v.origin_proxy, {.name = "origin-proxy",
                             .doc = "URL of a proxy for all origins but those in $no_proxy; by "
                                    "default $https_proxy.",
                             .example = "http://proxy.example:3128"});
  table.add(v.origin_ca, {.name = "origin-ca",
                          .doc = "CA certificates (PEM) that origins are checked against, instead "
                                 "of the system's.",
                          .example = "/etc/ssl/private-ca.pem"});
  table.add(v.s3_endpoint, {.name = "s3-endpoint",
                            .doc = "URL of a server other than AWS for s3:// origins; by default "
                                   "$AWS_ENDPOINT_URL_S3 or $AWS_ENDPOINT_URL.",
                            .example = "https://minio.example:9000"});
  table.add(v.s3_region, {.name = "s3-region",
                          .doc = "Region of s3:// origins; by default $AWS_REGION, the profile's, "
                                 "or where the bucket says it is.",
                          .example = "eu-central-1"});
  table.add(v.s3_addressing, {.name = "s3-addressing",
                              .doc = "Where a bucket's name goes: path, virtual (into the host), "
                                     "or auto: virtual at AWS, else path.",
                              .example = "path"});
  table.add(v.registry_config, {.name = "registry-config",
                                .doc = "A Docker config.json with the logins for registries; by "
                                       "default where Docker and Podman keep theirs.",
                                .example = "/etc/shoal/registry.json"});
  table.add(v.registry_plain, {.name = "registry-plain",
                               .doc = "Registries, host:port, that are spoken to without TLS; "
                                      "those on this machine always are.",
                               .example = "registry.lan:5000"});

  table.section("Local and admin listeners");
  table.add(v.socket, {.name = "socket",
                       .doc = "Unix socket for programs of this node.",
                       .example = "/run/shoal/agent.sock"});
  table.add(v.admin_listen, {.name = "admin-listen",
                             .doc = "Where /metrics, /healthz and /readyz are served.",
                             .example = "0.0.0.0:6971"});

  table.section("OCI mirror");
  table.add(v.mirror_listen,
            {.name = "mirror-listen",
             .doc = "Where OCI clients of this node (containerd, skopeo, oras) pull the cluster's "
                    "models: plain HTTP, HOST:PORT; empty or off for none.",
             .example = "127.0.0.1:6972"});
  table.add(
      v.mirror_open,
      {.name = "mirror-open",
       .doc = "Let mirror-listen be an address that other machines can reach: whoever reaches "
              "it reads every model."});
  table.add(v.mirror_names,
            {.name = "mirror-names",
             .doc = "Names of registries, HOST or HOST:PORT, that clients use for the cluster's "
                    "models and whose mirror this is; of others it knows nothing.",
             .example = "models.example.org"});
  table.add(v.mirror_stall,
            {.name = "mirror-stall",
             .doc = "How long a client of the mirror is kept waiting without one verified byte of "
                    "its blob; then its answer ends.",
             .example = "60s",
             .min = "100ms",
             .max = "1h"});

  table.section("Trust");
  table.add(v.tls_cert, {.name = "tls-cert",
                         .doc = "This node's certificate (PEM); read again when it changes.",
                         .example = "/etc/shoal/node.crt"});
  table.add(v.tls_key,
            {.name = "tls-key", .doc = "Its private key (PEM).", .example = "/etc/shoal/node.key"});
  table.add(v.tls_ca,
            {.name = "tls-ca", .doc = "The cluster's CA (PEM).", .example = "/etc/shoal/ca.crt"});
  table.add(v.insecure, {.name = "insecure",
                         .doc = "Speak plain HTTP without any authentication: for trials only."});

  table.rule([&v] { return broken_tls(v); });
  table.rule([&v] { return broken_tracker(v); });
  table.rule([&v] { return broken_topology(v); });
  table.rule([&v] { return broken_bittorrent(v); });
  table.rule([&v]() -> std::optional<std::string> {
    if (http::valid_node_id(v.node_id)) return std::nullopt;
    return "node-id: 1 to 128 of letters, digits, '.', '_' and '-', not starting with '.' or '-'";
  });
  table.rule([&v]() -> std::optional<std::string> {
    Result<AllowList> list = AllowList::parse(v.origin_allow);
    if (list) return std::nullopt;
    return list.error().message();
  });
  table.rule([&v]() -> std::optional<std::string> {
    const std::string& way = v.s3_addressing;
    if (way == "auto" || way == "path" || way == "virtual") return std::nullopt;
    return "s3-addressing: write auto, path or virtual";
  });
  table.rule([&v]() -> std::optional<std::string> {
    if (v.lane_listen.port != 0 && v.admin_listen.port != 0) return std::nullopt;
    return "lane-listen, admin-listen: the port must be one that others can be told, not 0";
  });
  table.rule([&v] { return broken_mirror(v); });
  table.rule([&v]() -> std::optional<std::string> {
    if (v.advertise.empty()) return std::nullopt;
    Result<http::HostPort> address = http::parse_host_port(v.advertise);
    if (address && address->port != 0) return std::nullopt;
    return "advertise: write HOST:PORT";
  });

  table.usage_example("shoal-agent --config /etc/shoal/agent.yaml", "as a daemon");
  table.usage_example(
      "shoal-agent --insecure --tracker http://127.0.0.1:6969 --node-id a --store /tmp/a "
      "--runtime /dev/shm/a --socket /tmp/a.sock --lane-listen 127.0.0.1:6970 "
      "--admin-listen 127.0.0.1:6971",
      "a trial on one machine");
}

}  // namespace shoal::agent
