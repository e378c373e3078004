#include "agent/agent_parts.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"
#include "core/daemon/version.h"
#include "core/http/url.h"
#include "core/store/file_system.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kPoolThreads = 4;
constexpr std::size_t kPoolQueue = 16'384;
constexpr std::size_t kIngestThreads = 4;
constexpr std::chrono::seconds kMaintainEvery{2};
constexpr milliseconds kMeasureEvery{1000};
constexpr std::chrono::hours kUnsettledKept{1};
constexpr unsigned kRoundsPerSweep = 30;
constexpr std::uint64_t kRecheckStep = 32 * kMiB;
constexpr milliseconds kNamesTimeout{15'000};

std::string value_of(const daemon::KeyValues& values, const std::string& key) {
  auto it = values.find(key);
  return it == values.end() ? std::string() : it->second;
}

api::Topology topology_of(const Settings& settings) {
  return {value_of(settings.topology, "region"), value_of(settings.topology, "zone"),
          value_of(settings.topology, "rack"), value_of(settings.topology, "host")};
}

TrackerAddress tracker_of(const Settings& settings, std::shared_ptr<http::TlsContext> tls) {
  Result<http::Url> url = http::parse_url(settings.tracker);
  SHOAL_CHECK(url.has_value(), "the settings were checked");
  return {*url, std::move(tls)};
}

TrackerLink::Options link_options(const Settings& settings, const std::string& epoch,
                                  std::shared_ptr<http::TlsContext> tls) {
  TrackerLink::Options options;
  options.tracker = tracker_of(settings, std::move(tls));
  options.node = settings.node_id;
  options.epoch = epoch;
  // Without a host the tracker takes the address from which it is called.
  options.advertise = settings.advertise.empty() ? ":" + std::to_string(settings.lane_listen.port)
                                                 : settings.advertise;
  options.admin = ":" + std::to_string(settings.admin_listen.port);
  options.topology = topology_of(settings);
  options.labels = settings.labels;
  options.version = daemon::version();
  options.store_capacity = settings.store_capacity.value();
  return options;
}

asio::io_context& context_of(const Executor& executor) {
  return static_cast<asio::io_context&>(executor.context());
}

}  // namespace

AgentParts::AgentParts(Executor executor, const Settings& settings,
                       std::shared_ptr<http::TlsContext> tls, std::unique_ptr<Origins> origins)
    : executor_(executor),
      settings_(settings),
      epoch_(random_hex(8)),
      tls_(std::move(tls)),
      sources_(std::move(origins)),
      pool_("disk", kPoolThreads, kPoolQueue),
      lane_threads_(settings.lane_threads),
      lost_(context_of(executor), [this](std::vector<Lost>& lost) { on_lost(lost); }),
      evicted_(context_of(executor),
               [this](std::vector<content::Digest>& evicted) { on_evicted(evicted); }),
      transfers_(context_of(executor),
                 [this](std::vector<TransferEvent>& events) { fetcher_.transfers(events); }),
      gate_(settings.upload_limit, {.bulk = settings.upload_slots}),
      board_(executor),
      link_(executor, link_options(settings, epoch_, tls_), *this),
      copies_(
          executor, settings.replicas,
          [this](api::EvictionRequest request, Deadline deadline) {
            return link_.evictions(std::move(request), deadline);
          },
          [this](const content::Digest& blob) -> std::string {
            return library_->goes_with_stored_files(blob) ? "its model's files are here" : "";
          }),
      catalogue_(executor, tracker_of(settings, tls_)),
      inventory_(board_, link_.report()),
      origins_(
          executor, [this](std::string_view url) { return sources_->find(url); },
          settings.origin_threads,
          [this](TransferEvent event) { transfers_.push(std::move(event)); }),
      lane_client_(lane_threads_, {settings.node_id, tls_},
                   [this](TransferEvent event) { transfers_.push(std::move(event)); }),
      hashes_(settings.node_id, tls_),
      fetcher_(executor, lane_client_, origins_, inventory_, hashes_, *this, *this,
               {settings.node_id, tls_, topology_of(settings), settings.download_limit}),
      readers_(fetcher_),
      witness_(settings.node_id, tls_),
      tables_(executor, catalogue_, witness_, [this] { return fetcher_.peers(); },
              {settings.node_id, tls_}),
      admin_(executor, settings.admin_listen,
             [this]() -> std::optional<std::string> {
               if (link_.connected()) return std::nullopt;
               return link_.error() ? link_.error()->message() : "not yet registered";
             }),
      tasks_(executor, "agent"),
      stop_(executor) {}

