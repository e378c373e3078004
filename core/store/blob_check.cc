// The part of Blob that reads stored pieces again: after a restart, after a reflink, and for scrub.

#include "core/base/check.h"
#include "core/base/log.h"
#include "core/store/blob.h"
#include "core/store/store_context.h"

namespace shoal::store {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

// Errors: internal when the disk failed.
Result<bool> Blob::stored_matches(PieceIndex piece, std::vector<std::byte>& buffer) const {
  const ByteRange range = layout().range_of(piece);
  buffer.resize(range.length);
  auto n = context_->fs.pread(read_fd_->get(), buffer, range.offset);
  if (!n) {
    return fail(n.error().with_context("reading piece " + std::to_string(piece.value()) + " of " +
                                       digest().str()));
  }
  if (*n != range.length) return false;
  if (table_) return table_->verify_piece(piece, buffer);
  return hashes_->hash(piece) == content::piece_hash(layout(), piece, buffer);
}

Result<bool> Blob::adopt_stored(PieceIndex piece, std::vector<std::byte>& buffer,
                                bool write_again) {
  CommitLock lock = enter_commit();
  SHOAL_TRY(check_usable());
  auto matches = stored_matches(piece, buffer);
  if (!matches) return fail(matches.error());
  if (!*matches) return false;
  const ByteRange range = layout().range_of(piece);
  if (write_again) {
    auto file = writable_file();
    if (!file) return fail(file.error());
    SHOAL_TRY(context_->fs.pwrite((*file)->get(), buffer, range.offset));
  }
  publish({piece, 1});
  return true;
}

Result<RecheckProgress> Blob::recheck(std::uint64_t budget) {
  RecheckProgress progress;
  std::vector<std::byte> buffer;
  do {
    PieceIndex piece;
    {
      std::lock_guard lock(mutex_);
      auto next = unchecked_.first_set();
      if (!next) {
        progress.done = true;
        return progress;
      }
      piece = *next;
      unchecked_.reset(piece);
    }
    if (has(piece)) continue;
    // Written again, because a page can be clean in memory and missing on the disk: an earlier
    // process may have met a failed write-back. The next sync then truly covers it.
    auto good = adopt_stored(piece, buffer, true);
    if (!good) return fail(good.error());
    progress.bytes_read += layout().piece_size(piece);
    if (*good) ++progress.recovered;
  } while (progress.bytes_read < budget);
  std::lock_guard lock(mutex_);
  progress.done = unchecked_.none();
  return progress;
}

bool Blob::needs_recheck() const {
  std::lock_guard lock(mutex_);
  return !unchecked_.none();
}

Result<PieceSet> Blob::scrub(PieceRange pieces) {
  if (failed()) return fail(Errc::kConflict, digest().str() + " was withdrawn");
  PieceSet bad(layout().piece_count());
  std::vector<std::byte> buffer;
  for (PieceIndex piece : pieces) {
    if (!has(piece)) continue;
    auto matches = stored_matches(piece, buffer);
    SHOAL_TRY(check_source());
    if (matches && *matches) continue;
    bad.set(piece);
    log::error("stored piece is bad", {{"blob", digest().str()},
                                       {"piece", piece.value()},
                                       {"err", matches ? "hash differs" : matches.error().str()}});
  }
  if (bad.none()) return bad;
  if (in_place()) {
    withdraw("its source " + source_->path + " does not match its hashes");
    return bad;
  }
  std::lock_guard lock(sync_mutex_);
  // A removed blob's directory is not ours any more; its readers keep what they have.
  if (removed_) return bad;
  SHOAL_TRY(retain(PieceSet::full(layout().piece_count()) - bad));
  return bad;
}

}  // namespace shoal::store
