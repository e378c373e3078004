// Ingests: each change is written by the catalogue and then told to the fleet, the prefetch orders
// and those who wait.
#include <utility>

#include "core/base/log.h"
#include "core/base/metrics.h"
#include "tracker/service/control.h"

namespace shoal::tracker {
namespace {

void count_ended(api::IngestState state) {
  metrics::counter("shoal_tracker_ingests_total", "Ingests that ended, by how.",
                   {{"result", std::string(api::ingest_state_name(state))}})
      .add();
}

}  // namespace

void Control::restore_ingests(const std::vector<StoredIngest>& ingests) {
  for (const StoredIngest& ingest : ingests) {
    ingests_.put(ingest, now());
    if (ingest.running()) continue;
    fleet_.set_named(ingest.manifest, false);
    // The tracker may have ended before it had written that the orders did.
    if (ingest.error) book_.manifest_failed(ingest.manifest, *ingest.error, now());
  }
}

void Control::manifest_unnamed(const content::Digest& manifest) {
  book_.manifest_removed(manifest, now());
  fleet_.set_named(manifest, false);
}

// Where its publisher was registered before the book knew of the ingest.
void Control::watch_publisher(const StoredIngest& ingest) {
  const Node* node = fleet_.node(ingest.node);
  if (node && node->live) ingests_.node_came(node->id, node->epoch);
}

Task<Result<api::IngestStatus>> Control::ingest(content::Digest manifest, api::IngestUpdate said) {
  switch (said.state) {
    case api::IngestState::kRunning:
      co_return co_await begin_ingest(manifest, std::move(said));
    case api::IngestState::kSettled:
      co_return co_await settle_ingest(manifest, std::move(said));
    case api::IngestState::kFailed:
      break;
  }
  Error error = *std::move(said.error);
  co_return co_await fail_ingest(manifest, std::move(said.node), std::move(said.epoch),
                                 std::move(error));
}

Task<Result<api::IngestStatus>> Control::begin_ingest(content::Digest manifest,
                                                      api::IngestUpdate said) {
  Result<content::Reference> reference = content::Reference::parse(said.reference);
  if (!reference) co_return fail(reference.error());
  // One that is not known yet is on its way: it has the grace of a publisher that is absent.
  auto node = fleet_.registered(said.node, said.epoch);
  if (!node && node.error().code() == Errc::kConflict) co_return fail(node.error());
  std::string absent;
  if (const StoredIngest* other = ingests_.running_for(said.reference)) {
    const Node* publisher = fleet_.node(other->node);
    if (!publisher || !publisher->live) absent = other->node;
  }
  auto job = [reference = *reference, manifest, said, absent](Catalogue& catalogue) {
    return catalogue.begin_ingest(reference, manifest, {said.node, said.epoch}, absent,
                                  unix_ms_now());
  };
  auto begun = co_await with_catalogue(job);
  if (!begun) co_return fail(begun.error());
  if (begun->replaced) ingest_failed(*begun->replaced);
  const StoredIngest* before = ingests_.find(manifest);
  if (!before || *before != begun->ingest) {
    log::info("an ingest began",
              {{"node", said.node}, {"reference", said.reference}, {"digest", manifest.str()}});
    ingests_.put(begun->ingest, now());
    book_.manifest_named(manifest);
    fleet_.set_named(manifest, true);
  }
  watch_publisher(begun->ingest);
  ingest_news_.notify_all();
  changed();
  co_return ingests_.status(manifest);
}

Task<Result<api::IngestStatus>> Control::settle_ingest(content::Digest manifest,
                                                       api::IngestUpdate said) {
  struct Settled {
    Catalogue::IngestChange change;
    std::uint64_t bytes_total = 0;
  };
  auto job = [manifest, said](Catalogue& catalogue) -> Result<Settled> {
    Settled out;
    auto blobs = catalogue.manifest_blobs(*said.settled_as);
    if (!blobs) return fail(blobs.error());
    out.bytes_total = blobs->bytes_total();
    auto change =
        catalogue.settle_ingest(manifest, {said.node, said.epoch}, *said.settled_as, unix_ms_now());
    if (!change) return fail(change.error());
    out.change = *std::move(change);
    return out;
  };
  auto settled = co_await with_catalogue(job);
  if (!settled) co_return fail(settled.error());
  const Catalogue::IngestChange& change = settled->change;
  if (!change.record) co_return ingests_.status(manifest);  // it was so before
  log::info("an ingest has settled", {{"node", said.node},
                                      {"reference", change.ingest.reference},
                                      {"digest", said.settled_as->str()}});
  count_ended(change.ingest.state);
  ingests_.put(change.ingest, now());
  references_changed();
  book_.manifest_named(*said.settled_as);
  fleet_.set_named(*said.settled_as, true);
  // Before the provisional one counts as removed: an agent is told of both at once.
  book_.manifest_settled(manifest, *said.settled_as, settled->bytes_total);
  for (const content::Digest& orphan : change.orphans) manifest_unnamed(orphan);
  ingest_news_.notify_all();
  changed();
  co_return ingests_.status(manifest);
}

Task<Result<api::IngestStatus>> Control::fail_ingest(content::Digest manifest, std::string node,
                                                     std::string epoch, Error error) {
  auto job = [manifest, node, epoch, error](Catalogue& catalogue) {
    return catalogue.fail_ingest(manifest, {node, epoch}, error, unix_ms_now());
  };
  auto failed = co_await with_catalogue(job);
  if (!failed) co_return fail(failed.error());
  const StoredIngest* before = ingests_.find(manifest);
  if (!before || *before != failed->ingest) ingest_failed(failed->ingest);
  changed();
  co_return ingests_.status(manifest);
}

void Control::ingest_failed(const StoredIngest& ingest) {
  log::warn("an ingest failed", {{"node", ingest.node},
                                 {"reference", ingest.reference},
                                 {"digest", ingest.manifest.str()},
                                 {"err", *ingest.error}});
  count_ended(ingest.state);
  ingests_.put(ingest, now());
  book_.manifest_failed(ingest.manifest, *ingest.error, now());
  manifest_unnamed(ingest.manifest);
  ingest_news_.notify_all();
}

void Control::fail_lost_ingests() {
  for (IngestBook::Lost& lost : ingests_.take_lost(now())) {
    tasks_.spawn("fail ingest",
                 fail_lost_ingest(lost.ingest.manifest, std::move(lost.ingest.node),
                                  std::move(lost.ingest.epoch), std::move(lost.why)));
  }
}

Task<Status> Control::fail_lost_ingest(content::Digest manifest, std::string node,
                                       std::string epoch, Error why) {
  auto failed = co_await fail_ingest(manifest, std::move(node), std::move(epoch), std::move(why));
  // It has begun again, or ended, in between.
  if (failed || failed.error().code() == Errc::kConflict) co_return Status();
  co_return fail(failed.error());
}

Task<std::uint64_t> Control::wait_for_ingest(content::Digest manifest, std::uint64_t since,
                                             Deadline deadline) {
  Status woken;
  std::uint64_t version = ingests_.version(manifest);
  while (woken && version != 0 && version == since) {
    woken = co_await ingest_news_.wait(deadline);
    version = ingests_.version(manifest);
  }
  co_return version;
}

}  // namespace shoal::tracker
