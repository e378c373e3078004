#include "agent/model/settler.h"

#include <chrono>
#include <utility>

#include "core/base/log.h"

namespace shoal::agent {
namespace {

// Two who settle the same blob at once: one of them waits for the other.
constexpr int kTries = 100;
constexpr std::chrono::milliseconds kPause{50};
// By then everybody has heard from the tracker that it goes by its digest.
constexpr std::chrono::seconds kNameKept{60};

}  // namespace

Settler::Settler(Executor executor, store::BlobStore& store, BlobCache& blobs, Fetcher& fetcher,
                 Inventory& inventory, HashBook& hashes, BlockingPool& pool)
    : store_(store),
      blobs_(blobs),
      fetcher_(fetcher),
      inventory_(inventory),
      hashes_(hashes),
      pool_(pool),
      tasks_(executor, "settler"),
      stop_(executor) {}

Task<Result<std::shared_ptr<store::Blob>>> Settler::settle(content::Digest name,
                                                           content::PieceTable table) {
  const content::Digest digest = table.digest();
  fetcher_.remove(name);
  Result<std::shared_ptr<store::Blob>> settled = fail(Errc::kCancelled, "stopping");
  for (int tries = 0; tries < kTries && !stop_.is_set(); ++tries) {
    auto work = [this, name, table] { return store_.settle(name, table); };
    settled = co_await pool_.run(work);
    if (settled) break;
    // Another was faster: it is found by its digest then.
    const bool overtaken = settled.error().code() == Errc::kNotFound && tries == 0;
    if (settled.error().code() != Errc::kConflict && !overtaken) break;
    (void)co_await sleep_until(Deadline::after(kPause), &stop_);
  }
  if (!settled) co_return settled;
  // The cache may hold what is not changed any more.
  blobs_.forget(name);
  if (name != digest) {
    blobs_.also(name, *settled);
    inventory_.wanted(name, table.layout().size(), false);
  }
  inventory_.set(**settled);
  co_return settled;
}

void Settler::retire(const content::Digest& name, const content::Digest& settled) {
  if (name == settled) {
    hashes_.forget(name);
  } else {
    tasks_.spawn("forget name", forget_later(name), [this] { stop_.set(); });
  }
}

Task<void> Settler::forget_later(content::Digest name) {
  (void)co_await sleep_until(Deadline::after(kNameKept), &stop_);
  forget(name);
}

void Settler::forget(const content::Digest& name) {
  blobs_.forget(name);
  hashes_.forget(name);
  // The same file may be being published once more.
  if (!store_.info(name)) inventory_.removed(name);
}

Task<void> Settler::drop(content::Digest name) {
  Result<store::BlobInfo> info = store_.info(name);
  if (!info || info->settled) co_return;
  fetcher_.remove(name);
  auto work = [this, name] { return store_.remove(name); };
  if (Status removed = co_await pool_.run(work); !removed) {
    log::info("what was not settled stays", {{"digest", name.str()}, {"err", removed.error()}});
    co_return;
  }
  forget(name);
}

Task<void> Settler::stop() {
  stop_.set();
  co_await tasks_.stop();
}

}  // namespace shoal::agent
