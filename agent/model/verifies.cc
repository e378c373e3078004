#include "agent/model/verifies.h"

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"
#include "core/store/scrub.h"

namespace shoal::agent {
namespace {

// Bytes per step: short enough that stopping and other disk work wait little.
constexpr std::uint64_t kStep = 8 * kMiB;
constexpr std::chrono::minutes kKept{10};

content::PieceRange next_step(const content::BlobLayout& layout, content::PieceIndex from) {
  auto pieces =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kStep / layout.piece_length()));
  return {from, std::min(pieces, layout.all_pieces().end() - from)};
}

}  // namespace

Verifies::Verifies(Executor executor, store::BlobStore& store, BlobCache& blobs, WholeChecks& whole,
                   BlockingPool& pool, Rate scrub_rate, std::chrono::milliseconds scrub_pause)
    : executor_(executor),
      store_(store),
      blobs_(blobs),
      whole_(whole),
      pool_(pool),
      scrub_rate_(scrub_rate),
      scrub_pause_(scrub_pause),
      tasks_(executor, "verifies"),
      stop_(executor),
      ended_(executor) {}

Verifies::~Verifies() = default;

void Verifies::start_scrub() {
  if (!scrub_rate_.unlimited()) tasks_.spawn("scrub", scrub(), [this] { stop_.set(); });
}

std::string Verifies::start(std::shared_ptr<const Library::Model> model) {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(jobs_, [&](const auto& entry) {
    return !entry.second->view.running && now - entry.second->ended_at > kKept;
  });
  auto job = std::make_shared<Job>();
  std::string id = random_hex(8);
  jobs_[id] = job;
  tasks_.spawn("verify " + id, run(job, std::move(model)), [this] { stop_.set(); });
  return id;
}

Task<Result<std::uint32_t>> Verifies::step(std::shared_ptr<store::Blob> blob,
                                           content::PieceRange pieces) {
  auto work = [blob, pieces]() -> Result<std::uint32_t> {
    Result<content::PieceSet> bad = blob->scrub(pieces);
    if (!bad) return fail(bad.error());
    return bad->count();
  };
  co_return co_await pool_.run(work);
}

Task<void> Verifies::run(std::shared_ptr<Job> job, std::shared_ptr<const Library::Model> model) {
  VerifyView& view = job->view;
  for (const content::ModelFile& file : model->manifest.files) view.bytes_total += file.size;
  for (const content::ModelFile& file : model->manifest.files) {
    auto work = [this, digest = file.digest] { return blobs_.find(digest); };
    auto found = co_await pool_.run(work);
    if (!found) {
      // A file that is not here has no bytes that could be bad.
      view.bytes_done += file.size;
      if (file.size > 0) view.missing.push_back(file.path.str());
      if (found.error().code() != Errc::kNotFound) view.error = found.error();
      continue;
    }
    std::shared_ptr<store::Blob> blob = *found;
    const content::BlobLayout layout = blob->layout();
    if (!blob->complete()) view.missing.push_back(file.path.str());
    VerifyView::Bad bad{file.digest, file.path.str(), 0};
    for (content::PieceIndex piece(0); piece < layout.all_pieces().end();) {
      if (stop_.is_set()) co_return;
      content::PieceRange pieces = next_step(layout, piece);
      Result<std::uint32_t> found_bad = co_await step(blob, pieces);
      if (found_bad) {
        bad.pieces += *found_bad;
      } else {
        view.error = found_bad.error().with_context(file.path.str());
      }
      view.bytes_done += layout.range_of(pieces).length;
      piece = pieces.end();
    }
    if (bad.pieces > 0) mark_disk_suspect();
    // What rests on another node's word is read whole: pieces can only match the table.
    if (bad.pieces == 0 && blob->complete() && whole_.rests_on_statement(file.digest)) {
      auto read = co_await whole_.check(blob, Rate());
      if (stop_.is_set()) co_return;
      if (!read) {
        view.error = read.error().with_context(file.path.str());
      } else if (*read != WholeChecks::Finding::kRight) {
        bad.pieces = layout.piece_count();
      }
    }
    if (bad.pieces > 0) view.bad.push_back(std::move(bad));
  }
  view.running = false;
  job->ended_at = std::chrono::steady_clock::now();
  ended_.notify_all();
}

Task<Result<VerifyView>> Verifies::wait(std::string id, Deadline deadline) {
  for (;;) {
    auto it = jobs_.find(id);
    if (it == jobs_.end()) co_return fail(Errc::kNotFound, "no verification with the id " + id);
    if (!it->second->view.running || deadline.expired()) co_return it->second->view;
    Status woken = co_await ended_.wait(deadline);
    if (!woken && woken.error().code() == Errc::kCancelled) co_return fail(woken.error());
  }
}

Task<void> Verifies::scrub() {
  metrics::Counter& bad_pieces = metrics::counter(
      "shoal_agent_scrub_bad_pieces_total", "Stored pieces that the background check found bad.");
  store::Scrub scrub(store_, scrub_rate_);
  store::Scrub* running = &scrub;
  Deadline next = Deadline::after(scrub_pause_);
  while (co_await sleep_until(next, &stop_)) {
    auto work = [running] { return running->step(Deadline::Clock::now()); };
    auto step = co_await pool_.run(work);
    if (!step) {
      next = Deadline::after(scrub_pause_);
      continue;
    }
    for (const store::ScrubStep::Bad& bad : step->bad) {
      bad_pieces.add(bad.pieces.count());
      mark_disk_suspect();
      log::error("stored pieces are bad: the disk may be failing",
                 {{"digest", bad.blob.str()}, {"pieces", bad.pieces.count()}});
    }
    next = step->pass_finished ? Deadline::after(scrub_pause_) : Deadline::at(step->next);
  }
}

Task<void> Verifies::stop() {
  stop_.set();
  ended_.close();
  co_await tasks_.stop();
}

}  // namespace shoal::agent
