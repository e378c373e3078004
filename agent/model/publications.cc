#include "agent/model/publications.h"

#include <algorithm>
#include <utility>

#include "agent/model/publication.h"
#include "agent/swarm/wait_text.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kQueueLimit = 65'536;
constexpr milliseconds kTick{500};
// An origin that refuses this node will not change its mind, one that does not answer may.
constexpr std::chrono::seconds kRefused{3};
constexpr std::chrono::seconds kSilent{60};
// After so long without a byte the reason is shown.
constexpr std::chrono::seconds kQuiet{2};

// What an origin's answer means for who publishes from it.
Errc code_of(swarm::Outcome outcome) {
  switch (outcome) {
    case swarm::Outcome::kRefused:
      return Errc::kDenied;
    case swarm::Outcome::kNotHave:
      return Errc::kNotFound;
    case swarm::Outcome::kChanged:
      return Errc::kConflict;
    case swarm::Outcome::kCorrupt:
      return Errc::kCorrupt;
    default:
      return Errc::kUnavailable;
  }
}

}  // namespace

Publications::Publications(Executor executor, std::string node, std::string epoch,
                           std::size_t threads, Parts parts)
    : executor_(executor),
      node_(std::move(node)),
      epoch_(std::move(epoch)),
      parts_(std::move(parts)),
      tasks_(executor, "publications"),
      stop_(executor),
      ended_(executor),
      pool_("publish", threads, kQueueLimit) {
  tasks_.spawn("tick", tick(), [this] { stop_.set(); });
}

Publications::~Publications() = default;

bool Publications::ending(const Publication& publication) const {
  return stop_.is_set() || *publication.cancel || publication.failure.has_value();
}

Result<std::string> Publications::start(Request request) {
  assert_owner_thread();
  for (const auto& [id, other] : publications_) {
    if (other->view.state == PublicationView::State::kRunning &&
        other->request.reference == request.reference) {
      return fail(Errc::kConflict, "this node is publishing " + request.reference +
                                       " already: wait for it, or cancel it");
    }
  }
  auto publication = std::make_shared<Publication>(executor_);
  const std::string id = random_hex(8);
  publication->request = std::move(request);
  Request& wanted = publication->request;
  for (std::size_t i = 0; i < wanted.files.size(); ++i) {
    const PublicationFile& file = wanted.files[i];
    content::Digest name = content::digest_of(std::string_view());
    if (file.file.size > 0) {
      // Without a version nobody can say that two looks at the file are looks at the same bytes.
      name = file.digest.value_or(content::ingest_name(
          file.file.url, file.file.version.empty() ? "publication " + id : file.file.version,
          file.file.size));
    }
    std::unique_ptr<Part>& part = publication->parts[name];
    if (!part) {
      part = std::make_unique<Part>(executor_);
      part->name = name;
      part->size = file.file.size;
      part->source = &file;
      ++publication->left;
    } else if (part->size != file.file.size) {
      return fail(Errc::kInvalid, "'" + file.path.str() + "' and '" + part->source->path.str() +
                                      "' have one digest but differ in size");
    }
    part->files.push_back(i);
    publication->view.files.push_back({file.path.str(), file.file.size, 0, {}, ""});
    publication->view.bytes_total += file.file.size;
  }
  publications_[id] = publication;
  tasks_.spawn("publication " + id, run(publication),
               [publication] { publication->changed.notify_all(); });
  return id;
}

bool Publications::cancel(const std::string& id) {
  auto it = publications_.find(id);
  if (it == publications_.end()) return false;
  *it->second->cancel = true;
  it->second->changed.notify_all();
  for (const auto& [name, part] : it->second->parts) part->arrived.notify_all();
  return true;
}

Task<Result<PublicationView>> Publications::wait(std::string id, Deadline deadline) {
  for (;;) {
    auto it = publications_.find(id);
    if (it == publications_.end()) co_return fail(Errc::kNotFound, "no publication " + id);
    if (it->second->view.state != PublicationView::State::kRunning || deadline.expired()) {
      co_return it->second->view;
    }
    Status woken = co_await ended_.wait(deadline);
    if (!woken && woken.error().code() == Errc::kCancelled) co_return fail(woken.error());
  }
}

// --- One publication
// ---------------------------------------------------------------------------------

