#include "agent/bittorrent/seeder.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "core/async/deadline.h"
#include "core/base/log.h"
#include "core/base/metrics.h"

namespace shoal::agent::bittorrent {
namespace {

using std::chrono::seconds;

constexpr seconds kTick{1};
// What happens on the node is heard of at once, but for what programs publish here.
constexpr seconds kLookEvery{5};
// A model that is here but that no reference names: just being published, or removed for good.
constexpr seconds kAskFirst{2};
constexpr seconds kAskLast{600};
// How long a model is left alone that could not be seeded.
constexpr seconds kRetryAfter{60};

metrics::Gauge& torrents_gauge() {
  static metrics::Gauge& gauge = metrics::gauge("shoal_agent_bittorrent_torrents",
                                                "Models that are seeded to BitTorrent clients.");
  return gauge;
}
metrics::Gauge& peers_gauge() {
  static metrics::Gauge& gauge =
      metrics::gauge("shoal_agent_bittorrent_peers", "BitTorrent clients that are connected.");
  return gauge;
}
metrics::Counter& sent_counter() {
  static metrics::Counter& counter = metrics::counter(
      "shoal_agent_bittorrent_sent_bytes_total", "Bytes of models sent to BitTorrent clients.");
  return counter;
}

}  // namespace

Seeder::Seeder(Executor executor, Parts parts, Session::Options options, Named named)
    : executor_(executor),
      parts_(parts),
      options_(std::move(options)),
      named_(std::move(named)),
      wake_(executor),
      tasks_(executor, "bittorrent") {}

Seeder::~Seeder() = default;

Status Seeder::start() {
  Session::Hooks hooks;
  hooks.find = [&blobs = parts_.blobs](const content::Digest& blob) { return blobs.find(blob); };
  if (parts_.gate.limited()) {
    hooks.pace = [&gate = parts_.gate](std::uint64_t bytes, Clock::time_point now) {
      return gate.take(swarm::Class::kBackground, bytes, now);
    };
  }
  hooks.failed = [this](const content::TruncatedInfoHash& hash, const Error& why) {
    failed(hash, why);
  };
  auto session = Session::open(executor_, options_, std::move(hooks));
  if (!session) return fail(session.error().with_context("bt-listen"));
  session_ = std::move(*session);
  measure();
  tasks_.spawn("seeding", run(), [this] { wake_.close(); });
  return {};
}

Task<void> Seeder::stop() {
  co_await tasks_.stop();
  if (!session_) co_return;
  session_->stop();
  auto work = [session = session_.get()] { session->close(); };
  // Without a pool to wait on, here: what libtorrent's threads use goes next.
  if (auto closed = co_await parts_.pool.run(work); !closed) session_->close();
  session_.reset();
}

void Seeder::look_soon() {
  look_now_ = true;
  wake_.notify_all();
}

void Seeder::blob_gone(const content::Digest& blob) {
  if (session_) session_->blob_gone(blob);
  look_soon();
}

void Seeder::names_changed() {
  ask_ = true;
  look_soon();
}

void Seeder::unnamed(const std::vector<content::Digest>& manifests) {
  for (const content::Digest& manifest : manifests) {
    names_.erase(manifest);
    unnamed_.insert(manifest);
    if (session_) drop(manifest, "no reference names it any more");
  }
}

// --- What is here and named
// ----------------------------------------------------------------------------

Task<void> Seeder::run() {
  Clock::time_point next_look{};
  while (!wake_.closed()) {
    session_->tick();
    if (std::exchange(look_now_, false) || Clock::now() >= next_look) {
      co_await look();
      next_look = Clock::now() + kLookEvery;
    }
    measure();
    if (look_now_) continue;
    (void)co_await wake_.wait(Deadline::after(kTick));
  }
}

Task<void> Seeder::look() {
  auto survey = [this] { return whole_models(); };
  auto here = co_await parts_.pool.run(survey);
  if (!here) co_return;
  co_await ask_names(&*here);
  std::vector<content::Digest> going;
  for (const auto& [manifest, hash] : seeded_) {
    if (!here->contains(manifest) || !names_.contains(manifest)) going.push_back(manifest);
  }
  for (const content::Digest& manifest : going) drop(manifest, why_not(manifest));
  std::erase_if(not_before_, [&](const auto& one) {
    return one.second <= Clock::now() || !here->contains(one.first);
  });
  for (const auto& [manifest, model] : *here) {
    if (!names_.contains(manifest) || seeded_.contains(manifest) ||
        not_before_.contains(manifest)) {
      continue;
    }
    if (wake_.closed()) co_return;
    co_await seed(model);
  }
}

std::map<content::Digest, Seeder::Model> Seeder::whole_models() const {
  std::unordered_set<content::Digest> complete;
  for (const store::BlobInfo& info : parts_.store.list()) {
    if (info.complete && !info.failed) complete.insert(info.digest);
  }
  std::map<content::Digest, Model> out;
  for (Model& model : parts_.library.list()) {
    // Of one whose files are still being read for the first time nobody can know the torrent yet.
    if (model->manifest.provisional) continue;
    const auto& files = model->manifest.files;
    const bool whole = std::all_of(files.begin(), files.end(), [&](const auto& file) {
      return file.size == 0 || complete.contains(file.digest);
    });
    if (whole) out.emplace(model->digest, std::move(model));
  }
  return out;
}

// Asked when the tracker is there again, and for a while after a model has come that is not named:
// one that is just being published will be.
Task<void> Seeder::ask_names(const std::map<content::Digest, Model>* here) {
  std::set<content::Digest> nameless;
  for (const auto& [manifest, model] : *here) {
    if (!names_.contains(manifest)) nameless.insert(manifest);
  }
  if (!std::includes(nameless_.begin(), nameless_.end(), nameless.begin(), nameless.end())) {
    pause_ = seconds(0);
  }
  nameless_ = nameless;
  if (!ask_ && (nameless.empty() || Clock::now() < asked_ + pause_)) co_return;
  ask_ = false;
  unnamed_.clear();
  auto names = co_await named_();
  asked_ = Clock::now();
  pause_ = std::clamp(pause_ * 2, kAskFirst, kAskLast);
  if (!names) {
    // What was named before is seeded on; when the tracker is back, names_changed() says so.
    log::debug("asking which models are named", {{"err", names.error()}});
    co_return;
  }
  names_ = std::move(*names);
  for (const content::Digest& manifest : unnamed_) names_.erase(manifest);
}

std::string Seeder::why_not(const content::Digest& manifest) const {
  if (!names_.contains(manifest)) return "no reference names it any more";
  auto model = parts_.library.find(manifest);
  if (!model) return "its manifest is not here any more";
  for (const content::ModelFile& file : model->manifest.files) {
    if (file.size == 0) continue;
    Result<store::BlobInfo> info = parts_.store.info(file.digest);
    if (info && info->complete && !info->failed) continue;
    return file.path.str() + (info && info->failed ? " was withdrawn"
                              : info               ? " is not whole any more"
                                                   : " is not here any more");
  }
  return "its files changed";
}

// --- Torrents
// --------------------------------------------------------------------------------------

Result<Seeder::Made> Seeder::make(const Library::Model& model) const {
  auto torrent = content::ModelTorrent::of(model.manifest, model.digest);
  if (!torrent) return fail(torrent.error());
  SeedFiles files;
  for (const content::ModelFile& file : model.manifest.files) {
    if (file.pieces_root) files.emplace(*file.pieces_root, file.digest);
  }
  for (const content::ModelFile& file : torrent->missing()) {
    auto blob = parts_.store.find_quietly(file.digest);
    if (!blob) return fail(blob.error());
    if (!(*blob)->settled()) {
      return fail(Errc::kUnavailable, file.path.str() + " has no piece table yet");
    }
    const content::PieceTable& table = (*blob)->table();
    SHOAL_TRY(torrent->add(table));
    if (table.pieces_root()) files.emplace(*table.pieces_root(), file.digest);
  }
  auto finished = torrent->finish({});
  if (!finished) return fail(finished.error());
  auto seed = Session::prepare(*finished, std::move(files));
  if (!seed) return fail(seed.error());
  return Made{finished->info_hash.truncated(), finished->name, finished->info_hash.hex(),
              std::move(*seed)};
}

Task<void> Seeder::seed(Model model) {
  auto work = [this, model] { return make(*model); };
  auto made = co_await parts_.pool.run(work);
  if (wake_.closed()) co_return;
  if (!made) {
    log::warn("a model cannot be seeded", {{"digest", model->digest.str()}, {"err", made.error()}});
    // What is wrong with the model itself stays wrong.
    not_before_[model->digest] = made.error().code() == Errc::kInvalid ? Clock::time_point::max()
                                                                       : Clock::now() + kRetryAfter;
    co_return;
  }
  // Meanwhile it may have lost its name.
  if (!names_.contains(model->digest)) co_return;
  auto [it, fresh] = torrents_.try_emplace(made->hash, Torrent{made->name, {}});
  it->second.manifests.insert(model->digest);
  seeded_[model->digest] = made->hash;
  if (!fresh) co_return;
  session_->add(std::move(made->seed));
  log::info(
      "seeding a model",
      {{"torrent", made->name}, {"info_hash", made->info_hash}, {"digest", model->digest.str()}});
}

void Seeder::drop(const content::Digest& manifest, const std::string& why) {
  auto it = seeded_.find(manifest);
  if (it == seeded_.end()) return;
  auto torrent = torrents_.find(it->second);
  torrent->second.manifests.erase(manifest);
  log::info("a model is not seeded any more",
            {{"torrent", torrent->second.name}, {"digest", manifest.str()}, {"err", why}});
  if (torrent->second.manifests.empty()) {
    session_->remove(torrent->first);
    torrents_.erase(torrent);
  }
  seeded_.erase(it);
}

void Seeder::failed(const content::TruncatedInfoHash& hash, const Error& why) {
  auto torrent = torrents_.find(hash);
  if (torrent == torrents_.end()) return;
  for (const content::Digest& manifest : std::set(torrent->second.manifests)) {
    not_before_[manifest] = Clock::now() + kRetryAfter;
    drop(manifest, why.str());
  }
}

void Seeder::measure() {
  torrents_gauge().set(static_cast<double>(torrents_.size()));
  peers_gauge().set(static_cast<double>(session_->stats().peers));
  const std::uint64_t sent = session_->stats().sent;
  sent_counter().add(sent - std::exchange(sent_, sent));
}

}  // namespace shoal::agent::bittorrent
