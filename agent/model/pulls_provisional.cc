// Pulling a model that is still being published: its files are fetched under the names that they
// have meanwhile, and when the publication has settled they become those of the final manifest.
#include <algorithm>
#include <utility>

#include "agent/model/pulls.h"
#include "core/base/log.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallTimeout{10'000};
constexpr milliseconds kPoll{25'000};
constexpr milliseconds kPollTimeout{35'000};
constexpr milliseconds kPollPause{1'000};

}  // namespace

Task<Status> Pulls::stream(Pull* pull) {
  const content::Digest provisional = pull->model->digest;
  add_parts(*pull);
  std::map<std::string, content::Digest> names;  // by path
  for (const content::ModelFile& file : pull->model->manifest.files) {
    names.emplace(file.path.str(), file.digest);
  }
  std::shared_ptr<Ingest>& known = ingests_[provisional];
  if (!known) {
    known = std::make_shared<Ingest>();
    tasks_.spawn("ingest", follow(provisional, known), [this] { stop_.set(); });
  }
  const std::shared_ptr<Ingest> ingest = known;
  ++ingest->pulls;
  std::shared_ptr<void> following(nullptr, [ingest](void*) { --ingest->pulls; });

  auto over = [&] {
    return ingest->gone || ingest->status.state != api::IngestState::kRunning || pull->failure ||
           pull->stop.is_set() || stop_.is_set();
  };
  std::vector<std::pair<content::Digest, bool>> parts;  // with its root known
  for (const auto& [name, part] : pull->parts) {
    parts.emplace_back(name, part.pieces_root.has_value());
  }
  for (const auto& [name, settled] : parts) {
    if (over()) break;
    if (pull->parts.at(name).complete) continue;
    if (settled) {
      SHOAL_CO_TRY(co_await begin_part(pull, name));
    } else {
      SHOAL_CO_TRY(co_await begin_unsettled(pull, name));
    }
  }
  while (!over()) {
    if (pull->missing == 0) pull->doing = "node " + ingest->status.node + ", which publishes it";
    if (!co_await progress_.wait(Deadline::never())) break;
  }
  pull->doing.clear();
  if (pull->failure) co_return fail(*pull->failure);
  if (pull->stop.is_set() || stop_.is_set() || progress_.closed()) {
    co_return fail(Errc::kCancelled, "cancelled");
  }
  if (ingest->gone) co_return fail(*ingest->gone);
  if (ingest->status.state == api::IngestState::kFailed || !ingest->status.settled_as) {
    co_return fail(ingest->status.error.value_or(Error(Errc::kUnavailable, "it failed"))
                       .with_context("publishing " + ingest->status.reference));
  }
  pull->view.manifest = *ingest->status.settled_as;
  co_return co_await settle(pull, std::move(names));
}

Task<Status> Pulls::begin_unsettled(Pull* pull, content::Digest name) {
  const Part part = pull->parts.at(name);
  std::shared_ptr<store::Blob> blob;
  while (!blob) {
    auto work = [this, name, size = part.size]() -> Result<std::shared_ptr<store::Blob>> {
      // Who publishes it here may have settled it already.
      if (auto found = blobs_.find(name)) return found;
      return store_.create_unsettled(name, size, store::Reservation::kFull);
    };
    auto created = co_await pool_.run(work);
    if (created) {
      blob = *created;
    } else if (created.error().code() == Errc::kConflict) {
      SHOAL_CO_TRY(co_await pause(pull, created.error(), "the store"));
    } else if (may_get_room(*pull, created.error(), part.size)) {
      SHOAL_CO_TRY(co_await pause(pull, created.error(), "room for " + part.path));
    } else {
      co_return fail(created.error().with_context(part.path));
    }
  }
  pull->doing.clear();
  pull->kept.push_back(blob->keep());
  if (blob->digest() != name) {
    blob_arrived(name);
    co_return Status{};
  }
  // Without an answer the peers have to do.
  auto origins = co_await catalogue_.origins(name, Deadline::after(kCallTimeout));
  if (pull->stop.is_set() || stop_.is_set()) co_return fail(Errc::kCancelled, "cancelled");
  want_all(*pull, blob, origins.value_or(std::vector<api::Origin>()));
  co_return Status{};
}

// pull->view.manifest is the final one. What came becomes what it names.
Task<Status> Pulls::settle(Pull* pull, std::map<std::string, content::Digest> names) {
  auto model = co_await find_model(pull);
  if (!model) co_return fail(model.error());
  if ((*model)->manifest.provisional) {
    co_return fail(Errc::kCorrupt, "the publication settled as another provisional manifest");
  }
  for (const content::ModelFile& file : (*model)->manifest.files) {
    auto before = names.find(file.path.str());
    if (before == names.end()) continue;
    const content::Digest name = before->second;
    pull->streamed[file.digest] = pull->parts.at(name).done;
    Result<store::BlobInfo> info = store_.info(name);
    if (!info || info->settled) continue;
    for (;;) {
      auto table = co_await tables_.find(file.digest, file.size, file.pieces_root,
                                         Deadline::after(kCallTimeout));
      if (table) {
        auto settled = co_await settler_.settle(name, std::move(table->table));
        if (settled) break;
        // Another pull of this node was faster, or it was removed.
        if (settled.error().code() == Errc::kNotFound) break;
        if (settled.error().code() == Errc::kInvalid) {
          co_return fail(settled.error().with_context(file.path.str()));
        }
        SHOAL_CO_TRY(co_await pause(pull, settled.error(), "the store"));
      } else {
        SHOAL_CO_TRY(co_await pause(pull, table.error(), "the piece table of " + file.path.str()));
      }
    }
    settler_.retire(name, file.digest);
  }
  pull->doing.clear();
  for (const auto& [name, part] : pull->parts) {
    if (!wanted_elsewhere(name, pull)) inventory_.wanted(name, part.size, false);
  }
  // The rest is an ordinary pull of the final manifest.
  pull->parts.clear();
  pull->kept.clear();
  pull->missing = 0;
  pull->view.files.clear();
  pull->view.bytes_total = 0;
  pull->view.bytes_done = 0;
  co_return Status{};
}

// As long as a pull waits for it.
Task<void> Pulls::follow(content::Digest manifest, std::shared_ptr<Ingest> ingest) {
  while (!stop_.is_set()) {
    auto status = co_await catalogue_.ingest(manifest, ingest->status.version, kPoll,
                                             Deadline::after(kPollTimeout));
    if (status) {
      ingest->status = std::move(*status);
    } else if (status.error().code() == Errc::kNotFound) {
      ingest->gone = status.error();
    } else {
      ingest->status.version = 0;  // perhaps of another life of the tracker
      (void)co_await sleep_until(Deadline::after(kPollPause), &stop_);
    }
    progress_.notify_all();
    const bool ended = ingest->gone || ingest->status.state != api::IngestState::kRunning;
    if (ended || ingest->pulls == 0) break;
  }
  ingests_.erase(manifest);
}

// Of a pull that came to nothing.
Task<void> Pulls::drop_unsettled(Pull* pull, Error why) {
  // After a restart the same order goes on with what is here, and a publisher that went away may
  // publish the same again.
  const bool unsettled = pull->model && pull->model->manifest.provisional;
  if (!unsettled || stop_.is_set() || progress_.closed()) co_return;
  pull->kept.clear();
  if (why.code() == Errc::kCancelled) {
    // An order also ends so when what it is for has failed.
    auto status = co_await catalogue_.ingest(pull->model->digest, 0, milliseconds(0),
                                             Deadline::after(kCallTimeout));
    if (!status && status.error().code() != Errc::kNotFound) co_return;
    if (status && status->error) why = *status->error;
  }
  if (why.code() == Errc::kUnavailable || why.code() == Errc::kTimedOut) co_return;
  std::vector<content::Digest> names;
  for (const auto& [name, part] : pull->parts) {
    if (!wanted_elsewhere(name, pull)) names.push_back(name);
  }
  for (const content::Digest& name : names) co_await settler_.drop(name);
}

}  // namespace shoal::agent
