#include "tracker/service/control.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"

namespace shoal::tracker {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Calls that may wait for the catalogue's thread; more are answered 503.
constexpr std::size_t kCatalogueQueue = 256;

struct Loaded {
  std::vector<ManifestBlobs> manifests;
  std::vector<std::pair<content::Digest, api::Origins>> origins;
  std::vector<StoredPrefetch> prefetches;
  std::vector<api::Withdrawal> withdrawals;
  std::vector<StoredIngest> ingests;
};

Result<Loaded> load(Catalogue& catalogue) {
  Loaded loaded;
  auto manifests = catalogue.manifests();
  if (!manifests) return fail(manifests.error());
  for (const content::Digest& digest : *manifests) {
    auto blobs = catalogue.manifest_blobs(digest);
    if (!blobs) return fail(blobs.error());
    loaded.manifests.push_back(*std::move(blobs));
  }
  auto blobs = catalogue.blobs_with_origins();
  if (!blobs) return fail(blobs.error());
  for (const content::Digest& digest : *blobs) {
    auto origins = catalogue.origins(digest);
    if (!origins) return fail(origins.error());
    loaded.origins.emplace_back(digest, *std::move(origins));
  }
  auto prefetches = catalogue.prefetches();
  if (!prefetches) return fail(prefetches.error());
  loaded.prefetches = *std::move(prefetches);
  auto withdrawals = catalogue.withdrawals();
  if (!withdrawals) return fail(withdrawals.error());
  loaded.withdrawals = *std::move(withdrawals);
  auto ingests = catalogue.ingests();
  if (!ingests) return fail(ingests.error());
  loaded.ingests = *std::move(ingests);
  return loaded;
}

}  // namespace

