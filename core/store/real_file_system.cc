#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

#include "core/store/file_system.h"

namespace shoal::store {
namespace {

std::string describe(const char* operation, const std::string& path) {
  return std::string(operation) + " " + path;
}
std::string describe(const char* operation, int fd) {
  return std::string(operation) + " descriptor " + std::to_string(fd);
}

template <typename Subject>
tl::unexpected<Error> os_error(const char* operation, const Subject& subject) {
  return fail(errno_error(describe(operation, subject), errno));
}

// Linux moves at most 0x7ffff000 bytes in one call (read(2), write(2)).
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

FileStat to_file_stat(const struct ::stat& st) {
  return {
      .size = static_cast<std::uint64_t>(st.st_size),
      .mtime_ns = static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1'000'000'000 + st.st_mtim.tv_nsec,
      .inode = st.st_ino,
      .allocated = static_cast<std::uint64_t>(st.st_blocks) * 512,
      .directory = S_ISDIR(st.st_mode),
      .regular = S_ISREG(st.st_mode)};
}

class RealFileSystem final : public FileSystem {
 public:
  Result<UniqueFd> open(const std::string& path, OpenMode mode, mode_t permissions) override {
    int flags = O_CLOEXEC;
    switch (mode) {
      case OpenMode::kRead:
        flags |= O_RDONLY;
        break;
      case OpenMode::kReadWrite:
        flags |= O_RDWR;
        break;
      case OpenMode::kCreate:
        flags |= O_RDWR | O_CREAT;
        break;
      case OpenMode::kCreateNew:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    int fd = -1;
    do {
      fd = ::open(path.c_str(), flags, permissions);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return os_error("open", path);
    return UniqueFd(fd);
  }

  Result<UniqueFd> reopen_read_only(int fd) override {
    int copy = ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
    if (copy < 0) return os_error("reopen", fd);
    return UniqueFd(copy);
  }

  Result<std::size_t> pread(int fd, std::span<std::byte> out, std::uint64_t offset) override {
    std::size_t done = 0;
    while (done < out.size()) {
      ssize_t n = ::pread(fd, out.data() + done, std::min(out.size() - done, kMaxTransfer),
                          static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("read", fd);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  Status pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    while (!bytes.empty()) {
      ssize_t n = ::pwrite(fd, bytes.data(), std::min(bytes.size(), kMaxTransfer),
                           static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("write", fd);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Status set_size(int fd, std::uint64_t size) override {
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return os_error("set size of", fd);
    return {};
  }

  Status preallocate(int fd, std::uint64_t size) override {
    if (size == 0) return {};
    int rc = 0;
    do {
      rc = ::fallocate(fd, 0, 0, static_cast<off_t>(size));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) return {};
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
      return fail(Errc::kUnavailable, "this file system cannot reserve space");
    }
    return os_error("reserve space for", fd);
  }

  Status sync_data(int fd) override {
    if (::fdatasync(fd) != 0) return os_error("sync", fd);
    return {};
  }

  Status start_writeback(int fd, std::uint64_t offset, std::uint64_t length, bool wait) override {
    unsigned flags = SYNC_FILE_RANGE_WRITE;
    if (wait) flags |= SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length), flags) == 0 ||
        errno == ENOSYS || errno == ESPIPE || errno == EINVAL) {
      return {};  // a file system without write-back has nothing to pace
    }
    return os_error("write back", fd);
  }

  Status sync_directory(const std::string& path) override {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return os_error("open directory", path);
    if (::fsync(fd.get()) != 0) return os_error("sync directory", path);
    return {};
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename", from + " to " + to);
    return {};
  }

  Status unlink(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return os_error("remove", path);
    return {};
  }

  Status make_directory(const std::string& path, mode_t permissions) override {
    if (::mkdir(path.c_str(), permissions) != 0) return os_error("make directory", path);
    return {};
  }

  Status remove_directory(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return os_error("remove directory", path);
    return {};
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    struct Close {
      void operator()(DIR* dir) const { ::closedir(dir); }
    };
    std::unique_ptr<DIR, Close> dir(::opendir(path.c_str()));
    if (!dir) return os_error("list", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir.get())) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
      errno = 0;
    }
    if (errno != 0) return os_error("list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<FileStat> stat(const std::string& path) override {
    struct ::stat st {};
    if (::lstat(path.c_str(), &st) != 0) return os_error("stat", path);
    return to_file_stat(st);
  }

  Result<FileStat> stat(int fd) override {
    struct ::stat st {};
    if (::fstat(fd, &st) != 0) return os_error("stat", fd);
    return to_file_stat(st);
  }

  Status set_mode(const std::string& path, mode_t permissions) override {
    if (::chmod(path.c_str(), permissions) != 0) return os_error("change mode of", path);
    return {};
  }

  Status set_mtime(const std::string& path, std::int64_t mtime_ns) override {
    timespec times[2]{};
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_sec = mtime_ns / 1'000'000'000;
    times[1].tv_nsec = mtime_ns % 1'000'000'000;
    if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return os_error("set time of", path);
    return {};
  }

  Result<SpaceStat> space(const std::string& path) override {
    struct statvfs st {};
    if (::statvfs(path.c_str(), &st) != 0) return os_error("ask for free space at", path);
    struct statfs kind {};
    if (::statfs(path.c_str(), &kind) != 0) return os_error("ask for the kind of", path);
    return SpaceStat{.total = static_cast<std::uint64_t>(st.f_blocks) * st.f_frsize,
                     .free = static_cast<std::uint64_t>(st.f_bavail) * st.f_frsize,
                     .in_memory = kind.f_type == TMPFS_MAGIC};
  }

  Status reflink(int from, int to) override {
    if (::ioctl(to, FICLONE, from) == 0) return {};
    if (errno == EOPNOTSUPP || errno == EXDEV || errno == ENOTTY || errno == EINVAL ||
        errno == EPERM || errno == ETXTBSY) {
      return fail(Errc::kUnavailable, "these files cannot share blocks");
    }
    return os_error("clone into", to);
  }

  Result<std::uint64_t> next_data(int fd, std::uint64_t offset) override {
    off_t at = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (at >= 0) return static_cast<std::uint64_t>(at);
    if (errno != ENXIO) return os_error("look for data in", fd);
    auto st = stat(fd);
    if (!st) return fail(st.error());
    return st->size;
  }

  Result<bool> try_lock(int fd) override {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return os_error("lock", fd);
  }
};

}  // namespace

FileSystem& real_file_system() {
  static RealFileSystem instance;
  return instance;
}

}  // namespace shoal::store
