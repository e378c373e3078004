// The writing side of the `ready` bitmap: one inode of it. See ready_map.h for the reading side.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/store/file_system.h"
#include "core/store/ready_map.h"

namespace shoal::store {

// Thread safety: all functions may be called from any thread.
// Lifetime: borrows the file system. Destruction leaves the file and its state as they are.
class ReadyWriter {
 public:
  // Makes a new inode that says `pieces` are ready and gives it the name `path`, replacing what
  // stood there (an old inode lives on for those who have it open: revoke it first). The space of
  // the whole file is reserved, so that setting a bit cannot fail.
  // Errors: no_space and others of the file system; `path` is then as before.
  static Result<std::unique_ptr<ReadyWriter>> create(FileSystem& fs, const std::string& path,
                                                     const content::Digest& digest,
                                                     const content::BlobLayout& layout,
                                                     std::uint64_t epoch,
                                                     const content::PieceSet& pieces);

  // Marks the file at `path` as revoked and wakes its readers, if it is a ready map; else does
  // nothing. For what an earlier process left behind.
  static void revoke_leftover(FileSystem& fs, const std::string& path);

  ~ReadyWriter();
  ReadyWriter(const ReadyWriter&) = delete;
  ReadyWriter& operator=(const ReadyWriter&) = delete;

  // Sets the bits of `pieces`, with release order after the writing of their bytes, and wakes
  // waiting readers: one system call per batch. Returns how many of the bits were new; sets the
  // state to complete with the last one.
  std::uint32_t publish(content::PieceRange pieces);

  // No bit may be set after one of these two; the state complete may change to either.
  void withdraw();
  void revoke();

  ReadyState state() const;
  // Whether all of `pieces` are set.
  bool has(content::PieceRange pieces) const;
  std::uint32_t count() const;
  content::PieceSet snapshot() const;
  std::uint64_t epoch() const;

  // A read-only descriptor to pass to another process.
  Result<UniqueFd> open_for_reader() const;

 private:
  ReadyWriter(FileSystem& fs, UniqueFd fd, std::byte* base, const content::BlobLayout& layout)
      : fs_(fs), fd_(std::move(fd)), base_(base), layout_(layout) {}

  ReadyHeader& header() const { return *reinterpret_cast<ReadyHeader*>(base_); }
  std::uint64_t* words() const {
    return reinterpret_cast<std::uint64_t*>(base_ + sizeof(ReadyHeader));
  }
  void set_state(ReadyState state);

  // Constant after construction.
  FileSystem& fs_;
  UniqueFd fd_;
  std::byte* const base_;
  const content::BlobLayout layout_;

  std::atomic<std::uint32_t> count_{0};
};

}  // namespace shoal::store
