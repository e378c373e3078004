#include "agent/model/publications.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "agent/swarm/wait_text.h"
#include "core/api/limits.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"
#include "core/content/piece_hasher.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kQueueLimit = 65'536;
constexpr milliseconds kTick{500};
constexpr milliseconds kCallTimeout{15'000};
// Giving a model with thousands of files takes as many calls.
constexpr std::chrono::minutes kGiveTimeout{10};
// What has come is hashed in portions of at most this much, in buffers of kReadSize.
constexpr std::uint64_t kHashStep = 64 * kMiB;
constexpr std::size_t kReadSize = 1 << 20;
// An origin that refuses this node will not change its mind, one that does not answer may.
constexpr std::chrono::seconds kRefused{3};
constexpr std::chrono::seconds kSilent{60};
// After so long without a byte the reason is shown.
constexpr std::chrono::seconds kQuiet{2};
constexpr milliseconds kStorePause{1'500};
constexpr int kRoomTries = 3;

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

// One blob of a publication: files with the same name are one.
struct Publications::Part {
  explicit Part(Executor executor) : arrived(std::move(executor)) {}

  content::Digest name;  // until it is settled
  std::uint64_t size = 0;
  std::vector<std::size_t> files;  // indices
  const PublicationFile* source = nullptr;
  std::shared_ptr<store::Blob> blob;      // null: nothing has to be brought
  std::optional<store::ReadLease> keep;   // not to be evicted meanwhile
  Condition arrived;                      // more of it is here
  std::uint64_t done = 0;                 // bytes here
  std::optional<content::Digest> digest;  // once it is settled
  std::optional<content::Hash32> root;    // then; none if it is empty
  std::string how;
};

struct Publications::Publication {
  explicit Publication(Executor executor) : changed(std::move(executor)) {}

  Request request;
  PublicationView view;
  std::map<content::Digest, std::unique_ptr<Part>> parts;  // by name
  std::size_t left = 0;                                    // parts that are not settled
  std::size_t reading = 0;                                 // tasks
  bool announced = false;
  std::optional<Error> failure;
  std::shared_ptr<std::atomic<bool>> cancel = std::make_shared<std::atomic<bool>>(false);
  Condition changed;
  Clock::time_point last_bytes = Clock::now();
  Clock::time_point ended;
};

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

std::vector<BlobOrigins> Publications::origins(const Publication& publication, bool settled) const {
  std::vector<BlobOrigins> out;
  for (const auto& [name, part] : publication.parts) {
    if (part->size == 0) continue;
    std::vector<api::Origin> places;
    for (std::size_t index : part->files) {
      if (places.size() == api::kMaxOrigins) break;
      const PublicationFile& file = publication.request.files[index];
      api::Origin place = publication.request.readers;
      place.kind = file.origin->kind();
      place.url = file.file.url;
      // Of a directory each node sees inodes and times of its own mount.
      const bool told = place.kind != "dir" && file.file.version.size() <= api::kMaxEtag;
      if (told) place.etag = file.file.version;
      if (file.file.version.empty() && !settled) {
        place.nodes = {node_};
        place.labels.clear();
      }
      places.push_back(std::move(place));
    }
    out.emplace_back(settled ? *part->digest : name, std::move(places));
  }
  return out;
}

// From here on others can begin.
Task<Status> Publications::announce(Publication* publication) {
  for (const auto& [name, part] : publication->parts) {
    if (part->size == 0) {
      auto empty = [this] { return store_bytes(parts_.store, "", {}, {}); };
      auto made = co_await pool_.run(empty);
      if (!made) co_return fail(made.error().with_context("storing an empty file"));
      parts_.inventory.set(**made);
      part->how = "copy";
    } else {
      Result<store::BlobInfo> info = parts_.store.info(name);
      if (!info || !info->complete) continue;
      auto find = [this, digest = name] { return parts_.store.find(digest); };
      auto blob = co_await pool_.run(find);
      if (!blob || (*blob)->layout().size() != part->size) continue;
      part->root = (*blob)->table().pieces_root();
      part->keep = (*blob)->keep();
      part->how = "present";
    }
    part->digest = name;
    part->done = part->size;
    publication->view.bytes_done += part->size * part->files.size();
    publication->view.by_source.local += part->size * part->files.size();
    --publication->left;
  }
  std::vector<content::ModelFile> files;
  for (const auto& [name, part] : publication->parts) {
    for (std::size_t index : part->files) {
      files.push_back({publication->request.files[index].path, name, part->size, part->root, ""});
    }
  }
  Result<content::ModelDocuments> documents = content::make_provisional_model(
      publication->request.title, std::move(files), publication->request.annotations);
  if (!documents) co_return fail(documents.error());
  const content::Digest manifest = documents->manifest_digest;
  TableSource tables{[this](const content::Digest& digest) -> Result<content::PieceTable> {
                       auto blob = parts_.store.find_quietly(digest);
                       if (!blob) return fail(blob.error());
                       return (*blob)->table();
                     },
                     [](const content::Digest&) { return false; }};
  SHOAL_CO_TRY(co_await parts_.publisher.give_provisional(
      std::move(*documents), origins(*publication, false), tables, Deadline::after(kGiveTimeout)));
  api::IngestUpdate update{.reference = publication->request.reference,
                           .node = node_,
                           .epoch = epoch_,
                           .state = api::IngestState::kRunning};
  SHOAL_CO_TRY(co_await parts_.catalogue.put_ingest(manifest, std::move(update),
                                                    Deadline::after(kCallTimeout)));
  publication->view.provisional = manifest;
  publication->announced = true;
  co_return Status{};
}

Task<Status> Publications::begin(Publication* publication, Part* part) {
  for (int tries = 0;; ++tries) {
    auto create = [this, part] {
      return parts_.store.create_unsettled(part->name, part->size, store::Reservation::kFull);
    };
    auto created = co_await pool_.run(create);
    if (created) {
      part->blob = *created;
      break;
    }
    // Another is making it just now, or what was evicted gives its room a moment later.
    const Errc code = created.error().code();
    const bool again = code == Errc::kConflict || code == Errc::kNoSpace;
    if (!again || tries == kRoomTries) co_return fail(created.error());
    (void)co_await sleep_until(Deadline::after(kStorePause), &stop_);
    if (ending(*publication)) co_return fail(Errc::kCancelled, "cancelled");
  }
  part->keep = part->blob->keep();
  parts_.inventory.set(*part->blob);
  const content::BlobLayout layout = part->blob->layout();
  const content::PieceSet have = part->blob->have();
  for (auto run = have.next_run(content::PieceIndex(0)); !run.empty();
       run = have.next_run(run.end())) {
    part->done += layout.range_of(run).length;
  }
  publication->view.by_source.local += part->done;
  if (part->blob->complete()) co_return Status{};
  parts_.inventory.wanted(part->name, part->size, true);
  std::vector<api::Origin> places;
  for (auto& [name, list] : origins(*publication, false)) {
    if (name == part->name) places = std::move(list);
  }
  parts_.fetcher.add(part->blob, places, publication->request.reference);
  // In order, so that what has come can be hashed while the rest is on its way.
  parts_.fetcher.want(part->name, layout.all_pieces(), swarm::Class::kPlan, swarm::kNever);
  co_return Status{};
}

Task<void> Publications::read(std::shared_ptr<Publication> publication, Part* part) {
  Status done = co_await hash(publication.get(), part);
  if (!done && done.error().code() != Errc::kCancelled && !publication->failure) {
    publication->failure = done.error().with_context(part->source->path.str());
  }
  if (done) --publication->left;
  --publication->reading;
  publication->changed.notify_all();
}

Task<Status> Publications::hash(Publication* publication, Part* part) {
  const std::shared_ptr<store::Blob> blob = part->blob;
  const content::BlobLayout layout = blob->layout();
  auto hasher = std::make_shared<content::Sha256>();
  // Of a blob with a table each piece is known to be right.
  for (std::uint64_t at = 0; at < part->size && !(blob->settled() && blob->complete());) {
    if (ending(*publication)) co_return fail(Errc::kCancelled, "cancelled");
    const content::PieceIndex first = layout.piece_at(at);
    const std::optional<content::PieceIndex> missing = blob->have().first_missing(first);
    const std::uint64_t here = missing ? layout.offset_of(*missing) : part->size;
    if (here == at || blob->settled()) {
      if (!co_await part->arrived.wait(Deadline::never())) co_return fail(Errc::kCancelled, "");
      continue;
    }
    const ByteRange range{at, std::min(here - at, kHashStep)};
    auto work = [blob, hasher, range]() -> Status {
      std::vector<std::byte> buffer(std::min<std::uint64_t>(kReadSize, range.length));
      for (std::uint64_t offset = range.offset; offset < range.end();) {
        const std::uint64_t count = std::min<std::uint64_t>(buffer.size(), range.end() - offset);
        const auto portion = std::span(buffer).first(count);
        SHOAL_TRY(blob->read({offset, count}, portion));
        hasher->update(portion);
        offset += count;
      }
      return {};
    };
    SHOAL_CO_TRY(co_await pool_.run(work));
    at = range.end();
  }
  content::Digest digest = part->name;
  if (!blob->settled()) {
    digest = content::Digest(hasher->finish());
    const std::optional<content::Digest>& declared = part->source->digest;
    const bool wrong = declared && *declared != digest;
    SHOAL_CO_TRY(co_await audit(publication, part));
    if (wrong) {
      co_return fail(Errc::kCorrupt, part->source->file.url + " is declared to be " +
                                         declared->str() + ", but its bytes are " + digest.str() +
                                         ": the origin changed, or declares what it does not have");
    }
  }
  co_return co_await settle(publication, part, digest);
}

// One piece of each other node that has read some is read here too: who does not have the origin's
// bytes is found out.
Task<Status> Publications::audit(Publication* publication, Part* part) {
  std::map<std::string, std::vector<content::PieceRange>> by_node;
  for (const HashBook::Read& read : parts_.hashes.readers(part->name)) {
    if (read.node != node_) by_node[read.node].push_back(read.pieces);
  }
  SeededRandom random(random_u64());
  for (const auto& [node, runs] : by_node) {
    const content::PieceRange run = runs[random.below(runs.size())];
    const content::PieceIndex piece =
        run.first + static_cast<std::uint32_t>(random.below(run.count));
    const content::BlobLayout layout = part->blob->layout();
    auto work = [part, piece, layout, cancel = publication->cancel]() -> Result<content::Hash32> {
      std::vector<std::byte> bytes;
      auto take = [&](std::span<const std::byte> more) -> Status {
        bytes.insert(bytes.end(), more.begin(), more.end());
        return {};
      };
      OriginStatus read = part->source->origin->read(part->source->file,
                                                     layout.range_of({piece, 1}), take, *cancel);
      if (!read.status) return fail(read.status.error());
      return content::piece_hash(layout, piece, bytes);
    };
    auto hash = co_await pool_.run(work);
    if (!hash) co_return fail(hash.error().with_context("comparing what node " + node + " read"));
    if (*hash != part->blob->piece_hash(piece)) {
      log::error("a node did not pass on the origin's bytes",
                 {{"node", node}, {"digest", part->name.str()}, {"piece", piece.value()}});
      co_return fail(Errc::kCorrupt, "node " + node +
                                         " passed on other bytes than the origin has "
                                         "(piece " +
                                         std::to_string(piece.value()) +
                                         "): look at that node, and publish again without it "
                                         "(--origin-nodes)");
    }
  }
  co_return Status{};
}

Task<Status> Publications::settle(Publication* publication, Part* part, content::Digest digest) {
  if (!part->blob->settled()) {
    auto table =
        content::PieceTable::make(digest, part->blob->layout(), part->blob->learnt_hashes());
    if (!table) co_return fail(table.error());
    part->blob.reset();
    auto settled = co_await parts_.settler.settle(part->name, *table);
    if (!settled) co_return fail(settled.error());
    if (!(*settled)->complete()) co_return fail(Errc::kInternal, "pieces were lost on the disk");
    part->root = table->pieces_root();
    part->keep = (*settled)->keep();
  } else {
    part->root = part->blob->table().pieces_root();
  }
  part->digest = digest;
  part->how = "copy";
  for (std::size_t index : part->files) {
    publication->view.files[index].digest = digest;
    publication->view.files[index].how = part->how;
  }
  co_return Status{};
}

Task<Status> Publications::finish(Publication* publication) {
  std::vector<content::ModelFile> files;
  std::map<content::Digest, bool> read_here;
  for (const auto& [name, part] : publication->parts) {
    read_here[*part->digest] = part->how == "copy";
    for (std::size_t index : part->files) {
      files.push_back(
          {publication->request.files[index].path, *part->digest, part->size, part->root, ""});
      publication->view.files[index].digest = *part->digest;
      publication->view.files[index].how = part->how;
    }
  }
  Result<content::ModelDocuments> documents = content::make_model(
      publication->request.title, std::move(files), std::nullopt, publication->request.annotations);
  if (!documents) co_return fail(documents.error());
  TableSource tables{[this](const content::Digest& digest) -> Result<content::PieceTable> {
                       auto blob = parts_.store.find_quietly(digest);
                       if (!blob) return fail(blob.error());
                       return (*blob)->table();
                     },
                     [read_here](const content::Digest& digest) {
                       auto it = read_here.find(digest);
                       return it != read_here.end() && it->second;
                     }};
  NewModel model{publication->request.reference, documents->manifest_json, documents->config_json,
                 origins(*publication, true)};
  auto given = co_await parts_.publisher.give(std::move(model), std::move(tables),
                                              Deadline::after(kGiveTimeout));
  if (!given) co_return fail(given.error());
  api::IngestUpdate update{.reference = publication->request.reference,
                           .node = node_,
                           .epoch = epoch_,
                           .state = api::IngestState::kSettled,
                           .settled_as = documents->manifest_digest};
  SHOAL_CO_TRY(co_await parts_.catalogue.put_ingest(
      publication->view.provisional, std::move(update), Deadline::after(kCallTimeout)));
  publication->view.manifest = documents->manifest_digest;
  for (const auto& [name, part] : publication->parts) parts_.settler.retire(name, *part->digest);
  co_return Status{};
}

Task<void> Publications::clean_up(Publication* publication, const Error& why) {
  // What is here of it is good for the next try after a restart.
  if (stop_.is_set()) co_return;
  if (publication->announced) {
    api::IngestUpdate update{.reference = publication->request.reference,
                             .node = node_,
                             .epoch = epoch_,
                             .state = api::IngestState::kFailed,
                             .error = why};
    Status told = co_await parts_.catalogue.put_ingest(
        publication->view.provisional, std::move(update), Deadline::after(kCallTimeout));
    if (!told)
      log::warn("the tracker does not know of a failed publication", {{"err", told.error()}});
  }
  for (const auto& [name, part] : publication->parts) {
    const bool brought = part->blob || part->how == "copy";
    part->keep.reset();
    part->blob.reset();
    if (!brought || part->size == 0 || parts_.wanted_elsewhere(name)) continue;
    if (part->digest) {
      parts_.settler.retire(name, *part->digest);
      parts_.unwanted(*part->digest);
    } else {
      co_await parts_.settler.drop(name);
    }
  }
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

bool Publications::wants(const content::Digest& blob) const {
  return std::any_of(publications_.begin(), publications_.end(), [&](const auto& entry) {
    auto it = entry.second->parts.find(blob);
    return it != entry.second->parts.end() && it->second->blob != nullptr;
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