AgentParts::~AgentParts() = default;

Status AgentParts::open() {
  std::error_code ignored;
  std::filesystem::create_directories(settings_.store.parent_path(), ignored);
  std::filesystem::create_directories(settings_.runtime.parent_path(), ignored);
  std::filesystem::create_directories(settings_.socket.parent_path(), ignored);
  store::StoreConfig config;
  config.store_directory = settings_.store;
  config.runtime_directory = settings_.runtime;
  config.limits.capacity = settings_.store_capacity.value();
  config.limits.free_space_floor = settings_.free_space_floor / 100.0;
  auto opened = store::BlobStore::open(std::move(config), store::real_file_system(), this);
  if (!opened) return fail(opened.error());
  store_ = std::move(*opened);
  store_->set_eviction_chooser(
      [this](std::span<const store::BlobInfo> in_order, std::uint64_t bytes) {
        return copies_.choose(in_order, bytes);
      });
  blobs_ = std::make_unique<BlobCache>(*store_);
  library_ = std::make_unique<Library>(*store_);
  library_->load();
  take_stock();
  order_pins_ = std::make_unique<OrderPins>(*store_, *library_, catalogue_, pool_);
  settler_ =
      std::make_unique<Settler>(executor_, *store_, *blobs_, fetcher_, inventory_, hashes_, pool_);
  pulls_ = std::make_unique<Pulls>(executor_, *store_, *library_, inventory_, fetcher_, catalogue_,
                                   tables_, *order_pins_, *blobs_, *settler_, pool_);
  pulls_->on_ended([this] {
    link_.beat_now();
    if (seeder_) seeder_->look_soon();
  });
  pulls_->set_others_want([this](const content::Digest& blob) {
    return publications_->wants(blob) || readers_.any(blob);
  });
  ingests_ = std::make_unique<Ingests>(
      executor_, *store_, kIngestThreads, [this](const store::Blob& blob) { inventory_.set(blob); },
      [this](const content::Digest& digest) { tasks_.spawn("take back", take_back(digest)); });
  publisher_ = std::make_unique<Publisher>(settings_.node_id, *store_, *library_, inventory_,
                                           catalogue_, witness_, pool_);
  publications_ = std::make_unique<Publications>(
      executor_, settings_.node_id, epoch_, kIngestThreads,
      Publications::Parts{
          *store_, fetcher_, inventory_, hashes_, catalogue_, *publisher_, *settler_,
          [this](const content::Digest& blob) { return pulls_->wants(blob); },
          [this](const content::Digest& blob) { tasks_.spawn("take back", take_back(blob)); }});
  WholeChecks::Callbacks callbacks;
  callbacks.vouch = [this](content::PieceTable table) { return vouch(std::move(table)); };
  callbacks.tell = [this](api::Verdict verdict) { return tell(std::move(verdict)); };
  whole_ = std::make_unique<WholeChecks>(executor_, *store_, pool_, settings_.scrub_rate,
                                         std::move(callbacks));
  verifies_ = std::make_unique<Verifies>(executor_, *store_, *blobs_, *whole_, pool_,
                                         settings_.scrub_rate, settings_.scrub_pause);
  return {};
}

// What the store holds already is offered from the start.
void AgentParts::take_stock() {
  for (const store::BlobInfo& info : store_->list()) {
    if (info.failed) continue;
    if (info.complete) {
      inventory_.set_complete(info.digest, info.size);
    } else if (auto blob = store_->find(info.digest)) {
      inventory_.set(**blob);
    }
  }
}