std::int64_t unix_ms_now() {
  return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Control::Control(Executor executor, Options options, std::unique_ptr<Catalogue> catalogue,
                 std::shared_ptr<http::TlsContext> tls)
    : executor_(executor),
      options_(options),
      epoch_(random_hex(8)),
      secure_(tls != nullptr),
      started_(std::chrono::steady_clock::now()),
      catalogue_(std::move(catalogue)),
      fleet_(options.fleet, epoch_, started_, random_u64()),
      book_(options.prefetch),
      ingests_(options.ingests),
      connect_back_(executor, std::move(tls), options.connect_back_timeout),
      news_(executor),
      progress_(executor),
      ingest_news_(executor),
      stop_(executor),
      pool_("catalogue", 1, kCatalogueQueue),
      tasks_(executor, "tracker") {}

Control::~Control() = default;

Task<Status> Control::start() {
  auto job = [](Catalogue& catalogue) { return load(catalogue); };
  Result<Loaded> loaded = co_await with_catalogue(job);
  if (!loaded) co_return fail(loaded.error());
  std::map<content::Digest, std::uint64_t> sizes;
  for (const ManifestBlobs& manifest : loaded->manifests) {
    fleet_.set_manifest(manifest);
    sizes[manifest.manifest] = manifest.bytes_total();
  }
  withdrawn_ = std::move(loaded->withdrawals);
  for (const auto& [blob, origins] : loaded->origins) fleet_.set_origins(blob, origins);
  for (const StoredPrefetch& prefetch : loaded->prefetches) {
    std::optional<milliseconds> remaining;
    if (prefetch.request.timeout.count() > 0) {
      // A clock that jumped while nobody was here neither ends nor lengthens an order beyond
      // reason.
      auto age = milliseconds(std::max<std::int64_t>(0, unix_ms_now() - prefetch.created_unix_ms));
      remaining = prefetch.request.timeout - age;
    }
    book_.restore(prefetch, sizes[prefetch.manifest], remaining, now());
  }
  restore_ingests(loaded->ingests);
  log::info("the catalogue is open", {{"manifests", loaded->manifests.size()},
                                      {"prefetches_running", book_.running()},
                                      {"ingests_running", ingests_.running()},
                                      {"epoch", epoch_}});
  loaded_ = true;
  tasks_.spawn("tick", tick_loop());
  tasks_.spawn("news", news_loop());
  co_return Status();
}

void Control::end_waits() {
  stop_.set();
  connect_back_.close();
  news_.close();
  progress_.close();
  ingest_news_.close();
  for (auto& [node, feed] : feeds_) feed->changed.close();
}

Task<void> Control::stop() {
  end_waits();
  co_await tasks_.stop();
  pool_.stop();
}

milliseconds Control::uptime() const { return duration_cast<milliseconds>(now() - started_); }

std::optional<std::string> Control::not_ready() const {
  if (!loaded_) return "the catalogue is not read yet";
  if (now() < started_ + options_.fleet.heartbeat) {
    return "nodes have not had a heartbeat's time to say what they hold";
  }
  return std::nullopt;
}

Control::Feed& Control::feed(std::string_view node) {
  auto it = feeds_.find(node);
  if (it == feeds_.end()) {
    it = feeds_.emplace(std::string(node), std::make_unique<Feed>(executor_)).first;
    if (stop_.is_set()) it->second->changed.close();
  }
  return *it->second;
}

void Control::node_registered(const Node& node) {
  Feed& own = feed(node.id);
  own.orders_at = own.neighbours_at = own.trust_at = ++own.version;
  own.checks = checks_of(node.id);
  own.changed.notify_all();
  node_came(node);
  fail_lost_ingests();
  changed();
}

void Control::node_came(const Node& node) {
  book_.node_came({node.id, node.topology, node.labels}, now());
  ingests_.node_came(node.id, node.epoch);
}

void Control::changed() {
  for (const std::string& node : book_.take_changed_nodes()) {
    auto it = feeds_.find(node);
    if (it == feeds_.end()) continue;
    it->second->orders_at = ++it->second->version;
    it->second->changed.notify_all();
  }
  std::vector<StoredPrefetch> ended = book_.take_ended();
  for (StoredPrefetch& prefetch : ended) {
    prefetch.ended_unix_ms = unix_ms_now();
    log::info("a prefetch ended", {{"pull_id", prefetch.id},
                                   {"reference", prefetch.request.reference},
                                   {"state", api::prefetch_state_name(prefetch.state)}});
    tasks_.spawn("store prefetch", store_ended(std::move(prefetch)));
  }
  if (!ended.empty()) progress_.notify_all();
  progress_due_ = true;
  news_.notify_all();
}

Task<Status> Control::store_ended(StoredPrefetch prefetch) {
  auto job = [prefetch](Catalogue& catalogue) { return catalogue.put_prefetch(prefetch); };
  co_return co_await with_catalogue(job);
}

// Gathers: whatever else changes while it sleeps is told together.
Task<void> Control::news_loop() {
  swarm::Time told_progress{};
  Status awake;
  while (awake) {
    if (fleet_.has_news()) {
      awake = co_await sleep_until(Deadline::after(options_.gather), &stop_);
      tell_neighbours();
    } else if (progress_due_) {
      awake =
          co_await sleep_until(Deadline::at(told_progress + options_.progress_interval), &stop_);
      told_progress = now();
      progress_due_ = false;
      progress_.notify_all();
    } else {
      awake = co_await news_.wait(Deadline::never());
    }
  }
}

void Control::tell_neighbours() {
  for (const std::string& node : fleet_.take_news()) {
    Feed& own = feed(node);
    own.neighbours_at = ++own.version;
    own.changed.notify_all();
  }
}

std::vector<content::Digest> Control::checks_of(const std::string& node) const {
  std::vector<content::Digest> checks = verdicts_.unheard(node);
  const Node* known = fleet_.node(node);
  std::erase_if(checks, [&](const content::Digest& blob) {
    std::optional<swarm::BlobId> id = fleet_.blob_id(blob);
    if (!known || !id) return true;
    auto part = known->blobs.find(*id);
    return part == known->blobs.end() || part->second.state != api::BlobState::kComplete;
  });
  if (checks.size() > api::kMaxOrders) checks.resize(api::kMaxOrders);
  return checks;
}

api::EventTrust Control::trust_of(const std::string& node) const {
  return {withdrawn_, checks_of(node)};
}

// Tells those who have to look, or all of them.
void Control::tell_trust(bool all) {
  for (auto& [node, own] : feeds_) {
    std::vector<content::Digest> checks = checks_of(node);
    if (!all && checks == own->checks) continue;
    own->checks = std::move(checks);
    own->trust_at = ++own->version;
    own->changed.notify_all();
  }
}

Task<Result<bool>> Control::verdict(std::string node, api::Verdict said) {
  auto known = std::find_if(withdrawn_.begin(), withdrawn_.end(), [&](const api::Withdrawal& one) {
    return one.blob == said.blob && one.pieces_root == said.pieces_root;
  });
  if (known != withdrawn_.end()) co_return true;
  Verdicts::Decision decision =
      verdicts_.say(said.blob, said.pieces_root, said.signer, node, said.agrees);
  auto names = [](const std::set<std::string>& nodes) {
    std::string text;
    for (const std::string& one : nodes) text += (text.empty() ? "" : ", ") + one;
    return text;
  };
  const Verdicts::Case& about = decision.decided;
  switch (decision.outcome) {
    case Verdicts::Outcome::kNothing:
      co_return false;
    case Verdicts::Outcome::kOpen:
      log::warn("a node says that a blob has not its digest: others that have it look",
                {{"digest", about.blob.str()},
                 {"against", names(about.against)},
                 {"in_favour", names(about.in_favour)},
                 {"signer", about.signer}});
      tell_trust(false);
      co_return false;
    case Verdicts::Outcome::kRejected:
      log::error("a node says that a blob has not its digest, and two others that it has",
                 {{"digest", about.blob.str()},
                  {"against", names(about.against)},
                  {"in_favour", names(about.in_favour)}});
      tell_trust(false);
      co_return false;
    case Verdicts::Outcome::kWithdraw:
      break;
  }
  const api::Withdrawal withdrawal{about.blob, about.pieces_root, about.signer};
  const std::string reporters = names(about.against);
  auto job = [withdrawal, reporters](Catalogue& catalogue) {
    return catalogue.withdraw(withdrawal, reporters, unix_ms_now());
  };
  // Known before it is stored: what others say meanwhile is no new case.
  withdrawn_.insert(withdrawn_.begin(), withdrawal);
  if (withdrawn_.size() > api::kMaxWithdrawals) withdrawn_.resize(api::kMaxWithdrawals);
  Status stored = co_await with_catalogue(job);
  if (!stored) {
    std::erase(withdrawn_, withdrawal);
    co_return fail(stored.error());
  }
  log::error("a statement was withdrawn: the blob has not the digest that it says",
             {{"digest", withdrawal.blob.str()},
              {"pieces_root", withdrawal.pieces_root},
              {"signer", withdrawal.signer},
              {"found_by", reporters}});
  metrics::counter("shoal_tracker_withdrawals_total",
                   "Piece tables withdrawn because two nodes found that they lie.")
      .add();
  if (!withdrawal.signer.empty()) fleet_.distrust(withdrawal.signer);
  tell_trust(true);
  changed();
  co_return true;
}

Task<void> Control::tick_loop() {
  swarm::Time next_collect = now() + options_.collect_interval;
  const auto interval = std::max(options_.fleet.heartbeat / 4, milliseconds(10));
  for (;;) {
    Status awake = co_await sleep_until(Deadline::after(interval), &stop_);
    if (!awake) co_return;
    for (const Fleet::Died& node : fleet_.tick(now())) {
      died(node.node, node.epoch, "no heartbeat");
    }
    book_.tick(now());
    fail_lost_ingests();
    ingests_.tick(unix_ms_now());
    changed();
    if (verdicts_.any_open()) tell_trust(false);
    update_metrics();
    for (auto it = feeds_.begin(); it != feeds_.end();) {
      bool gone = !fleet_.node(it->first) && it->second->waiting == 0;
      it = gone ? feeds_.erase(it) : std::next(it);
    }
    if (now() >= next_collect) {
      next_collect = now() + options_.collect_interval;
      tasks_.spawn("collect", collect());
    }
  }
}

Task<Status> Control::collect() {
  const std::int64_t when = unix_ms_now();
  const std::int64_t ended_before = when - options_.prefetch.keep_ended.count();
  auto job = [when, ended_before](Catalogue& catalogue) {
    return catalogue.collect(when, ended_before);
  };
  auto removed = co_await with_catalogue(job);
  if (!removed) co_return fail(removed.error());
  for (const content::Digest& manifest : *removed) {
    log::info("forgot a manifest that nothing names", {{"digest", manifest.str()}});
    fleet_.forget_manifest(manifest);
  }
  changed();
  co_return Status();
}

void Control::died(const std::string& node, const std::string& epoch, std::string_view why) {
  log::warn("a node is dead", {{"node", node}, {"epoch", epoch}, {"err", why}});
  metrics::counter("shoal_tracker_nodes_died_total", "Nodes that were taken for dead.").add();
  book_.node_left(node, now());
  ingests_.node_left(node, now());
}

void Control::check(std::vector<Fleet::Suspect> suspects) {
  for (Fleet::Suspect& suspect : suspects) {
    std::string name = "check " + suspect.node;
    tasks_.spawn(std::move(name), check_suspect(std::move(suspect)));
  }
}

Task<void> Control::check_suspect(Fleet::Suspect suspect) {
  const swarm::Time asked = now();
  Result<api::Identity> answer = co_await connect_back_.identify(suspect.node, suspect.address);
  if (answer && answer->node == suspect.node && answer->epoch == suspect.epoch) co_return;
  if (!answer && answer.error().code() == Errc::kCancelled) co_return;
  if (!fleet_.declare_dead(suspect.node, suspect.epoch, asked)) co_return;
  died(suspect.node, suspect.epoch,
       "peers cannot reach it (" + suspect.complaint + "), the tracker neither: " +
           (answer ? "another epoch answers" : answer.error().message()));
  changed();
}

Task<Control::News> Control::wait_for_news(std::string node, std::uint64_t since,
                                           Deadline deadline) {
  Feed& own = feed(node);
  if (since > own.version) since = 0;  // of another life of this tracker
  const std::uint64_t poll = ++own.polls;
  own.changed.notify_all();  // an older poll ends with what there is
  ++own.waiting;
  Status woken;
  while (woken && own.version <= since && own.polls == poll) {
    woken = co_await own.changed.wait(deadline);
  }
  --own.waiting;
  co_return News{own.version, own.orders_at > since, own.neighbours_at > since,
                 own.trust_at > since};
}

Task<std::uint64_t> Control::wait_for_progress(std::string id, std::uint64_t since,
                                               Deadline deadline) {
  Status woken;
  std::uint64_t version = book_.version(id);
  while (woken && version != 0 && version == since) {
    woken = co_await progress_.wait(deadline);
    version = book_.version(id);
  }
  co_return version;
}

void Control::update_metrics() {
  static metrics::Gauge& live =
      metrics::gauge("shoal_tracker_live_nodes", "Nodes that send heartbeats.");
  static metrics::Gauge& running =
      metrics::gauge("shoal_tracker_running_prefetches", "Prefetch orders that have not ended.");
  static metrics::Gauge& ingests =
      metrics::gauge("shoal_tracker_running_ingests",
                     "Models that are served while their publishers still read them.");
  ingests.set(static_cast<double>(ingests_.running()));
  live.set(static_cast<double>(fleet_.live_nodes()));
  running.set(static_cast<double>(book_.running()));
}

}  // namespace shoal::tracker
