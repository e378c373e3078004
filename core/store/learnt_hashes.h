// The piece hashes of a blob whose table nobody can have yet, as they become known: from the bytes
// of its origin, or from who read them. The file is described in docs/formats/store.md, "hashes".
// Internal to core/store.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/store/file_system.h"

namespace shoal::store {

// A hash may be replaced by another as long as no bytes rest on it; then it is bound.
//
// Thread safe. Lifetime: borrows the file system.
class LearntHashes {
 public:
  // Makes the file, with no hash in it. Errors: the file system's.
  static Status create(FileSystem& fs, const std::string& path, const content::BlobLayout& layout);
  // Errors: corrupt (another length), and the file system's.
  static Result<std::unique_ptr<LearntHashes>> open(FileSystem& fs, const std::string& path,
                                                    const content::BlobLayout& layout);

  // None where it is not known.
  std::optional<content::Hash32> hash(content::PieceIndex piece) const;
  content::PieceSet known() const;
  bool knows(content::PieceRange pieces) const;
  // All of them, zero where it is not known.
  std::vector<content::Hash32> all() const;

  // Errors: conflict, naming the piece, when one that is bound has another hash: nothing is
  // changed. The file system's: those before the one that failed may be known.
  Status learn(content::PieceIndex first, std::span<const content::Hash32> hashes);
  // Bytes with that hash are about to be stored. False if the piece's hash is not known, or
  // another.
  bool bind(content::PieceIndex piece, const content::Hash32& hash);
  // They were not, or are gone.
  void unbind(content::PieceIndex piece);

  // What is known survives a power cut.
  Status sync();

 private:
  using Mapping = std::shared_ptr<const void>;

  LearntHashes(FileSystem& fs, UniqueFd file, Mapping mapping, std::uint32_t count);
  const content::Hash32& at(content::PieceIndex piece) const { return hashes_[piece.value()]; }

  FileSystem& fs_;
  const UniqueFd file_;
  const Mapping mapping_;  // of the whole file, read-only: written through file_
  const std::span<const content::Hash32> hashes_;
  mutable std::mutex mutex_;
  content::PieceSet known_;  // guarded by mutex_, as the mapped bytes are
  content::PieceSet bound_;  // guarded by mutex_
};

}  // namespace shoal::store