Status AgentParts::listen() {
  LaneServer::Options lane;
  lane.listen.tcp = {settings_.lane_listen.host, settings_.lane_listen.port};
  lane.node = settings_.node_id;
  lane.epoch = epoch_;
  lane.tls = tls_;
  lane.hashes = [this](http::Request request) { return hashes_.answer(*blobs_, request); };
  lane_server_ = std::make_unique<LaneServer>(executor_, lane_threads_, *blobs_, gate_, pool_,
                                              board_, std::move(lane));
  SHOAL_TRY(lane_server_->start());
  SHOAL_TRY(admin_.start());
  local_ = std::make_unique<LocalApi>(
      executor_, settings_.socket.string(),
      LocalApi::Parts{*store_, *blobs_, *library_, inventory_, fetcher_, readers_, *pulls_,
                      *ingests_, *publisher_, *publications_, *verifies_, copies_, *order_pins_,
                      catalogue_, *sources_, pool_},
      [this] { return standing(); });
  SHOAL_TRY(local_->start());
  SHOAL_TRY(start_mirror());
  if (settings_.bt_listen) SHOAL_TRY(start_seeding());
  tasks_.spawn("recheck", recheck(), [this] { stop_.set(); });
  tasks_.spawn("maintain", maintain(), [this] { stop_.set(); });
  tasks_.spawn("measure", measure(), [this] { stop_.set(); });
  verifies_->start_scrub();
  whole_->start();
  link_.start();
  log::info("agent is up", {{"node", settings_.node_id},
                            {"epoch", epoch_},
                            {"lane", lane_server_->local().str()},
                            {"admin", admin_.local().str()},
                            {"socket", settings_.socket.string()},
                            {"mirror", mirror_ ? mirror_->local().str() : std::string("off")}});
  return {};
}

Status AgentParts::start_mirror() {
  Result<std::optional<daemon::Address>> listen = mirror_address(settings_);
  if (!listen) return fail(listen.error());
  if (!*listen) return {};
  MirrorServer::Options options;
  options.listen.tcp = **listen;
  options.names = settings_.mirror_names;
  options.stall = settings_.mirror_stall;
  const Fills::Parts parts{*store_, *blobs_,    inventory_, fetcher_, readers_,
                           *pulls_, catalogue_, tables_,    pool_};
  mirror_ = std::make_unique<Mirror>(executor_, parts, *library_, std::move(options));
  SHOAL_TRY(mirror_->start());
  told_of_pieces_ = mirror_.get();
  return {};
}

Task<void> AgentParts::stop(Deadline deadline) {
  stop_.set();
  copies_.close();
  board_.close();
  if (publications_) co_await publications_->stop();
  if (pulls_) co_await pulls_->stop();
  if (settler_) co_await settler_->stop();
  if (ingests_) co_await ingests_->stop();
  if (verifies_) co_await verifies_->stop();
  if (whole_) co_await whole_->stop();
  catalogue_.close();
  if (seeder_) co_await seeder_->stop();
  if (local_) co_await local_->stop(deadline);
  if (mirror_) co_await mirror_->stop(deadline);
  co_await copies_.stop();
  co_await link_.stop();
  co_await fetcher_.stop();
  co_await lane_client_.stop();
  co_await origins_.stop();
  if (lane_server_) co_await lane_server_->stop();
  co_await admin_.stop(deadline);
  co_await tasks_.stop();
  lane_threads_.stop();
  pool_.stop();
  if (blobs_) blobs_->clear();
  if (store_) {
    if (Status closed = store_->close(); !closed) {
      log::warn("closing the store", {{"err", closed.error()}});
    }
  }
}

void AgentParts::reload_certificates() {
  if (!tls_) return;
  if (Status reloaded = tls_->reload(); !reloaded) {
    log::error("certificates not reloaded", {{"err", reloaded.error()}});
  } else {
    log::info("certificates reloaded");
  }
}

// --- Store
// -----------------------------------------------------------------------------------------

void AgentParts::pieces_ready(const content::Digest&, content::PieceRange, bool) {
  if (Mirror* mirror = told_of_pieces_) mirror->pieces_ready();
}

void AgentParts::pieces_lost(const content::Digest& blob, const content::PieceSet& pieces) {
  lost_.push({blob, pieces});
}

