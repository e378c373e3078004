#include "agent/model/whole_checks.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "agent/model/witness.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/content/piece_hasher.h"

namespace shoal::agent {
namespace {

constexpr std::uint64_t kStep = 8 * kMiB;
constexpr std::chrono::minutes kPause{10};  // before a pass over the store

// What one read holds between its steps, which run on the pool.
struct Reading {
  explicit Reading(content::BlobLayout layout) : hasher(layout) {}
  content::BlobHasher hasher;
  std::vector<std::byte> buffer;
};

std::string signer_of(const store::BlobStore& store, const content::Digest& digest) {
  Result<store::BlobInfo> info = store.info(digest);
  if (!info) return {};
  auto note = info->annotations.find(std::string(kVouchedByKey));
  return note == info->annotations.end() ? std::string() : note->second;
}

std::chrono::nanoseconds time_for(std::uint64_t bytes, Rate rate) {
  if (rate.unlimited()) return {};
  const double seconds = static_cast<double>(bytes) / static_cast<double>(rate.bytes_per_second());
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

}  // namespace

void mark_disk_suspect() {
  metrics::gauge(
      "shoal_agent_disk_suspect",
      "1 once stored bytes did not match their hashes any more: the disk may be failing.")
      .set(1);
}

WholeChecks::WholeChecks(Executor executor, store::BlobStore& store, BlockingPool& pool, Rate rate,
                         Callbacks callbacks)
    : executor_(executor),
      store_(store),
      pool_(pool),
      rate_(rate),
      callbacks_(std::move(callbacks)),
      tasks_(executor, "whole checks"),
      stop_(executor) {}

void WholeChecks::start() {
  if (!rate_.unlimited()) tasks_.spawn("background", background(), [this] { stop_.set(); });
}

bool WholeChecks::rests_on_statement(const content::Digest& blob) const {
  return !signer_of(store_, blob).empty();
}

Task<void> WholeChecks::background() {
  while (co_await sleep_until(Deadline::after(kPause), &stop_)) {
    for (const store::BlobInfo& info : store_.list()) {
      if (!info.complete || info.in_place || !rests_on_statement(info.digest)) continue;
      auto find = [this, digest = info.digest] { return store_.find_quietly(digest); };
      auto blob = co_await pool_.run(find);
      if (!blob) continue;
      auto found = co_await check(*blob, rate_);
      if (stop_.is_set()) co_return;
      if (!found) log::warn("reading a whole blob", {{"err", found.error()}});
    }
  }
}

Task<Result<content::Digest>> WholeChecks::read_whole(std::shared_ptr<store::Blob> blob,
                                                      Rate rate) {
  const std::uint64_t size = blob->layout().size();
  auto reading = std::make_shared<Reading>(blob->layout());
  Deadline next = Deadline::after({});
  for (std::uint64_t offset = 0; offset < size;) {
    const std::uint64_t length = std::min(kStep, size - offset);
    auto step = [blob, reading, offset, length]() -> Status {
      reading->buffer.resize(length);
      SHOAL_TRY(blob->read({offset, length}, reading->buffer));
      return reading->hasher.update(reading->buffer);
    };
    SHOAL_CO_TRY(co_await pool_.run(step));
    offset += length;
    next = Deadline::at(std::max(next.time(), Deadline::Clock::now()) + time_for(length, rate));
    if (!rate.unlimited()) (void)co_await sleep_until(next, &stop_);
    if (stop_.is_set()) co_return fail(Errc::kCancelled, "the agent stops");
  }
  auto hashes = reading->hasher.finish();
  if (!hashes) co_return fail(hashes.error());
  co_return hashes->digest;
}

Task<Result<WholeChecks::Finding>> WholeChecks::check(std::shared_ptr<store::Blob> blob,
                                                      Rate rate) {
  auto found = co_await read_whole(blob, rate);
  if (!found) co_return fail(found.error());
  co_return co_await verdict_on(std::move(blob), *found);
}

Task<Result<WholeChecks::Finding>> WholeChecks::verdict_on(std::shared_ptr<store::Blob> blob,
                                                           content::Digest found) {
  const content::Digest digest = blob->digest();
  const std::string signer = signer_of(store_, digest);
  const bool right = found == digest;
  if (right && !signer.empty()) {
    auto note = [this, digest] { return store_.annotate(digest, std::string(kVouchedByKey), ""); };
    if (Status noted = co_await pool_.run(note); !noted) {
      log::warn("noting that a blob is right", {{"err", noted.error()}});
    }
    if (Status said = co_await callbacks_.vouch(blob->table()); !said) {
      log::debug("no statement was given", {{"err", said.error()}});
    }
  }
  if (!right) {
    // Our own disk first: the pieces are compared with the table again.
    std::uint32_t bad = 0;
    const content::BlobLayout layout = blob->layout();
    for (content::PieceIndex piece(0); piece < layout.all_pieces().end();) {
      const auto count =
          static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kStep / layout.piece_length()));
      const content::PieceRange some{piece, std::min(count, layout.all_pieces().end() - piece)};
      auto step = [blob, some]() -> Result<std::uint32_t> {
        Result<content::PieceSet> lost = blob->scrub(some);
        if (!lost) return fail(lost.error());
        return lost->count();
      };
      auto lost = co_await pool_.run(step);
      if (!lost) co_return fail(lost.error());
      if (stop_.is_set()) co_return fail(Errc::kCancelled, "the agent stops");
      bad += *lost;
      piece = some.end();
    }
    if (bad > 0) {
      mark_disk_suspect();
      log::error("stored pieces are bad: the disk may be failing",
                 {{"digest", digest.str()}, {"pieces", bad}});
      co_return Finding::kBadDisk;
    }
    log::error("a blob has another digest though all its pieces match: the table lies",
               {{"digest", digest.str()}, {"found", found.str()}, {"signer", signer}});
  }
  api::Verdict verdict{.epoch = {},
                       .blob = digest,
                       .pieces_root = to_hex(*blob->table().pieces_root()),
                       .signer = signer,
                       .agrees = right};
  if (Status told = co_await callbacks_.tell(std::move(verdict)); !told) {
    log::warn("telling the tracker about a blob", {{"err", told.error()}});
  }
  co_return right ? Finding::kRight : Finding::kDisagrees;
}

void WholeChecks::look(const content::Digest& blob) {
  if (looking_.insert(blob).second) {
    tasks_.spawn("look " + blob.str(), look_at(blob), [this] { stop_.set(); });
  }
}

Task<void> WholeChecks::look_at(content::Digest digest) {
  auto find = [this, digest] { return store_.find_quietly(digest); };
  auto blob = co_await pool_.run(find);
  if (blob && (*blob)->settled() && (*blob)->complete() && (*blob)->layout().size() > 0) {
    // At once: until this is known, nodes may read bytes that are not what they should be.
    auto found = co_await check(*blob, Rate());
    if (!found) log::warn("reading a whole blob", {{"err", found.error()}});
  }
  looking_.erase(digest);
}

Task<void> WholeChecks::stop() {
  stop_.set();
  co_await tasks_.stop();
}

}  // namespace shoal::agent
