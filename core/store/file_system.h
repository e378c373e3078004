// Every file-system call of the store, behind one interface, so that tests can count the calls,
// fail any of them, and cut the power between two of them (tests/fakes: MemoryFileSystem,
// FaultyFileSystem). All implementations hand out real descriptors: a caller may mmap, sendfile or
// pass them to another process without a detour, and the data path pays one virtual call per system
// call and nothing per byte.
//
// Thread safety: every call may be made from any thread.
// Errors: as errno_error() says, with the operation and the path (or descriptor) in the message;
// what else a function can return stands beside it. A failed call may be repeated.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace shoal::store {

struct FileStat {
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;  // since the Unix epoch
  std::uint64_t inode = 0;
  std::uint64_t allocated = 0;  // bytes the file system has set aside for it
  bool directory = false;
  bool regular = false;
};

struct SpaceStat {
  std::uint64_t total = 0;  // bytes, the whole file system
  std::uint64_t free = 0;   // bytes an ordinary user may still write
  bool in_memory = false;   // a tmpfs: setting space aside there means filling it with zeros
};

enum class OpenMode {
  kRead,       // O_RDONLY
  kReadWrite,  // O_RDWR, must exist
  kCreate,     // O_RDWR | O_CREAT
  kCreateNew,  // O_RDWR | O_CREAT | O_EXCL: conflict when the name is taken
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // `permissions` counts only for a file that this call makes, and not for the descriptor returned:
  // a file may be made 0444 and written through that descriptor. Descriptors are close-on-exec.
  virtual Result<UniqueFd> open(const std::string& path, OpenMode mode,
                                mode_t permissions = 0600) = 0;

  // A second, independent, read-only open of the file behind `fd`, also when it has no name any
  // more.
  virtual Result<UniqueFd> reopen_read_only(int fd) = 0;

  // Reads until `out` is full or the file ends; the number of bytes read.
  virtual Result<std::size_t> pread(int fd, std::span<std::byte> out, std::uint64_t offset) = 0;

  // Writes all of `bytes`. After an error any part of the range may hold new bytes.
  virtual Status pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) = 0;

  // Makes the file `size` long; added bytes read as zero and take no space.
  virtual Status set_size(int fd, std::uint64_t size) = 0;

  // Sets space aside for [0, size) and makes the file at least that long. A file system that cannot
  // do it: unavailable.
  virtual Status preallocate(int fd, std::uint64_t size) = 0;

  // fdatasync: after success the file's bytes and length survive a power cut (its name only once
  // the directory was synced).
  virtual Status sync_data(int fd) = 0;

  // Starts writing out the dirty pages of a range; with `wait` returns when they are out. Paces
  // write-back only: promises nothing about a power cut.
  virtual Status start_writeback(int fd, std::uint64_t offset, std::uint64_t length, bool wait) = 0;

  // After success the names made, changed and removed in this directory survive a power cut.
  virtual Status sync_directory(const std::string& path) = 0;

  // Replaces `to` when it is a file or an empty directory.
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status unlink(const std::string& path) = 0;
  // conflict when the name is taken.
  virtual Status make_directory(const std::string& path, mode_t permissions = 0700) = 0;
  virtual Status remove_directory(const std::string& path) = 0;
  // Names in a directory without "." and "..", sorted.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;

  // Of the name itself: a symbolic link is not followed.
  virtual Result<FileStat> stat(const std::string& path) = 0;
  virtual Result<FileStat> stat(int fd) = 0;
  virtual Status set_mode(const std::string& path, mode_t permissions) = 0;
  virtual Status set_mtime(const std::string& path, std::int64_t mtime_ns) = 0;
  virtual Result<SpaceStat> space(const std::string& path) = 0;

  // Makes the empty file `to` share all of `from`'s blocks (FICLONE). unavailable when the two
  // cannot share blocks: then copy.
  virtual Status reflink(int from, int to) = 0;

  // The first offset >= `offset` that is not inside a hole, or the file's size.
  virtual Result<std::uint64_t> next_data(int fd, std::uint64_t offset) = 0;

  // Takes the advisory whole-file lock of this descriptor (flock); false when another holds it.
  // Held until the descriptor is closed or the process ends, however it ends.
  virtual Result<bool> try_lock(int fd) = 0;
};

// The operating system's own. Stateless; lives as long as the program.
FileSystem& real_file_system();

// Reads a whole small file. invalid when it is longer than `limit` bytes.
Result<std::vector<std::byte>> read_file(FileSystem& fs, const std::string& path,
                                         std::uint64_t limit);

// Makes `path` hold exactly `bytes`, atomically: a reader, and a reopen after a power cut, finds
// the old file or the new one, never a mixture. Writes `path` + ".new", syncs it, renames it. The
// name itself survives a power cut once the directory is synced, which is left to the caller. After
// an error the old file stands.
Status replace_file(FileSystem& fs, const std::string& path, std::span<const std::byte> bytes,
                    mode_t permissions = 0600);

// Sets space aside for a file of `size` bytes whose content is yet to come. unavailable where that
// cannot be done, or would cost as much as writing the content: `path` lies in memory.
Status reserve_space(FileSystem& fs, const std::string& path, int fd, std::uint64_t size);

// Like make_directory, but content when the directory exists.
Status ensure_directory(FileSystem& fs, const std::string& path, mode_t permissions = 0700);

// Removes a file, or a directory with everything in it. Content when there is nothing.
Status remove_all(FileSystem& fs, const std::string& path);

}  // namespace shoal::store