void AgentParts::on_lost(std::vector<Lost>& lost) {
  for (const Lost& one : lost) {
    auto blob = store_->find(one.blob);
    if (!blob) {
      inventory_.failed(one.blob);
      continue;
    }
    inventory_.lost(**blob, one.pieces);
    if (fetcher_.contains(one.blob)) {
      fetcher_.pieces_lost(one.blob, one.pieces);
    } else {
      tasks_.spawn("repair", repair(one.blob));
    }
    if (seeder_) seeder_->blob_gone(one.blob);
  }
}

void AgentParts::blob_evicted(const content::Digest& blob) { evicted_.push(blob); }

void AgentParts::on_evicted(std::vector<content::Digest>& evicted) {
  for (const content::Digest& digest : evicted) {
    // It may have been fetched again meanwhile.
    if (auto info = store_->info(digest); info || info.error().code() != Errc::kNotFound) continue;
    blobs_->forget(digest);
    library_->removed(digest);
    inventory_.removed(digest);
    if (seeder_) seeder_->blob_gone(digest);
    log::info("evicted", {{"digest", digest.str()}});
  }
}

// Fetches what a stored blob has lost.
Task<void> AgentParts::repair(content::Digest digest) {
  auto work = [this, digest] { return store_->find(digest); };
  auto blob = co_await pool_.run(work);
  if (!blob || stop_.is_set()) co_return;
  log::info("fetching lost pieces again", {{"digest", digest.str()}});
  // Without an answer the peers have to do.
  auto origins = co_await catalogue_.origins(digest, Deadline::after(milliseconds(5'000)));
  if (stop_.is_set()) co_return;
  inventory_.wanted(digest, (*blob)->layout().size(), true);
  fetcher_.add(*blob, origins.value_or(std::vector<api::Origin>()), "");
  fetcher_.want(digest, (*blob)->layout().all_pieces(), swarm::Class::kPrefetch, swarm::kNever);
}

// Removes what a publication brought that came to nothing.
Task<void> AgentParts::take_back(content::Digest digest) {
  if (!library_->references_of(digest).empty() || fetcher_.contains(digest)) co_return;
  auto work = [this, digest] { return store_->remove(digest); };
  Status removed = co_await pool_.run(work);
  if (!removed) {
    log::info("not taken back", {{"digest", digest.str()}, {"err", removed.error()}});
    co_return;
  }
  blobs_->forget(digest);
  library_->removed(digest);
  inventory_.removed(digest);
  if (seeder_) seeder_->blob_gone(digest);
}

// Pieces that a crash left unconfirmed are looked at again, and offered if they are good.
Task<void> AgentParts::recheck() {
  for (const std::shared_ptr<store::Blob>& blob : store_->unchecked()) {
    for (;;) {
      if (stop_.is_set()) co_return;
      auto work = [blob] { return blob->recheck(kRecheckStep); };
      auto step = co_await pool_.run(work);
      if (!step) log::warn("checking stored pieces", {{"err", step.error()}});
      if (step && step->recovered > 0) {
        inventory_.set(*blob);
        content::PieceSet have = blob->have();
        for (auto run = have.next_run(content::PieceIndex(0)); !run.empty();
             run = have.next_run(run.end())) {
          fetcher_.pieces_added(blob->digest(), run);
        }
      }
      if (step && step->done) break;
    }
  }
}

Task<void> AgentParts::maintain() {
  metrics::Gauge& used = metrics::gauge("shoal_agent_store_used_bytes", "Bytes the store holds.");
  metrics::Gauge& free_bytes =
      metrics::gauge("shoal_agent_store_free_bytes", "Bytes free on the store's file system.");
  metrics::Gauge& expiry = metrics::gauge("shoal_agent_certificate_expiry_timestamp_seconds",
                                          "When this node's certificate ends.");
  unsigned rounds = 0;
  while (co_await sleep_until(Deadline::after(kMaintainEvery), &stop_)) {
    auto work = [this] {
      sources_->tidy();
      return store_->maintain();
    };
    auto report = co_await pool_.run(work);
    if (report) {
      for (const auto& [digest, error] : report->sync_errors) {
        log::error("the disk did not keep a blob", {{"digest", digest.str()}, {"err", error}});
      }
    }
    if (++rounds % kRoundsPerSweep == 0) co_await drop_forgotten();
    store::SpaceReport space = store_->space();
    used.set(static_cast<double>(space.use.used));
    free_bytes.set(static_cast<double>(space.use.fs_free));
    if (!tls_) continue;
    if (auto changed = tls_->reload_if_changed(); !changed) {
      log::error("certificates not reloaded", {{"err", changed.error()}});
    } else if (*changed) {
      log::info("certificates reloaded");
    }
    expiry.set(std::chrono::duration<double>(tls_->expires().time_since_epoch()).count());
  }
}

// What publications that never settled have left here goes after a while: until then the same
// publication may be begun once more.
Task<void> AgentParts::drop_forgotten() {
  const std::int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();
  for (const store::BlobInfo& info : store_->list()) {
    if (info.settled || pulls_->wants(info.digest) || publications_->wants(info.digest)) continue;
    if (now_ns - info.last_used_ns < std::chrono::nanoseconds(kUnsettledKept).count()) continue;
    log::info("removing what a publication left", {{"digest", info.digest.str()}});
    co_await settler_->drop(info.digest);
  }
}

// --- Fetching
// --------------------------------------------------------------------------------------

void AgentParts::pieces_arrived(const content::Digest& blob, content::PieceRange,
                                std::uint64_t bytes, bool from_origin) {
  (from_origin ? origin_bytes_ : peers_bytes_) += bytes;
  pulls_->pieces_arrived(blob, bytes, from_origin);
  publications_->pieces_arrived(blob, bytes, from_origin);
}

void AgentParts::blob_arrived(const content::Digest& blob) {
  pulls_->blob_arrived(blob);
  publications_->blob_arrived(blob);
}

void AgentParts::peer_fault(const api::PeerReport& report) {
  link_.report().peer_fault(report.node, report.epoch, report.fault, report.text);
}

Task<Result<api::LeaseResponse>> AgentParts::leases(api::LeaseRequest request, Deadline deadline) {
  return link_.leases(std::move(request), deadline);
}

// --- Tracker
// ---------------------------------------------------------------------------------------

void AgentParts::tracker_up(const std::string&) {
  fetcher_.tracker_up();
  if (seeder_) seeder_->names_changed();
  tasks_.spawn("reconcile pins", order_pins_->reconcile(), [this] { catalogue_.close(); });
}

void AgentParts::tracker_down(const Error& why) {
  log::warn("tracker lost: going on with the peers known", {{"err", why}});
  fetcher_.tracker_down();
}

void AgentParts::orders(const api::EventsResponse::Orders& orders) {
  for (const api::Order& order : orders.orders) {
    Pulls::Request request;
    request.id = order.id;
    request.reference = order.reference;
    request.manifest = order.manifest;
    request.cls =
        order.traffic_class == "background" ? swarm::Class::kBackground : swarm::Class::kPrefetch;
    request.pin = order.pin;
    request.ordered = true;
    pulls_->start(std::move(request));
  }
  for (const std::string& id : orders.cancelled) pulls_->cancel(id);
  if (!orders.removed.empty()) {
    if (seeder_) seeder_->unnamed(orders.removed);
    tasks_.spawn("end pins", order_pins_->removed(orders.removed));
  }
}

void AgentParts::trust(const api::EventTrust& trust) {
  for (const api::Withdrawal& one : trust.withdrawn) {
    content::Hash32 root{};
    if (!from_hex(one.pieces_root, root) || !witness_.withdraw(one.blob, root, one.signer)) {
      continue;
    }
    tasks_.spawn("withdraw", withdraw(one.blob, root, one.signer));
  }
  for (const content::Digest& blob : trust.checks) whole_->look(blob);
}

// Two nodes found that the blob's piece table lies: readers get an error, and its bytes go.
Task<void> AgentParts::withdraw(content::Digest digest, content::Hash32 root, std::string signer) {
  auto find = [this, digest] { return store_->find_quietly(digest); };
  auto blob = co_await pool_.run(find);
  if (!blob || !(*blob)->settled() || (*blob)->table().pieces_root() != root) co_return;
  const std::string why = "its piece table was withdrawn: the bytes have another digest than " +
                          (signer.empty() ? std::string("was said") : "node " + signer + " said");
  log::error("a blob is withdrawn", {{"digest", digest.str()}, {"signer", signer}, {"err", why}});
  fetcher_.remove(digest);
  blobs_->forget(digest);
  if (seeder_) seeder_->blob_gone(digest);
  pulls_->blob_withdrawn(digest, Error(Errc::kCorrupt, digest.str() + ": " + why));
  auto work = [this, digest, blob = *blob, why]() -> Status {
    blob->withdraw(why);
    Result<store::BlobInfo> info = store_->info(digest);
    if (!info) return fail(info.error());
    for (const std::string& pin : info->pins) SHOAL_TRY(store_->unpin(digest, pin));
    return store_->remove(digest);
  };
  Status removed = co_await pool_.run(work);
  if (!removed) log::error("removing a withdrawn blob", {{"err", removed.error()}});
  inventory_.removed(digest);
}

Status AgentParts::start_seeding() {
  bittorrent::Session::Options options;
  options.listen = settings_.bt_listen->str();
  options.announce = settings_.bt_announce;
  options.user_agent = "shoal-agent/" + std::string(daemon::version());
  options.upload_limit = settings_.upload_limit;
  seeder_ = std::make_unique<bittorrent::Seeder>(
      executor_, bittorrent::Seeder::Parts{*store_, *blobs_, *library_, gate_, pool_},
      std::move(options), [this] { return catalogue_.named_manifests(kNamesTimeout); });
  SHOAL_TRY(seeder_->start());
  log::info("seeding to BitTorrent clients", {{"listen", settings_.bt_listen->host},
                                              {"port", seeder_->port()},
                                              {"announce", settings_.bt_announce}});
  return {};
}

Task<Status> AgentParts::vouch(content::PieceTable table) {
  Result<std::string> statement = witness_.sign(table);
  if (!statement) co_return fail(statement.error());
  co_return co_await catalogue_.put_statement(table.digest(), settings_.node_id,
                                              std::move(*statement),
                                              Deadline::after(milliseconds(5'000)));
}

Task<Status> AgentParts::tell(api::Verdict verdict) {
  auto answer = co_await link_.verdict(std::move(verdict), Deadline::after(milliseconds(5'000)));
  if (!answer) co_return fail(answer.error());
  co_return Status{};
}

void AgentParts::neighbours(const std::vector<api::Neighbour>& neighbours) {
  fetcher_.set_neighbours(neighbours);
}

void AgentParts::leases_lost(const std::vector<api::HeldLease>& lost) {
  fetcher_.leases_lost(lost);
}

std::vector<api::HeldLease> AgentParts::held_leases() { return fetcher_.held_leases(); }

std::vector<api::PullReport> AgentParts::pull_reports(bool full) { return pulls_->reports(full); }

api::StoreUsage AgentParts::store_usage() {
  store::SpaceReport space = store_->space();
  return {space.use.used, space.capacity, space.use.fs_free};
}

// --- Status
// ----------------------------------------------------------------------------------------

Task<void> AgentParts::measure() {
  metrics::Counter& sent = metrics::counter("shoal_agent_lane_sent_bytes_total",
                                            "Bytes of blobs sent to other agents over the lane.");
  std::uint64_t sent_before = sent.value();
  const double seconds = std::chrono::duration<double>(kMeasureEvery).count();
  while (co_await sleep_until(Deadline::after(kMeasureEvery), &stop_)) {
    peers_rate_ = static_cast<double>(std::exchange(peers_bytes_, 0)) / seconds;
    origin_rate_ = static_cast<double>(std::exchange(origin_bytes_, 0)) / seconds;
    std::uint64_t sent_now = sent.value();
    upload_rate_ = static_cast<double>(sent_now - std::exchange(sent_before, sent_now)) / seconds;
  }
}

LocalApi::Standing AgentParts::standing() const {
  LocalApi::Standing standing;
  standing.node = settings_.node_id;
  standing.epoch = epoch_;
  standing.tracker_url = settings_.tracker;
  standing.tracker_connected = link_.connected();
  if (link_.error()) standing.tracker_error = link_.error()->message();
  standing.peers_rate = peers_rate_;
  standing.origin_rate = origin_rate_;
  standing.upload_rate = upload_rate_;
  return standing;
}

}  // namespace shoal::agent
