#include "core/store/blob.h"

#include <utility>

#include "core/base/check.h"
#include "core/base/log.h"
#include "core/content/piece_hasher.h"
#include "core/store/store_context.h"

namespace shoal::store {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

ReadLease::ReadLease(std::shared_ptr<Blob> blob, UniqueFd data, UniqueFd ready)
    : blob_(std::move(blob)), data_(std::move(data)), ready_(std::move(ready)) {
  blob_->account_->open_readers.fetch_add(1, std::memory_order_relaxed);
}

ReadLease& ReadLease::operator=(ReadLease&& other) noexcept {
  if (this != &other) {
    end();
    blob_ = std::move(other.blob_);
    data_ = std::move(other.data_);
    ready_ = std::move(other.ready_);
  }
  return *this;
}

ReadLease::~ReadLease() { end(); }

void ReadLease::end() {
  if (blob_ == nullptr) return;
  blob_->note_use();
  blob_->account_->open_readers.fetch_sub(1, std::memory_order_relaxed);
  blob_.reset();
}

bool Blob::has(PieceIndex piece) const { return has(PieceRange{piece, 1}); }

bool Blob::has(PieceRange pieces) const {
  return !failed() && ready_.load(std::memory_order_acquire)->has(pieces);
}

PieceSet Blob::have() const {
  if (failed()) return PieceSet(layout().piece_count());
  return ready_.load(std::memory_order_acquire)->snapshot();
}

std::uint32_t Blob::have_count() const {
  return failed() ? 0 : ready_.load(std::memory_order_acquire)->count();
}

bool Blob::complete() const { return !failed() && have_count() == layout().piece_count(); }

std::uint64_t Blob::unsynced_bytes() const {
  const std::uint32_t have = have_count();
  const std::uint32_t synced = synced_count_.load(std::memory_order_relaxed);
  return have > synced ? (have - synced) * layout().piece_length() : 0;
}

Status Blob::check_usable() const {
  if (failed()) return fail(Errc::kConflict, digest().str() + " was withdrawn");
  if (removed_.load(std::memory_order_acquire)) {
    return fail(Errc::kConflict, digest().str() + " was removed from the store");
  }
  return {};
}

Blob::CommitLock Blob::enter_commit() {
  std::lock_guard gate(gate_);
  return CommitLock(commits_);
}

// Whether the bytes, with that hash if the caller has it, are the piece's. Of an unsettled blob the
// hash they are compared with does not change any more then.
bool Blob::expected(PieceIndex piece, std::span<const std::byte> bytes,
                    const content::Hash32* hash) {
  if (table_) return hash ? *hash == table_->hash(piece) : table_->verify_piece(piece, bytes);
  return hashes_->bind(piece, hash ? *hash : content::piece_hash(layout(), piece, bytes));
}

void Blob::unbind_missing(PieceRange pieces) {
  if (!hashes_) return;
  for (PieceIndex piece : pieces) {
    if (!has(piece)) hashes_->unbind(piece);
  }
}

Status Blob::learn(PieceIndex first, std::span<const content::Hash32> piece_hashes) {
  SHOAL_CHECK(hashes_ != nullptr, "a settled blob has its table");
  if (first.value() >= layout().piece_count() ||
      piece_hashes.size() > layout().piece_count() - first.value()) {
    return fail(Errc::kInvalid, "hashes of pieces outside the blob");
  }
  return hashes_->learn(first, piece_hashes);
}

std::optional<content::Hash32> Blob::piece_hash(PieceIndex piece) const {
  if (table_) return table_->hash(piece);
  return hashes_->hash(piece);
}

bool Blob::knows_hashes(PieceRange pieces) const { return table_ || hashes_->knows(pieces); }

std::vector<content::Hash32> Blob::learnt_hashes() const {
  SHOAL_CHECK(hashes_ != nullptr, "a settled blob has its table");
  return hashes_->all();
}

Result<std::uint32_t> Blob::commit(PieceIndex first, std::span<const std::byte> bytes,
                                   std::span<const content::Hash32> piece_hashes) {
  const content::BlobLayout& blob = layout();
  if (in_place()) return fail(Errc::kInvalid, "the bytes of an in-place blob lie elsewhere");
  if (first.value() >= blob.piece_count() || bytes.empty() ||
      bytes.size() > blob.size() - blob.offset_of(first)) {
    return fail(Errc::kInvalid, "bytes outside the blob");
  }
  const PieceRange pieces = blob.pieces_of({blob.offset_of(first), bytes.size()});
  if (blob.range_of(pieces).length != bytes.size()) {
    return fail(Errc::kInvalid, std::to_string(bytes.size()) + " bytes are not whole pieces of " +
                                    std::to_string(blob.piece_length()));
  }
  if (!piece_hashes.empty() && piece_hashes.size() != pieces.count) {
    return fail(Errc::kInvalid, "one hash per piece");
  }
  SHOAL_TRY(check_usable());

  auto bytes_of_pieces = [&](PieceRange some) {
    const ByteRange range = blob.range_of(some);
    return bytes.subspan(range.offset - blob.offset_of(first), range.length);
  };
  auto good = [&](PieceIndex piece) {
    return expected(piece, bytes_of_pieces({piece, 1}),
                    piece_hashes.empty() ? nullptr : &piece_hashes[piece - first]);
  };

  std::uint32_t fresh = 0;
  PieceRange gap{first, 0};  // verified pieces not there yet, to be written as one
  auto flush = [&](PieceIndex next) -> Status {
    if (!gap.empty()) {
      auto written = write_and_publish(gap, bytes_of_pieces(gap));
      if (!written) {
        unbind_missing(gap);
        return fail(written.error());
      }
      fresh += *written;
    }
    gap = {next, 0};
    return {};
  };
  for (PieceIndex piece : pieces) {
    if (has(piece)) {
      SHOAL_TRY(flush(piece + 1));
    } else if (good(piece)) {
      ++gap.count;
    } else {
      SHOAL_TRY(flush(piece));
      return fail(Errc::kCorrupt, "piece " + std::to_string(piece.value()) + " of " +
                                      digest().str() + " does not match its hash");
    }
  }
  SHOAL_TRY(flush(pieces.end()));
  return fresh;
}

Result<std::uint32_t> Blob::write_and_publish(PieceRange pieces, std::span<const std::byte> bytes) {
  const ByteRange range = layout().range_of(pieces);
  auto describe = [&](const Error& error) {
    return error.with_context("storing pieces " + std::to_string(pieces.first.value()) + " to " +
                              std::to_string(pieces.end().value() - 1) + " of " + digest().str());
  };
  std::uint32_t fresh = 0;
  {
    CommitLock lock = enter_commit();
    SHOAL_TRY(check_usable());
    auto file = writable_file();
    if (!file) return fail(describe(file.error()));
    auto charged = charge(pieces);
    if (!charged) return fail(describe(charged.error()));
    auto written = [&] {
      std::lock_guard one(write_mutex_);
      return context_->fs.pwrite((*file)->get(), bytes, range.offset);
    }();
    if (!written) {
      uncharge(*charged);
      return fail(describe(written.error()));
    }
    settle(pieces, *charged);
    fresh = publish(pieces);
  }
  context_->writeback.add(read_fd_, range);
  return fresh;
}

std::uint32_t Blob::publish(PieceRange pieces) {
  ReadyWriter& ready = *ready_.load(std::memory_order_acquire);
  const std::uint32_t fresh = ready.publish(pieces);
  if (fresh == 0) return 0;
  // Of two threads that bring the last pieces, one sees the step to the full count.
  const std::uint32_t before = account_->have_count.fetch_add(fresh);
  version_.fetch_add(1, std::memory_order_acq_rel);
  if (context_->listener != nullptr) {
    context_->listener->pieces_ready(digest(), pieces, before + fresh == layout().piece_count());
  }
  return fresh;
}

Status Blob::check_source() {
  if (!source_) return {};
  // The descriptor tells whether the bytes we read changed, the name whether they are still the
  // file's.
  auto opened = context_->fs.stat(read_fd_->get());
  auto named = context_->fs.stat(source_->path);
  const bool same = opened && named && opened->inode == source_->inode &&
                    opened->size == source_->size && opened->mtime_ns == source_->mtime_ns &&
                    named->inode == source_->inode && !named->directory;
  if (same) return {};
  withdraw("its source " + source_->path + " changed");
  return fail(Errc::kConflict, source_->path + " changed since it was published in place");
}

void Blob::note_use() {
  account_->last_used_ns.store(context_->now_ns(), std::memory_order_relaxed);
}

Status Blob::check_readable(ByteRange range) {
  if (range.offset > layout().size() || range.length > layout().size() - range.offset) {
    return fail(Errc::kInvalid, "bytes outside the blob");
  }
  if (failed()) return fail(Errc::kConflict, digest().str() + " was withdrawn");
  note_use();
  if (!has(layout().pieces_of(range))) {
    return fail(Errc::kUnavailable, "bytes " + std::to_string(range.offset) + " to " +
                                        std::to_string(range.end()) + " of " + digest().str() +
                                        " are not all here");
  }
  return {};
}

Status Blob::read(ByteRange range, std::span<std::byte> out) {
  SHOAL_CHECK(out.size() == range.length, "a buffer of the range's length");
  SHOAL_TRY(check_readable(range));
  auto n = context_->fs.pread(read_fd_->get(), out, range.offset);
  if (!n) return fail(n.error().with_context("reading " + digest().str()));
  SHOAL_TRY(check_source());  // after the read: what was read was still the source's
  if (*n != range.length) {
    return fail(Errc::kInternal, "the data file of " + digest().str() + " is too short");
  }
  return {};
}

Result<int> Blob::serve(ByteRange range) {
  SHOAL_TRY(check_readable(range));
  SHOAL_TRY(check_source());
  return read_fd_->get();
}

ReadLease Blob::keep() {
  note_use();
  return ReadLease(shared_from_this(), UniqueFd(), UniqueFd());
}

Result<ReadLease> Blob::open_reader() {
  if (!settled()) {
    return fail(Errc::kUnavailable,
                digest().str() + " is still being published: nobody knows yet that it is whole");
  }
  if (failed()) return fail(Errc::kConflict, digest().str() + " was withdrawn");
  SHOAL_TRY(check_source());
  auto data = context_->fs.reopen_read_only(read_fd_->get());
  if (!data) return fail(data.error());
  // Held so that the inode handed out is the current one.
  CommitLock lock = enter_commit();
  auto ready = ready_.load(std::memory_order_acquire)->open_for_reader();
  if (!ready) return fail(ready.error());
  note_use();
  return ReadLease(shared_from_this(), *std::move(data), *std::move(ready));
}

void Blob::withdraw(const std::string& reason) {
  account_->withdrawn = true;
  if (account_->failed.exchange(true, std::memory_order_acq_rel)) return;
  ReadyWriter& ready = *ready_.load(std::memory_order_acquire);
  const PieceSet lost = ready.snapshot();
  ready.withdraw();
  version_.fetch_add(1, std::memory_order_acq_rel);
  log::error("blob withdrawn", {{"blob", digest().str()}, {"err", reason}});
  if (context_->listener != nullptr) context_->listener->pieces_lost(digest(), lost);
}

}  // namespace shoal::store
