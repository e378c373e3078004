#include "core/store/learnt_hashes.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "core/base/check.h"

namespace shoal::store {

using content::Hash32;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

namespace {

std::uint64_t file_size(const content::BlobLayout& layout) {
  return std::uint64_t{layout.piece_count()} * sizeof(Hash32);
}

}  // namespace

Status LearntHashes::create(FileSystem& fs, const std::string& path,
                            const content::BlobLayout& layout) {
  auto file = fs.open(path, OpenMode::kCreateNew);
  if (!file) return fail(file.error());
  SHOAL_TRY(fs.set_size(file->get(), file_size(layout)));
  return fs.sync_data(file->get());
}

Result<std::unique_ptr<LearntHashes>> LearntHashes::open(FileSystem& fs, const std::string& path,
                                                         const content::BlobLayout& layout) {
  SHOAL_CHECK(!layout.empty(), "an empty blob has no hash to learn");
  auto file = fs.open(path, OpenMode::kReadWrite);
  if (!file) return fail(file.error());
  auto st = fs.stat(file->get());
  if (!st) return fail(st.error());
  const std::size_t length = file_size(layout);
  if (st->size != length) return fail(Errc::kCorrupt, path + " has a wrong length");
  void* base = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file->get(), 0);
  if (base == MAP_FAILED) return fail(errno_error("map " + path, errno));
  Mapping mapping(base, [length](const void* p) { ::munmap(const_cast<void*>(p), length); });
  return std::unique_ptr<LearntHashes>(
      new LearntHashes(fs, *std::move(file), std::move(mapping), layout.piece_count()));
}

LearntHashes::LearntHashes(FileSystem& fs, UniqueFd file, Mapping mapping, std::uint32_t count)
    : fs_(fs),
      file_(std::move(file)),
      mapping_(std::move(mapping)),
      hashes_(static_cast<const Hash32*>(mapping_.get()), count),
      known_(count),
      bound_(count) {
  for (PieceIndex piece : PieceRange{PieceIndex(0), count}) {
    if (at(piece) != Hash32{}) known_.set(piece);
  }
}

std::optional<Hash32> LearntHashes::hash(PieceIndex piece) const {
  std::lock_guard lock(mutex_);
  if (!known_.test(piece)) return std::nullopt;
  return at(piece);
}

PieceSet LearntHashes::known() const {
  std::lock_guard lock(mutex_);
  return known_;
}

bool LearntHashes::knows(PieceRange pieces) const {
  std::lock_guard lock(mutex_);
  return known_.contains(pieces);
}

std::vector<Hash32> LearntHashes::all() const {
  std::lock_guard lock(mutex_);
  return {hashes_.begin(), hashes_.end()};
}

Status LearntHashes::learn(PieceIndex first, std::span<const Hash32> hashes) {
  const PieceRange pieces{first, static_cast<std::uint32_t>(hashes.size())};
  std::lock_guard lock(mutex_);
  bool news = false;
  for (PieceIndex piece : pieces) {
    const bool same = known_.test(piece) && at(piece) == hashes[piece - first];
    news |= !same;
    if (!same && bound_.test(piece)) {
      return fail(Errc::kConflict,
                  "piece " + std::to_string(piece.value()) + " is here with another hash");
    }
  }
  if (!news) return {};
  SHOAL_TRY(fs_.pwrite(file_.get(), std::as_bytes(hashes), first.value() * sizeof(Hash32)));
  known_.set_range(pieces);
  return {};
}

bool LearntHashes::bind(PieceIndex piece, const Hash32& hash) {
  std::lock_guard lock(mutex_);
  if (!known_.test(piece) || at(piece) != hash) return false;
  bound_.set(piece);
  return true;
}

void LearntHashes::unbind(PieceIndex piece) {
  std::lock_guard lock(mutex_);
  bound_.reset(piece);
}

Status LearntHashes::sync() { return fs_.sync_data(file_.get()); }

}  // namespace shoal::store
