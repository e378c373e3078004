#include "tracker/bittorrent/bittorrent_listener.h"

#include <string>
#include <utility>
#include <vector>

#include "core/base/metrics.h"
#include "core/base/random.h"

namespace shoal::tracker {
namespace {

constexpr std::size_t kMaxConnections = 4096;
// A client asks once in minutes: a connection is not worth keeping for long.
constexpr std::chrono::seconds kIdle{10};
constexpr std::chrono::seconds kRead{10};
constexpr std::chrono::seconds kCatalogueTime{10};

http::Server::Options server_options(const http::Endpoint& listen) {
  http::Server::Options options;
  options.endpoint = listen;
  options.name = "bittorrent";
  options.limits = {.max_head = kMaxBtQuery + 4096, .max_body = 0, .raw_query = true};
  options.max_connections = kMaxConnections;
  options.idle_timeout = kIdle;
  options.read_timeout = kRead;
  return options;
}

// Clients read the reason of a failure only where the status is 200.
http::Response bencoded(std::string text) { return http::Response::text(std::move(text)); }

metrics::Counter& announces(std::string_view result) {
  return metrics::counter("shoal_tracker_bittorrent_announces_total",
                          "Announces of BitTorrent clients, by what became of them.",
                          {{"result", std::string(result)}});
}

http::Response refuse(std::string_view result, std::string_view reason) {
  announces(result).add();
  return bencoded(failure_answer(reason));
}

std::string sentence(const Error& error) {
  return "the tracker cannot read its catalogue, try again later: " + error.message();
}

}  // namespace

BitTorrentListener::BitTorrentListener(Executor executor, Options options, Control& control)
    : options_(std::move(options)),
      control_(control),
      known_(executor, control),
      swarms_(options_.swarms, random_u64()),
      stop_(executor),
      tasks_(executor, "bittorrent"),
      server_(executor, server_options(options_.listen)) {
  server_.route("GET", "/announce",
                [this](http::Request request) { return announce(std::move(request)); });
  server_.route("GET", "/scrape",
                [this](http::Request request) { return scrape(std::move(request)); });
}

Status BitTorrentListener::start() {
  SHOAL_TRY(server_.start());
  tasks_.spawn("expire", expire_loop(), [this] { stop_.set(); });
  return {};
}

Task<void> BitTorrentListener::stop(Deadline deadline) {
  known_.close();
  co_await tasks_.stop();
  co_await server_.stop(deadline);
}

// After this, known_ is what the catalogue says, and swarms_ has no other torrents.
Task<Status> BitTorrentListener::catch_up() {
  SHOAL_CO_TRY(co_await known_.refresh(Deadline::after(kCatalogueTime)));
  if (std::exchange(retained_, known_.version()) != known_.version()) {
    swarms_.retain(
        [this](const content::TruncatedInfoHash& torrent) { return known_.contains(torrent); });
  }
  co_return Status();
}

Task<http::Response> BitTorrentListener::announce(http::Request request) {
  Result<AnnounceQuery> query = parse_announce(request.raw_query);
  if (!query) co_return refuse("invalid", query.error().message());
  Result<http::HostPort> peer = http::parse_host_port(request.peer.address);
  if (!peer) co_return refuse("invalid", peer.error().message());
  Result<BtAddress> from = BtAddress::parse(peer->host, query->port);
  if (!from) co_return refuse("invalid", from.error().message());
  // A catalogue that cannot be read keeps nobody from what it is known to have.
  Status current = co_await catch_up();
  if (!known_.contains(query->info_hash)) {
    if (!current) co_return refuse("failed", sentence(current.error()));
    co_return refuse("unknown", "no model in this cluster's catalogue has this torrent");
  }
  SwarmTable::Answer answer = swarms_.announce(*query, *from, control_.now());
  announces(answer.recorded ? "ok" : "shed").add();
  update_metrics();
  co_return bencoded(
      announce_answer(answer.counts, answer.peers, options_.interval, options_.min_interval));
}

Task<http::Response> BitTorrentListener::scrape(http::Request request) {
  static metrics::Counter& scrapes =
      metrics::counter("shoal_tracker_bittorrent_scrapes_total", "Scrapes of BitTorrent clients.");
  scrapes.add();
  auto torrents = parse_scrape(request.raw_query);
  if (!torrents) co_return bencoded(failure_answer(torrents.error().message()));
  Status current = co_await catch_up();
  std::vector<std::pair<content::TruncatedInfoHash, SwarmCounts>> files;
  for (const content::TruncatedInfoHash& torrent : *torrents) {
    if (known_.contains(torrent)) files.emplace_back(torrent, swarms_.counts(torrent));
  }
  if (!current && files.size() < torrents->size()) {
    co_return bencoded(failure_answer(sentence(current.error())));
  }
  co_return bencoded(scrape_answer(files));
}

Task<void> BitTorrentListener::expire_loop() {
  for (;;) {
    Status awake = co_await sleep_until(Deadline::after(options_.expiry), &stop_);
    if (!awake) co_return;
    swarms_.expire(control_.now());
    update_metrics();
  }
}

void BitTorrentListener::update_metrics() const {
  static metrics::Gauge& torrents = metrics::gauge("shoal_tracker_bittorrent_torrents",
                                                   "Torrents that BitTorrent clients announced.");
  const auto clients = [](const char* role) -> metrics::Gauge& {
    return metrics::gauge("shoal_tracker_bittorrent_clients",
                          "BitTorrent clients that announced themselves, once for each torrent.",
                          {{"role", role}});
  };
  static metrics::Gauge& seeds = clients("seed");
  static metrics::Gauge& leeches = clients("leech");
  torrents.set(static_cast<double>(swarms_.torrents()));
  seeds.set(static_cast<double>(swarms_.seeds()));
  leeches.set(static_cast<double>(swarms_.clients() - swarms_.seeds()));
}

}  // namespace shoal::tracker
