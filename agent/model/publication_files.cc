// What a publication does for each of its files: has it brought here, hashes it in order, and
// settles it.
#include <algorithm>
#include <utility>

#include "agent/model/publication.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/content/piece_hasher.h"

namespace shoal::agent {
namespace {

// What has come is hashed in portions of at most this much, in buffers of kReadSize.
constexpr std::uint64_t kHashStep = 64 * kMiB;
constexpr std::size_t kReadSize = 1 << 20;
constexpr std::chrono::milliseconds kStorePause{1'500};
constexpr int kRoomTries = 3;

}  // namespace

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

}  // namespace shoal::agent
