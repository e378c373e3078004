// The part of Blob that decides what survives: opening, space, the record of synced pieces, and
// taking pieces back. The order of writes is argued in docs/formats/store.md, "Durability".

#include <algorithm>
#include <utility>

#include "core/base/check.h"
#include "core/base/log.h"
#include "core/store/blob.h"
#include "core/store/store_context.h"
#include "core/store/synced_record.h"

namespace shoal::store {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

Blob::Blob(std::shared_ptr<StoreContext> context, std::shared_ptr<BlobAccount> account,
           std::optional<content::PieceTable> table, std::unique_ptr<LearntHashes> hashes,
           const BlobMeta& meta, std::string directory)
    : context_(std::move(context)),
      account_(std::move(account)),
      digest_(meta.digest),
      layout_(meta.size),
      table_(std::move(table)),
      hashes_(std::move(hashes)),
      directory_(std::move(directory)),
      reservation_(meta.reservation),
      source_(meta.in_place),
      synced_(layout_.piece_count()),
      charged_(layout_.piece_count()),
      owed_(layout_.piece_count()),
      unchecked_(layout_.piece_count()) {
  SHOAL_CHECK(table_.has_value() != (hashes_ != nullptr), "a table or hashes");
}

Blob::~Blob() {
  context_->budget.written(bytes_in(owed_));
  context_->writeback.forget(read_fd_);
  if (inodes_.empty()) return;
  // Whoever still has it mapped, without a lease, must not miss a later taking back.
  ReadyWriter& ready = *ready_.load();
  if (!failed()) ready.revoke();
  (void)context_->fs.unlink(ready_path_).has_value();
}

Status Blob::start(const PieceSet& trusted) {
  FileSystem& fs = context_->fs;
  const std::uint32_t count = layout().piece_count();
  auto data = fs.open(source_ ? source_->path : directory_ + "/data", OpenMode::kRead);
  if (!data) return fail(data.error());
  read_fd_ = std::make_shared<UniqueFd>(*std::move(data));
  if (source_) {
    auto st = fs.stat(read_fd_->get());
    auto named = fs.stat(source_->path);
    if (!st || !named || named->inode != source_->inode || st->inode != source_->inode ||
        st->size != source_->size || st->mtime_ns != source_->mtime_ns) {
      return fail(Errc::kUnavailable, source_->path + " changed since it was published in place");
    }
  }
  PieceSet ready = source_ ? PieceSet::full(count) : trusted;
  if (hashes_) {
    // Without its hash nobody can be told what a piece is.
    ready &= hashes_->known();
    for (PieceIndex piece : layout().all_pieces()) {
      if (ready.test(piece)) (void)hashes_->bind(piece, *hashes_->hash(piece));
    }
  }
  synced_ = ready;
  synced_count_ = ready.count();
  bool reserved = true;
  if (!ready.all()) {
    auto file = writable_file();
    if (!file) return fail(file.error());
    auto st = fs.stat((*file)->get());
    if (!st) return fail(st.error());
    if (st->size != layout().size()) SHOAL_TRY(fs.set_size((*file)->get(), layout().size()));
    if (reservation_ == Reservation::kFull) {
      // A reservation that was not on the disk yet when the power went is made again.
      auto again = reserve_space(fs, directory_, (*file)->get(), layout().size());
      reserved = again.has_value();
      if (!again && again.error().code() != Errc::kUnavailable) {
        log::warn("space of a blob cannot be reserved again",
                  {{"blob", digest().str()}, {"err", again.error()}});
      }
    }
    // Whatever the file holds outside the record has to be hashed before it counts.
    for (PieceIndex piece(0); piece.value() < count; ++piece) {
      auto at = fs.next_data((*file)->get(), layout().offset_of(piece));
      if (!at) return fail(at.error());
      if (*at >= layout().size()) break;
      piece = std::max(piece, layout().piece_at(*at));
      if (!ready.test(piece)) unchecked_.set(piece);
    }
  }
  if (!source_) {
    charged_ = reservation_ == Reservation::kFull ? PieceSet::full(count) : ready | unchecked_;
    if (!reserved) owed_ = charged_ - (ready | unchecked_);
    context_->budget.set_aside(bytes_in(owed_));
  }
  account_->used = bytes_in(charged_);
  account_->failed = false;
  account_->durable = ready.all();
  account_->have_count = ready.count();
  return start_inode(ready);
}

// With sync_mutex_ held, or before anybody else knows the blob.
Status Blob::start_inode(const PieceSet& pieces) {
  const std::uint64_t epoch = context_->next_epoch();
  std::string path = context_->ready_path(digest().hex(), epoch);
  auto writer = ReadyWriter::create(context_->fs, path, digest(), layout(), epoch, pieces);
  if (!writer) return fail(writer.error());
  inodes_.push_back(*std::move(writer));
  ReadyWriter* old = ready_.exchange(inodes_.back().get(), std::memory_order_acq_rel);
  if (old != nullptr) {
    old->revoke();
    (void)context_->fs.unlink(ready_path_).has_value();
  }
  if (failed()) inodes_.back()->withdraw();  // while we were at it
  ready_path_ = std::move(path);
  account_->have_count = pieces.count();
  version_.fetch_add(1, std::memory_order_acq_rel);
  return {};
}

Result<std::shared_ptr<UniqueFd>> Blob::writable_file() {
  std::lock_guard lock(mutex_);
  if (write_fd_ == nullptr) {
    const std::string path = directory_ + "/data";
    auto fd = context_->fs.open(path, OpenMode::kReadWrite);
    if (!fd && fd.error().code() == Errc::kDenied) {
      // The file is 0444; its owner, when not root, opens it by making it writable for a moment.
      SHOAL_TRY(context_->fs.set_mode(path, 0644));
      fd = context_->fs.open(path, OpenMode::kReadWrite);
      SHOAL_TRY(context_->fs.set_mode(path, 0444));
    }
    if (!fd) return fail(fd.error());
    write_fd_ = std::make_shared<UniqueFd>(*std::move(fd));
  }
  return write_fd_;
}

std::uint64_t Blob::bytes_in(const PieceSet& pieces) const {
  std::uint64_t bytes = 0;
  for (auto run = pieces.next_run(PieceIndex(0)); !run.empty(); run = pieces.next_run(run.end())) {
    bytes += layout().range_of(run).length;
  }
  return bytes;
}

std::uint64_t Blob::bytes_of(const std::vector<PieceIndex>& pieces) const {
  std::uint64_t bytes = 0;
  for (PieceIndex piece : pieces) bytes += layout().piece_size(piece);
  return bytes;
}

Result<std::vector<PieceIndex>> Blob::charge(PieceRange pieces) {
  std::lock_guard lock(mutex_);
  std::vector<PieceIndex> fresh;
  if (charged_.contains(pieces)) return fresh;
  for (PieceIndex piece : pieces) {
    if (!charged_.test(piece)) fresh.push_back(piece);
  }
  SHOAL_TRY(context_->budget.charge(bytes_of(fresh)));
  for (PieceIndex piece : fresh) charged_.set(piece);
  account_->used += bytes_of(fresh);
  return fresh;
}

void Blob::uncharge(const std::vector<PieceIndex>& pieces) {
  std::lock_guard lock(mutex_);
  for (PieceIndex piece : pieces) charged_.reset(piece);
  context_->budget.release_unwritten(bytes_of(pieces));
  account_->used -= bytes_of(pieces);
}

void Blob::settle(PieceRange pieces, const std::vector<PieceIndex>& charged) {
  std::lock_guard lock(mutex_);
  context_->budget.written(bytes_of(charged));
  if (!owed_.none()) {
    for (PieceIndex piece : pieces) {
      if (owed_.reset(piece)) context_->budget.written(layout().piece_size(piece));
    }
  }
  if (charged_.contains(pieces)) return;
  // Another thread charged a piece, failed to write it and took the charge back; we wrote it.
  for (PieceIndex piece : pieces) {
    if (!charged_.set(piece)) continue;
    context_->budget.count_existing(layout().piece_size(piece));
    account_->used += layout().piece_size(piece);
  }
}

Status Blob::write_record(const PieceSet& pieces) {
  SHOAL_TRY(replace_file(context_->fs, directory_ + "/synced",
                         encode_synced(digest(), layout(), pieces)));
  return context_->fs.sync_directory(directory_);
}

Status Blob::sync() {
  std::lock_guard lock(sync_mutex_);
  if (in_place() || failed() || removed_) return {};
  const PieceSet ready = ready_.load(std::memory_order_acquire)->snapshot();
  if (ready == synced_) return {};
  auto file = writable_file();
  if (!file) return fail(file.error());
  if (auto synced = context_->fs.sync_data((*file)->get()); !synced) {
    // The kernel has marked the pages clean although they may not be on the disk: the next sync
    // would succeed without them. Only writing them again helps, so they have to come again.
    const Error error = synced.error().with_context("syncing " + digest().str());
    log::error("sync failed, unsynced pieces are taken back",
               {{"blob", digest().str()}, {"err", error}});
    SHOAL_TRY(retain(synced_));
    return fail(error);
  }
  auto written = hashes_ ? hashes_->sync() : Status{};
  if (written) written = write_record(ready);
  if (!written) {
    return fail(written.error().with_context("recording the synced pieces of " + digest().str()));
  }
  synced_ = ready;
  synced_count_ = ready.count();
  if (ready.all()) {
    account_->durable.store(true, std::memory_order_release);
    std::lock_guard state(mutex_);
    write_fd_.reset();
  }
  return {};
}

// Takes back every ready piece outside `allowed`. With sync_mutex_ held.
Status Blob::retain(const PieceSet& allowed) {
  if (!(synced_ - allowed).none()) {
    // First the record: once a piece is missing below, it may be written again, and a power cut
    // during that must not find it trusted.
    const PieceSet kept = synced_ & allowed;
    auto recorded = write_record(kept);
    if (!recorded) {
      // No record means nothing is trusted, which is as safe.
      recorded = context_->fs.unlink(directory_ + "/synced");
      if (recorded) recorded = context_->fs.sync_directory(directory_);
    }
    if (!recorded) {
      withdraw("a bad piece could not be struck from the record: " + recorded.error().str());
      return recorded;
    }
    synced_ = kept;
    synced_count_ = kept.count();
  }
  PieceSet lost;
  {
    std::lock_guard gate(gate_);
    std::unique_lock alone(commits_);
    const PieceSet before = ready_.load(std::memory_order_acquire)->snapshot();
    lost = before - allowed;
    if (lost.none()) return {};
    account_->durable.store(false, std::memory_order_release);
    if (auto started = start_inode(before & allowed); !started) {
      withdraw("no room for a new ready map: " + started.error().str());
      return started;
    }
  }
  unbind_missing(layout().all_pieces());
  if (context_->listener != nullptr) context_->listener->pieces_lost(digest(), lost);
  return {};
}

content::PieceSet Blob::freeze(const content::PieceTable& table) {
  mark_removed();
  std::lock_guard lock(sync_mutex_);
  PieceSet good = synced_;
  for (PieceIndex piece : layout().all_pieces()) {
    if (good.test(piece) && hashes_->hash(piece) != table.hash(piece)) good.reset(piece);
  }
  return good;
}

void Blob::mark_removed() {
  std::lock_guard lock(sync_mutex_);
  {
    // No commit is between its charge and its last bit when the space is counted back.
    std::lock_guard gate(gate_);
    std::unique_lock alone(commits_);
    removed_.store(true, std::memory_order_release);
  }
  // Those who wait for more pieces ask again; those who have all of it keep reading.
  if (!complete() && !failed()) ready_.load(std::memory_order_acquire)->revoke();
}

}  // namespace shoal::store
