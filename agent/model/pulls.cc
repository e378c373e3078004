#include "agent/model/pulls.h"

#include <algorithm>
#include <utility>

#include "agent/swarm/wait_text.h"
#include "core/async/retry.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"
#include "core/content/reference.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTick{200};
// Over how much time a rate is told.
constexpr double kRateWindow = 2.0;
// After so long without a byte the reason is shown.
constexpr std::chrono::seconds kQuiet{2};
constexpr milliseconds kCallTimeout{10'000};
constexpr milliseconds kCallPause{500};
constexpr milliseconds kRoomPause{2'000};
constexpr unsigned kRoomTries = 2;

// The state of a pull that has ended does not change any more.
bool has_ended(api::PullState state) {
  return state == api::PullState::kComplete || state == api::PullState::kFailed ||
         state == api::PullState::kCancelled;
}

// Another try of the same call may succeed.
bool may_heal(Errc code) {
  return code == Errc::kTimedOut || code == Errc::kOverloaded || code == Errc::kUnavailable ||
         code == Errc::kDenied || code == Errc::kInternal || code == Errc::kCorrupt;
}

}  // namespace

Pulls::Pulls(Executor executor, store::BlobStore& store, Library& library, Inventory& inventory,
             Fetcher& fetcher, CatalogueClient& catalogue, TableFinder& tables, OrderPins& pins,
             BlobCache& blobs, Settler& settler, BlockingPool& pool)
    : executor_(executor),
      store_(store),
      library_(library),
      inventory_(inventory),
      fetcher_(fetcher),
      catalogue_(catalogue),
      tables_(tables),
      pins_(pins),
      blobs_(blobs),
      settler_(settler),
      pool_(pool),
      tasks_(executor, "pulls"),
      stop_(executor),
      progress_(executor) {
  tasks_.spawn("tick", tick(), [this] { stop_.set(); });
}

Pulls::~Pulls() = default;

Task<void> Pulls::stop() {
  progress_.close();
  co_await tasks_.stop();
}

std::string Pulls::start(Request request) {
  assert_owner_thread();
  std::string id = request.id.empty() ? random_hex(8) : std::move(request.id);
  if (auto known = pulls_.find(id); known != pulls_.end()) {
    // A tracker that orders what has ended here has lost the report: it gets another.
    if (has_ended(known->second->view.state)) {
      known->second->reported = false;
      if (on_ended_) on_ended_();
    }
    return id;
  }
  auto pull = std::make_shared<Pull>(executor_);
  pull->view.id = id;
  pull->view.version = 1;
  pull->view.reference = std::move(request.reference);
  if (request.manifest) pull->view.manifest = *request.manifest;
  pull->cls = request.cls;
  pull->pin = request.pin;
  pull->ordered = request.ordered;
  pull->last_bytes = Clock::now();
  pulls_[id] = pull;
  tasks_.spawn("pull " + id, run(pull), [pull = pull.get()] { pull->stop.set(); });
  return id;
}

bool Pulls::cancel(const std::string& id) {
  auto it = pulls_.find(id);
  if (it == pulls_.end()) return false;
  it->second->stop.set();
  progress_.notify_all();
  return true;
}

std::optional<PullView> Pulls::view(const std::string& id) const {
  auto it = pulls_.find(id);
  if (it == pulls_.end()) return std::nullopt;
  return it->second->view;
}

Task<Result<PullView>> Pulls::wait(std::string id, std::uint64_t since, Deadline deadline) {
  for (;;) {
    std::optional<PullView> now = view(id);
    if (!now) co_return fail(Errc::kNotFound, "no pull with the id " + id);
    if (now->version > since || has_ended(now->state)) co_return std::move(*now);
    if (!co_await progress_.wait(deadline)) {
      now = view(id);
      if (!now) co_return fail(Errc::kNotFound, "no pull with the id " + id);
      co_return std::move(*now);
    }
  }
}

std::string Pulls::waiting_for(const content::Digest& manifest) const {
  for (const auto& [id, pull] : pulls_) {
    if (has_ended(pull->view.state) || pull->view.manifest != manifest) continue;
    if (std::string text = waits_for(*pull); !text.empty()) return text;
  }
  return {};
}

std::vector<api::PullReport> Pulls::reports(bool full) {
  std::vector<api::PullReport> out;
  for (auto& [id, pull] : pulls_) {
    bool ended = has_ended(pull->view.state);
    if (pull->reported && (!full || ended)) continue;
    pull->reported = true;
    const PullView& view = pull->view;
    api::PullReport report;
    report.id = id;
    report.manifest = view.manifest;
    report.state = view.state;
    report.bytes_total = view.bytes_total;
    report.bytes_done = view.bytes_done;
    report.by_source = view.by_source;
    report.rate = static_cast<std::uint64_t>(view.rate);
    report.waiting_for = view.waiting_for;
    report.error = view.error;
    for (const auto& [digest, part] : pull->parts) {
      if (part.complete) continue;
      std::optional<Fetcher::Report> why = fetcher_.explain(digest);
      if (!why) continue;
      for (const Fetcher::SourceReport& source : why->sources) {
        if (report.sources.size() == api::kMaxPullSources) break;
        report.sources.push_back(
            {source.kind, source.name, source.bytes, static_cast<std::uint64_t>(source.rate)});
      }
      report.last_errors = std::move(why->last_errors);
      break;
    }
    out.push_back(std::move(report));
  }
  return out;
}

void Pulls::changed(Pull& pull) {
  ++pull.view.version;
  pull.reported = false;
  progress_.notify_all();
}

void Pulls::end(Pull& pull, api::PullState state, std::optional<Error> error) {
  pull.view.state = state;
  pull.view.error = std::move(error);
  pull.view.rate = 0;
  pull.view.eta.reset();
  pull.view.waiting_for.clear();
  pull.ended = Clock::now();
  pull.kept.clear();
  metrics::counter("shoal_agent_pulls_total", "Pulls of models that have ended.",
                   {{"result", state == api::PullState::kComplete ? "complete"
                               : state == api::PullState::kFailed ? "failed"
                                                                  : "cancelled"}})
      .add();
  for (auto& file : pull.view.files) {
    if (state == api::PullState::kComplete) file.bytes_done = file.size;
  }
  log::info("pull ended",
            {{"pull_id", pull.view.id},
             {"reference", pull.view.reference},
             {"manifest", pull.view.manifest.str()},
             {"state", state == api::PullState::kComplete ? "complete"
                       : state == api::PullState::kFailed ? "failed"
                                                          : "cancelled"},
             {"bytes", pull.view.bytes_total},
             {"from_peers", pull.view.by_source.peers},
             {"from_origin", pull.view.by_source.origin},
             {"here_before", pull.view.by_source.local},
             {"err", pull.view.error ? pull.view.error->str() : std::string("none")}});
  changed(pull);
  if (on_ended_) on_ended_();
}

// --- One pull
// --------------------------------------------------------------------------------------

Task<void> Pulls::run(std::shared_ptr<Pull> pull) {
  pull->view.state = api::PullState::kRunning;
  Status done = co_await work(pull.get());
  for (const auto& [digest, part] : pull->parts) {
    if (part.complete || wanted_elsewhere(digest, pull.get())) continue;
    fetcher_.remove(digest);
    inventory_.wanted(digest, part.size, false);
  }
  if (!done) co_await drop_unsettled(pull.get(), done.error());
  if (done) {
    end(*pull, api::PullState::kComplete, std::nullopt);
  } else if (done.error().code() == Errc::kCancelled) {
    end(*pull, api::PullState::kCancelled, std::nullopt);
  } else {
    end(*pull, api::PullState::kFailed, done.error());
  }
}

Task<Status> Pulls::work(Pull* pull) {
  auto model = co_await find_model(pull);
  if (model && (*model)->manifest.provisional) {
    pull->model = *model;
    SHOAL_CO_TRY(co_await stream(pull));
    model = co_await find_model(pull);
  }
  if (!model) co_return fail(model.error());
  pull->model = *model;
  const content::ModelManifest& manifest = (*model)->manifest;
  co_await keep(pull, (*model)->digest);
  co_await keep(pull, manifest.config.digest);  // if it is here
  pull->parts[manifest.config.digest] = {manifest.config.digest,
                                         manifest.config.size,
                                         manifest.config.pieces_root(),
                                         "config",
                                         0,
                                         false};
  add_parts(*pull);
  bool has_empty = std::any_of(pull->parts.begin(), pull->parts.end(),
                               [](const auto& entry) { return entry.second.size == 0; });
  if (has_empty) {
    // Nobody has to be asked for no bytes, but readers open the blob like any other.
    auto make = [this] { return store_bytes(store_, "", {}, {}); };
    auto made = co_await pool_.run(make);
    if (!made) co_return fail(made.error().with_context("storing an empty file"));
    inventory_.set(**made);
  }
  std::vector<content::Digest> digests;
  for (const auto& [digest, part] : pull->parts) digests.push_back(digest);
  for (const content::Digest& digest : digests) {
    if (pull->parts.at(digest).complete) continue;
    SHOAL_CO_TRY(co_await begin_part(pull, digest));
    if (digest == manifest.config.digest) co_await keep(pull, digest);
  }
  while (pull->missing > 0) {
    if (pull->failure) co_return fail(*pull->failure);
    if (pull->stop.is_set() || stop_.is_set()) co_return fail(Errc::kCancelled, "cancelled");
    if (!co_await progress_.wait(Deadline::never())) co_return fail(Errc::kCancelled, "stopping");
  }
  if (pull->pin) {
    std::string name =
        pull->view.reference.empty() ? pull->view.manifest.str() : pull->view.reference;
    auto work = [this, model = pull->model, name, ordered = pull->ordered]() -> Status {
      if (ordered) return pins_.pin(*model, name);
      pins_.keep(*model, name);
      return library_.pin(*model, name);
    };
    co_return co_await pool_.run(work);
  }
  co_return Status{};
}

// The files of its model, beside what it has already; those that are not here are told to be
// wanted.
void Pulls::add_parts(Pull& pull) {
  for (const content::ModelFile& file : pull.model->manifest.files) {
    pull.parts[file.digest] = {file.digest, file.size, file.pieces_root, file.path.str(), 0, false};
    pull.view.files.push_back({file.path.str(), file.digest, file.size, 0});
  }
  for (auto& [digest, part] : pull.parts) {
    pull.view.bytes_total += part.size;
    if (auto came = pull.streamed.find(digest); came != pull.streamed.end()) {
      part.done = std::min(came->second, part.size);
    }
    Result<store::BlobInfo> info = store_.info(digest);
    part.complete = part.size == 0 || (info && info->complete && !info->failed);
    if (part.complete) {
      pull.view.by_source.local += part.size - part.done;
      part.done = part.size;
    } else {
      ++pull.missing;
      // Told before the tables are here, so that neighbours are chosen meanwhile.
      inventory_.wanted(digest, part.size, true);
    }
    pull.view.bytes_done += part.done;
  }
  changed(pull);
}

// Waits before a call is made again; says meanwhile what for.
Task<Status> Pulls::pause(Pull* pull, Error why, std::string doing) {
  const bool full = why.code() == Errc::kNoSpace;
  if (full && pull->doing.empty()) {
    log::warn("a pull waits for room", {{"pull_id", pull->view.id}, {"err", why}});
  }
  pull->doing = std::move(doing) + " (" + why.message() + ")";
  (void)co_await sleep_until(Deadline::after(full ? kRoomPause : kCallPause), &pull->stop);
  if (pull->stop.is_set() || stop_.is_set()) co_return fail(Errc::kCancelled, "cancelled");
  co_return Status{};
}

Task<Result<std::shared_ptr<const Library::Model>>> Pulls::find_model(Pull* pull) {
  const std::string reference = pull->view.reference;
  std::optional<content::Digest> digest;
  if (pull->view.manifest != content::Digest()) digest = pull->view.manifest;
  if (!digest) {
    Result<content::Reference> parsed = content::Reference::parse(reference);
    if (!parsed) co_return fail(parsed.error());
    if (parsed->digest() != nullptr) digest = *parsed->digest();
  }
  while (!digest) {
    auto resolved = co_await catalogue_.resolve(reference, Deadline::after(kCallTimeout));
    if (resolved) {
      digest = resolved->manifest;
      break;
    }
    if (!may_heal(resolved.error().code())) co_return fail(resolved.error());
    // Without the tracker, what the reference named here last is the best there is.
    if (auto known = library_.find(reference)) co_return known;
    SHOAL_CO_TRY(co_await pause(pull, resolved.error(), "the tracker"));
  }
  pull->view.manifest = *digest;
  // A reference by digest is not a name to remember.
  std::string name = reference.find('@') == std::string::npos ? reference : std::string();
  for (;;) {
    Result<std::string> bytes = fail(Errc::kNotFound, "");
    if (library_.find(*digest)) {
      auto work = [this, digest] { return read_whole(store_, *digest, content::kMaxManifestSize); };
      bytes = co_await pool_.run(work);
    }
    if (!bytes) {
      auto answer = co_await catalogue_.manifest(*digest, Deadline::after(kCallTimeout));
      if (answer) {
        bytes = std::move(answer->bytes);
      } else if (!may_heal(answer.error().code())) {
        co_return fail(answer.error().with_context("manifest " + digest->str()));
      } else {
        SHOAL_CO_TRY(co_await pause(pull, answer.error(), "the manifest from the tracker"));
        continue;
      }
    }
    // One that is provisional will be forgotten.
    if (auto parsed = content::ModelManifest::parse(*bytes); parsed && parsed->provisional) {
      pull->doing.clear();
      co_return std::make_shared<const Library::Model>(
          Library::Model{*digest, std::move(*parsed), {}});
    }
    auto work = [this, name, text = std::move(*bytes)] { return library_.record(name, text, {}); };
    auto model = co_await pool_.run(work);
    if (!model && model.error().code() == Errc::kConflict) {
      // Another pull is storing it at this moment.
      SHOAL_CO_TRY(co_await pause(pull, model.error(), "the store"));
      continue;
    }
    if (!model && may_get_room(*pull, model.error(), 0)) {
      SHOAL_CO_TRY(co_await pause(pull, model.error(), "room for the manifest"));
      continue;
    }
    pull->doing.clear();
    if (model) inventory_.set_complete(*digest, (*store_.info(*digest)).size);
    co_return model;
  }
}

// What makes room for the model's files must not make the model itself unknown.
Task<void> Pulls::keep(Pull* pull, content::Digest digest) {
  auto work = [this, digest]() -> Result<store::ReadLease> {
    auto blob = store_.find(digest);
    if (!blob) return fail(blob.error());
    return (*blob)->open_reader();
  };
  auto lease = co_await pool_.run(work);
  if (lease) pull->kept.push_back(std::move(*lease));
}

// Orders of the tracker wait for room: whoever gave them to many nodes is told which nodes wait,
// and for what, and need not give them again. Who asks on this node is told at once.
// But space that an eviction gives comes a moment later, when nobody here has the file open.
bool Pulls::may_get_room(Pull& pull, const Error& error, std::uint64_t size) const {
  const std::uint64_t capacity = store_.limits().capacity;
  if (error.code() != Errc::kNoSpace || (capacity != 0 && size > capacity)) return false;
  return ++pull.full <= kRoomTries || pull.ordered;
}

Task<Status> Pulls::begin_part(Pull* pull, content::Digest digest) {
  const Part part = pull->parts.at(digest);
  std::shared_ptr<store::Blob> blob;
  auto work = [this, digest] { return store_.find(digest); };
  auto found = co_await pool_.run(work);
  if (found) blob = *found;
  while (!blob) {
    auto table =
        co_await tables_.find(digest, part.size, part.pieces_root, Deadline::after(kCallTimeout));
    if (!table) {
      if (table.error().code() == Errc::kInvalid) co_return fail(table.error());
      SHOAL_CO_TRY(co_await pause(pull, table.error(), "the piece table of " + part.path));
      continue;
    }
    std::map<std::string, std::string> notes;
    if (!table->vouched_by.empty()) notes.emplace(kVouchedByKey, table->vouched_by);
    auto create = [this, table = std::move(table->table), notes = std::move(notes)] {
      return store_.create(table, store::Reservation::kFull, {}, notes);
    };
    auto created = co_await pool_.run(create);
    if (created) {
      blob = *created;
    } else if (created.error().code() == Errc::kConflict) {
      // Another pull is making it at this moment.
      SHOAL_CO_TRY(co_await pause(pull, created.error(), "the store"));
      if (auto again = store_.find(digest)) blob = *again;
    } else if (may_get_room(*pull, created.error(), part.size)) {
      SHOAL_CO_TRY(co_await pause(pull, created.error(), "room for " + part.path));
    } else {
      co_return fail(created.error().with_context(part.path));
    }
  }
  pull->doing.clear();
  // Without an answer the peers have to do.
  auto origins = co_await catalogue_.origins(digest, Deadline::after(kCallTimeout));
  if (pull->stop.is_set() || stop_.is_set()) co_return fail(Errc::kCancelled, "cancelled");
  want_all(*pull, blob, origins.value_or(std::vector<api::Origin>()));
  co_return Status{};
}

// What is not here of it.
void Pulls::want_all(Pull& pull, const std::shared_ptr<store::Blob>& blob,
                     const std::vector<api::Origin>& origins) {
  inventory_.set(*blob);
  const content::Digest& digest = blob->digest();
  const content::BlobLayout layout = blob->layout();
  std::uint64_t here = 0;
  content::PieceSet have = blob->have();
  for (auto run = have.next_run(content::PieceIndex(0)); !run.empty();
       run = have.next_run(run.end())) {
    here += layout.range_of(run).length;
  }
  Part& live = pull.parts.at(digest);
  // Bytes that arrived for another pull meanwhile are already counted.
  std::uint64_t local = here - std::min(here, live.done);
  live.done += local;
  pull.view.by_source.local += local;
  pull.view.bytes_done += local;
  if (blob->complete()) {
    blob_arrived(digest);
    return;
  }
  fetcher_.add(blob, origins, pull.view.id);
  fetcher_.want(digest, layout.all_pieces(), pull.cls, swarm::kNever);
  changed(pull);
}

void Pulls::blob_withdrawn(const content::Digest& blob, const Error& why) {
  for (auto& [id, pull] : pulls_) {
    if (has_ended(pull->view.state) || !pull->parts.contains(blob)) continue;
    pull->failure = why;
    Part& part = pull->parts.at(blob);
    if (part.complete) ++pull->missing;
    part.complete = false;
  }
  progress_.notify_all();
}

bool Pulls::wanted_elsewhere(const content::Digest& blob, const Pull* except) const {
  if (except != nullptr && wanted_elsewhere_ && wanted_elsewhere_(blob)) return true;
  return std::any_of(pulls_.begin(), pulls_.end(), [&](const auto& entry) {
    const Pull& pull = *entry.second;
    return &pull != except && !has_ended(pull.view.state) && pull.parts.contains(blob);
  });
}

// --- Progress
// --------------------------------------------------------------------------------------

void Pulls::pieces_arrived(const content::Digest& blob, std::uint64_t bytes, bool from_origin) {
  for (auto& [id, pull] : pulls_) {
    if (has_ended(pull->view.state)) continue;
    auto it = pull->parts.find(blob);
    if (it == pull->parts.end() || it->second.complete) continue;
    it->second.done += bytes;
    pull->view.bytes_done += bytes;
    (from_origin ? pull->view.by_source.origin : pull->view.by_source.peers) += bytes;
    pull->rate_bytes += bytes;
    pull->last_bytes = Clock::now();
  }
}

void Pulls::blob_arrived(const content::Digest& blob) {
  for (auto& [id, pull] : pulls_) {
    if (has_ended(pull->view.state)) continue;
    auto it = pull->parts.find(blob);
    if (it == pull->parts.end() || it->second.complete) continue;
    Part& part = it->second;
    // Whatever was not counted on its way (a scrub's finding, an import) was here by other means.
    std::uint64_t uncounted = part.size - std::min(part.size, part.done);
    pull->view.by_source.local += uncounted;
    pull->view.bytes_done += uncounted;
    part.done = part.size;
    part.complete = true;
    --pull->missing;
    changed(*pull);
  }
  inventory_.complete(blob);
  inventory_.wanted(blob, 0, false);
}

std::string Pulls::waits_for(const Pull& pull) const {
  if (!pull.doing.empty()) return "waiting for " + pull.doing;
  for (const auto& [digest, part] : pull.parts) {
    if (part.complete) continue;
    std::optional<Fetcher::Report> report = fetcher_.explain(digest);
    if (!report) continue;
    std::string what = wait_text(*report, part.path);
    if (!what.empty()) return "waiting for " + what;
  }
  return {};
}

Task<void> Pulls::tick() {
  while (co_await sleep_until(Deadline::after(kTick), &stop_)) {
    const Clock::time_point now = Clock::now();
    for (auto it = pulls_.begin(); it != pulls_.end();) {
      Pull& pull = *it->second;
      if (has_ended(pull.view.state)) {
        it = now - pull.ended > kKept ? pulls_.erase(it) : std::next(it);
        continue;
      }
      ++it;
      PullView& view = pull.view;
      double seconds = std::chrono::duration<double>(kTick).count();
      double instant = static_cast<double>(std::exchange(pull.rate_bytes, 0)) / seconds;
      view.rate += (instant - view.rate) * std::min(1.0, seconds / kRateWindow);
      if (view.rate < 1) view.rate = 0;
      view.eta.reset();
      if (view.rate > 0 && view.bytes_total > view.bytes_done) {
        double left = static_cast<double>(view.bytes_total - view.bytes_done) / view.rate;
        if (left < 1e7) view.eta = milliseconds(static_cast<std::int64_t>(left * 1000));
      }
      view.waiting_for = now - pull.last_bytes > kQuiet ? waits_for(pull) : std::string();
      for (auto& file : view.files) {
        if (auto part = pull.parts.find(file.digest); part != pull.parts.end()) {
          file.bytes_done = std::min(part->second.done, part->second.size);
        }
      }
      changed(pull);
    }
  }
}

}  // namespace shoal::agent