Task<void> Publications::run(std::shared_ptr<Publication> publication) {
  static metrics::Gauge& running =
      metrics::gauge("shoal_agent_publications_running", "Models being published from origins.");
  running.add(1);
  Status done = co_await work(publication);
  // Parts still hold what is cleaned up.
  while (publication->reading > 0) {
    for (const auto& [name, part] : publication->parts) part->arrived.notify_all();
    (void)co_await publication->changed.wait(Deadline::after(kTick));
  }
  PublicationView& view = publication->view;
  if (done) {
    view.state = PublicationView::State::kComplete;
    view.bytes_done = view.bytes_total;
    for (PublicationView::File& file : view.files) file.bytes_done = file.size;
  } else {
    co_await clean_up(publication.get(), done.error());
    const bool cancelled = done.error().code() == Errc::kCancelled;
    view.state = cancelled ? PublicationView::State::kCancelled : PublicationView::State::kFailed;
    view.error = done.error();
  }
  publication->parts.clear();
  publication->ended = Clock::now();
  view.waiting_for.clear();
  running.add(-1);
  log::info("publication ended", {{"reference", publication->request.reference},
                                  {"manifest", view.manifest.str()},
                                  {"bytes", view.bytes_total},
                                  {"from_origin", view.by_source.origin},
                                  {"from_peers", view.by_source.peers},
                                  {"err", done ? std::string("none") : done.error().str()}});
  ended_.notify_all();
}

Task<Status> Publications::work(std::shared_ptr<Publication> publication) {
  SHOAL_CO_TRY(co_await announce(publication.get()));
  for (const auto& [name, part] : publication->parts) {
    if (ending(*publication)) break;
    if (part->digest) continue;
    if (Status begun = co_await begin(publication.get(), part.get()); !begun) {
      co_return fail(begun.error().with_context(part->source->path.str()));
    }
    ++publication->reading;
    tasks_.spawn("part", read(publication, part.get()),
                 [part = part.get()] { part->arrived.notify_all(); });
  }
  while (publication->left > 0 && !ending(*publication)) {
    if (!co_await publication->changed.wait(Deadline::never())) break;
  }
  if (publication->failure) co_return fail(*publication->failure);
  if (ending(*publication)) co_return fail(Errc::kCancelled, "cancelled");
  co_return co_await finish(publication.get());
}

// --- Progress
// --------------------------------------------------------------------------------------

void Publications::pieces_arrived(const content::Digest& blob, std::uint64_t bytes,
                                  bool from_origin) {
  for (const auto& [id, publication] : publications_) {
    auto it = publication->parts.find(blob);
    if (it == publication->parts.end() || !it->second->blob) continue;
    it->second->done += bytes;
    (from_origin ? publication->view.by_source.origin : publication->view.by_source.peers) += bytes;
    publication->last_bytes = Clock::now();
    it->second->arrived.notify_all();
  }
}

void Publications::blob_arrived(const content::Digest& blob) {
  for (const auto& [id, publication] : publications_) {
    auto it = publication->parts.find(blob);
    if (it != publication->parts.end()) it->second->arrived.notify_all();
  }
}

bool Publications::wants(const content::Digest& blob) const { return wanted(blob, nullptr); }

bool Publications::wanted(const content::Digest& blob, const Publication* except) const {
  return std::any_of(publications_.begin(), publications_.end(), [&](const auto& entry) {
    auto it = entry.second->parts.find(blob);
    return entry.second.get() != except && it != entry.second->parts.end() && !it->second->digest;
  });
}

Task<void> Publications::tick() {
  while (co_await sleep_until(Deadline::after(kTick), &stop_)) {
    const Clock::time_point now = Clock::now();
    for (auto it = publications_.begin(); it != publications_.end();) {
      Publication& publication = *it->second;
      PublicationView& view = publication.view;
      if (view.state != PublicationView::State::kRunning) {
        it = now - publication.ended > kKept ? publications_.erase(it) : std::next(it);
        continue;
      }
      ++it;
      view.bytes_done = 0;
      const auto quiet = now - publication.last_bytes;
      view.waiting_for.clear();
      for (const auto& [name, part] : publication.parts) {
        for (std::size_t index : part->files) {
          view.files[index].bytes_done = std::min(part->done, part->size);
          view.bytes_done += view.files[index].bytes_done;
        }
        if (!part->blob || quiet < kQuiet) continue;
        std::optional<Fetcher::Report> report = parts_.fetcher.explain(name);
        if (!report) continue;
        const std::string& path = part->source->path.str();
        if (view.waiting_for.empty()) {
          const std::string what = wait_text(*report, path);
          if (!what.empty()) view.waiting_for = "waiting for " + what;
        }
        if (!report->origin_outcome || publication.failure) continue;
        const Errc code = code_of(*report->origin_outcome);
        const bool may_heal = code == Errc::kUnavailable;
        if (quiet > (may_heal ? Clock::duration(kSilent) : Clock::duration(kRefused))) {
          publication.failure = Error(code, report->origin_error).with_context(path);
          publication.changed.notify_all();
        }
      }
    }
  }
}

Task<void> Publications::stop() {
  stop_.set();
  for (const auto& [id, publication] : publications_) {
    *publication->cancel = true;
    publication->changed.notify_all();
    for (const auto& [name, part] : publication->parts) part->arrived.notify_all();
  }
  ended_.close();
  co_await tasks_.stop();
  pool_.stop();
}

}  // namespace shoal::agent
