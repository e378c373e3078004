#include "agent/mirror/fills.h"

#include <algorithm>
#include <utility>

#include "agent/model/library.h"
#include "agent/model/witness.h"
#include "agent/swarm/wait_text.h"
#include "core/base/log.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

// How far ahead of a reader missing bytes are urgent. More would make whole plans urgent, and a
// fleet that reads one blob in one order would all ask the same source.
constexpr std::uint64_t kWindow = 8 * kMiB;
constexpr std::chrono::seconds kWindowTime{2};
constexpr milliseconds kCallTimeout{10'000};
constexpr milliseconds kPause{500};
constexpr milliseconds kRoomPause{2'000};
// Space that an eviction gives comes a moment later.
constexpr unsigned kRoomTries = 2;

}  // namespace

Fills::Fills(Executor executor, Parts parts)
    : executor_(executor),
      parts_(parts),
      changed_(executor),
      stop_(executor),
      tasks_(executor, "mirror") {}

Fills::~Fills() = default;

Task<void> Fills::stop() {
  stop_.set();
  changed_.close();
  for (auto& [digest, fill] : fills_) fill->stop.set();
  co_await tasks_.stop();
}

// --- Readers
// ---------------------------------------------------------------------------------------

Readers::Id Fills::begin(MirrorBlob blob, ByteRange range, std::string pull_id) {
  assert_owner_thread();
  const Readers::Id id = parts_.readers.open();
  std::shared_ptr<Fill>& fill = fills_[blob.digest];
  if (!fill) {
    fill = std::make_shared<Fill>(executor_);
    fill->part = std::move(blob);
    fill->pull_id = std::move(pull_id);
    tasks_.spawn("bring", bring(fill), [fill = fill.get()] { fill->stop.set(); });
  }
  ++fill->readers;
  const Reader& reader = readers_[id] = {fill, range, range.offset};
  if (fill->blob) want(id, reader);
  return id;
}

Task<Result<std::shared_ptr<store::Blob>>> Fills::opened(Readers::Id id, Deadline deadline) {
  for (;;) {
    auto it = readers_.find(id);
    if (it == readers_.end()) co_return fail(Errc::kCancelled, "it is read no more");
    const Fill& fill = *it->second.fill;
    if (fill.blob) co_return fill.blob;
    if (fill.error) co_return fail(*fill.error);
    const std::string doing = fill.doing.empty() ? "waiting" : "waiting for " + fill.doing;
    Status woken = co_await changed_.wait(deadline);
    if (!woken) co_return fail(woken.error().code(), doing);
  }
}

std::string Fills::advance(Readers::Id id, std::uint64_t offset) {
  assert_owner_thread();
  auto it = readers_.find(id);
  if (it == readers_.end()) return {};
  Reader& reader = it->second;
  Fill& fill = *reader.fill;
  reader.offset = std::max(reader.offset, offset);
  if (!fill.blob || fill.blob->complete() || fill.blob->failed()) return {};
  const content::Digest& digest = fill.part.digest;
  // Whoever else fetched it may have given up.
  if (!parts_.fetcher.contains(digest)) fetch(fill);
  want(id, reader);
  std::optional<Fetcher::Report> report = parts_.fetcher.explain(digest);
  return report ? wait_text(*report, digest.str()) : std::string();
}

void Fills::end(Readers::Id id) {
  assert_owner_thread();
  auto it = readers_.find(id);
  if (it == readers_.end()) return;
  std::shared_ptr<Fill> fill = std::move(it->second.fill);
  readers_.erase(it);
  const content::Digest digest = fill->part.digest;
  parts_.readers.end(id, digest);
  if (--fill->readers > 0) return;
  fill->stop.set();
  forget(*fill);
  if (fills_.contains(digest)) return;  // read again, after it could not be had
  if (parts_.pulls.wants(digest) || parts_.readers.any(digest)) return;
  parts_.inventory.wanted(digest, fill->part.size, false);
  // Others may have a demand of another kind, as for pieces that were lost.
  std::optional<Fetcher::Report> report = parts_.fetcher.explain(digest);
  if (report && report->swarm.pieces_wanted == 0) parts_.fetcher.remove(digest);
}

void Fills::forget(const Fill& fill) {
  auto it = fills_.find(fill.part.digest);
  if (it != fills_.end() && it->second.get() == &fill) fills_.erase(it);
}

void Fills::want(Readers::Id id, const Reader& reader) {
  const store::Blob& blob = *reader.fill->blob;
  if (blob.complete()) return;
  const content::BlobLayout& layout = blob.layout();
  content::PieceRange ahead = layout.pieces_of({reader.offset, reader.range.end() - reader.offset});
  while (!ahead.empty() && blob.has(ahead.first)) ahead = {ahead.first + 1, ahead.count - 1};
  const std::uint64_t most = std::max<std::uint64_t>(1, kWindow / layout.piece_length());
  ahead.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(ahead.count, most));
  Readers::Want window{
      swarm::Class::kWindow, {ahead}, std::chrono::steady_clock::now() + kWindowTime};
  Readers::Want plan{swarm::Class::kPlan, {layout.pieces_of(reader.range)}, swarm::kNever};
  std::vector<Readers::Want> wants;
  wants.push_back(std::move(window));
  wants.push_back(std::move(plan));
  parts_.readers.want(id, blob.digest(), std::move(wants));
}

