#include "cli/target_tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "cli/beneath.h"
#include "core/base/random.h"

namespace shoal::cli {
namespace {

constexpr std::size_t kStep = 8 << 20;  // between two looks at Ctrl-C
constexpr std::size_t kBuffer = 1 << 20;

std::string last_component(const std::string& path) { return path.substr(path.rfind('/') + 1); }

tl::unexpected<Error> not_a_directory(std::string_view path) {
  return fail(Errc::kConflict,
              "'" + std::string(path) +
                  "' is in the way: it is a file or a link, not a directory of the "
                  "target");
}

// Reads exactly `size` bytes at `offset`, or fewer at the end of the file.
Result<std::size_t> read_at(int fd, char* to, std::size_t size, std::uint64_t offset) {
  std::size_t got = 0;
  while (got < size) {
    ssize_t count = ::pread(fd, to + got, size - got, static_cast<off_t>(offset + got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(errno_error("reading", errno));
    if (count == 0) break;
    got += static_cast<std::size_t>(count);
  }
  return got;
}

// Up to `size` bytes through user space, where the kernel cannot copy between these two files.
Result<std::size_t> copy_by_hand(int from, int to, std::uint64_t offset, std::size_t size,
                                 std::vector<char>& buffer) {
  buffer.resize(kBuffer);
  Result<std::size_t> got = read_at(from, buffer.data(), std::min(size, kBuffer), offset);
  if (!got) return got;
  for (std::size_t done = 0; done < *got;) {
    ssize_t count =
        ::pwrite(to, buffer.data() + done, *got - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(errno_error("writing", errno));
    done += static_cast<std::size_t>(count);
  }
  return got;
}

Status copy_all(int from, int to, std::uint64_t size, const TargetTree::Advance& advance) {
  std::vector<char> buffer;
  bool in_kernel = true;
  for (std::uint64_t offset = 0; offset < size;) {
    auto step = static_cast<std::size_t>(std::min<std::uint64_t>(kStep, size - offset));
    std::size_t done = 0;
    if (in_kernel) {
      auto in = static_cast<off_t>(offset);
      auto out = static_cast<off_t>(offset);
      ssize_t count = ::copy_file_range(from, &in, to, &out, step, 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
                        errno == EOPNOTSUPP || errno == EPERM)) {
        in_kernel = false;
        continue;
      }
      if (count < 0) return fail(errno_error("copying", errno));
      done = static_cast<std::size_t>(count);
    } else {
      Result<std::size_t> copied = copy_by_hand(from, to, offset, step, buffer);
      if (!copied) return fail(copied.error());
      done = *copied;
    }
    if (done == 0) {
      return fail(Errc::kCorrupt, "the stored bytes end at " + std::to_string(offset) +
                                      " where there should be " + std::to_string(size));
    }
    offset += done;
    if (!advance(done)) return fail(Errc::kCancelled, "interrupted");
  }
  return {};
}

}  // namespace

Result<TargetTree> TargetTree::open(const std::filesystem::path& directory) {
  std::error_code ec;
  std::filesystem::create_directories(directory, ec);
  if (ec) return fail(errno_error("making " + directory.string(), ec.value()));
  UniqueFd root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return fail(errno_error(directory.string(), errno));
  return TargetTree(std::move(root));
}

Result<UniqueFd> TargetTree::parent(const content::RelativePath& path, bool create) const {
  const std::string& text = path.str();
  UniqueFd current(::fcntl(root_.get(), F_DUPFD_CLOEXEC, 0));
  if (!current) return fail(errno_error("dup", errno));
  std::size_t begin = 0;
  for (std::size_t slash = 0; (slash = text.find('/', begin)) != std::string::npos;
       begin = slash + 1) {
    std::string component = text.substr(begin, slash - begin);
    if (create && ::mkdirat(current.get(), component.c_str(), 0777) != 0 && errno != EEXIST) {
      return fail(errno_error("making " + text.substr(0, slash), errno));
    }
    UniqueFd next = open_beneath(current.get(), component, O_RDONLY | O_DIRECTORY, Links::kNever);
    if (!next) {
      if (errno == ELOOP || errno == ENOTDIR) return not_a_directory(text.substr(0, slash));
      return fail(errno_error(text.substr(0, slash), errno));
    }
    current = std::move(next);
  }
  return current;
}

Result<TargetTree::Present> TargetTree::compare(const content::RelativePath& path, int source,
                                                std::uint64_t size, const Advance& advance) const {
  Result<UniqueFd> folder = parent(path, false);
  if (!folder) {
    if (folder.error().code() == Errc::kNotFound) return Present::kAbsent;
    if (folder.error().code() == Errc::kConflict) return Present::kObstacle;
    return fail(folder.error());
  }
  std::string name = last_component(path.str());
  struct stat status {};
  if (::fstatat(folder->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return Present::kAbsent;
    return fail(errno_error(path.str(), errno));
  }
  if (S_ISDIR(status.st_mode)) return Present::kObstacle;
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != size) {
    return Present::kDifferent;
  }
  UniqueFd there = open_beneath(folder->get(), name, O_RDONLY | O_NONBLOCK, Links::kNever);
  if (!there) return fail(errno_error(path.str(), errno));
  std::vector<char> ours(kBuffer);
  std::vector<char> theirs(kBuffer);
  for (std::uint64_t offset = 0; offset < size;) {
    auto step = static_cast<std::size_t>(std::min<std::uint64_t>(kBuffer, size - offset));
    Result<std::size_t> a = read_at(source, ours.data(), step, offset);
    if (!a) return fail(a.error().with_context(path.str()));
    Result<std::size_t> b = read_at(there.get(), theirs.data(), step, offset);
    if (!b) return fail(b.error().with_context(path.str()));
    if (*a != step || *b != step || std::memcmp(ours.data(), theirs.data(), step) != 0) {
      return Present::kDifferent;
    }
    offset += step;
    if (!advance(step)) return fail(Errc::kCancelled, "interrupted");
  }
  return Present::kSame;
}

Result<Written> TargetTree::write(const content::RelativePath& path, int source, std::uint64_t size,
                                  const Advance& advance) const {
  Result<UniqueFd> folder = parent(path, true);
  if (!folder) return fail(folder.error());
  std::string name = last_component(path.str());
  std::string temporary = ".shoal-" + random_hex(8) + ".partial";
  UniqueFd out =
      open_beneath(folder->get(), temporary, O_RDWR | O_CREAT | O_EXCL, Links::kNever, 0644);
  if (!out) return fail(errno_error("writing into the directory of " + path.str(), errno));
  auto give_up = [&](Error error) {
    ::unlinkat(folder->get(), temporary.c_str(), 0);
    return fail(error.with_context(path.str()));
  };
  Written written = Written::kCopy;
  if (size == 0 || ::ioctl(out.get(), FICLONE, source) != 0) {
    if (Status copied = copy_all(source, out.get(), size, advance); !copied) {
      return give_up(copied.error());
    }
  } else {
    written = Written::kReflink;
    if (!advance(size)) return give_up(Error(Errc::kCancelled, "interrupted"));
  }
  struct stat status {};
  if (::fstat(out.get(), &status) != 0) return give_up(errno_error("fstat", errno));
  if (static_cast<std::uint64_t>(status.st_size) != size) {
    return give_up(Error(Errc::kCorrupt, "has " + std::to_string(status.st_size) +
                                             " bytes where there should be " +
                                             std::to_string(size)));
  }
  // An error of the file system that was held back (quota, network) must not pass for success.
  if (::close(out.release()) != 0) return give_up(errno_error("closing", errno));
  if (::renameat(folder->get(), temporary.c_str(), folder->get(), name.c_str()) != 0) {
    int error = errno;
    if (error == EISDIR || error == ENOTEMPTY || error == EEXIST) {
      return give_up(Error(Errc::kConflict, "a directory of that name is in the way"));
    }
    return give_up(errno_error("renaming", error));
  }
  return written;
}

}  // namespace shoal::cli