// --- Blobs
// -----------------------------------------------------------------------------------------

Task<void> Fills::bring(std::shared_ptr<Fill> fill) {
  auto blob = co_await find_or_make(fill);
  std::vector<api::Origin> origins;
  if (blob && !(*blob)->complete()) {
    // Without an answer the peers have to do.
    auto found =
        co_await parts_.catalogue.origins(fill->part.digest, Deadline::after(kCallTimeout));
    if (found) origins = std::move(*found);
  }
  if (fill->stop.is_set()) co_return;
  if (!blob) {
    fill->error = blob.error();
    forget(*fill);  // the next reader tries anew
  } else {
    fill->blob = std::move(*blob);
    fill->origins = std::move(origins);
    if (!fill->blob->complete()) fetch(*fill);
  }
  fill->doing.clear();
  changed_.notify_all();
}

void Fills::fetch(Fill& fill) {
  const content::Digest& digest = fill.part.digest;
  parts_.inventory.wanted(digest, fill.part.size, true);
  parts_.inventory.set(*fill.blob);
  parts_.fetcher.add(fill.blob, fill.origins, fill.pull_id);
  parts_.readers.renew(digest);
  for (const auto& [id, reader] : readers_) {
    if (reader.fill.get() == &fill) want(id, reader);
  }
}

// Waits before a call is made again; says meanwhile what for.
Task<Status> Fills::pause(std::shared_ptr<Fill> fill, Error why, std::string what) {
  fill->doing = std::move(what) + " (" + why.message() + ")";
  const milliseconds time = why.code() == Errc::kNoSpace ? kRoomPause : kPause;
  co_return co_await sleep_until(Deadline::after(time), &fill->stop);
}

Task<Result<std::shared_ptr<store::Blob>>> Fills::find_or_make(std::shared_ptr<Fill> fill) {
  const MirrorBlob& part = fill->part;
  auto find = [this, digest = part.digest] { return parts_.blobs.find(digest); };
  auto found = co_await parts_.pool.run(find);
  if (found) co_return found;
  // Told before the table is here, so that neighbours are chosen meanwhile.
  if (!fill->stop.is_set()) parts_.inventory.wanted(part.digest, part.size, true);
  unsigned full = 0;
  for (;;) {
    if (fill->stop.is_set()) co_return fail(Errc::kCancelled, "nobody reads it any more");
    auto table = co_await parts_.tables.find(part.digest, part.size, part.pieces_root,
                                             Deadline::after(kCallTimeout));
    if (!table) {
      if (table.error().code() == Errc::kInvalid) co_return fail(table.error());
      SHOAL_CO_TRY(co_await pause(fill, table.error(), "the piece table"));
      continue;
    }
    std::map<std::string, std::string> notes;
    if (!table->vouched_by.empty()) notes.emplace(kVouchedByKey, table->vouched_by);
    auto create = [this, table = std::move(table->table), notes = std::move(notes)] {
      return parts_.store.create(table, store::Reservation::kFull, {}, notes);
    };
    auto created = co_await parts_.pool.run(create);
    if (created) co_return created;
    const Errc code = created.error().code();
    if (code == Errc::kConflict) {
      // Somebody is making it at this moment.
      SHOAL_CO_TRY(co_await pause(fill, created.error(), "the store"));
      found = co_await parts_.pool.run(find);
      if (found) co_return found;
    } else if (code == Errc::kNoSpace && ++full <= kRoomTries) {
      SHOAL_CO_TRY(co_await pause(fill, created.error(), "room in the store"));
    } else {
      co_return fail(created.error());
    }
  }
}

}  // namespace shoal::agent
