#include "cli/source_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "cli/beneath.h"
#include "cli/text.h"
#include "core/content/manifest.h"

namespace shoal::cli {
namespace {

// Deeper trees are a mistake (or a loop of bind mounts), and every level holds a descriptor.
constexpr std::size_t kMaxDepth = 100;
constexpr std::size_t kMaxProblems = 5;  // shown; the rest is counted

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

class Scanner {
 public:
  explicit Scanner(int root) : root_(root) {}

  void scan(const std::string& folder, std::size_t depth) {
    if (depth > kMaxDepth) return problem(folder, "lies too deep");
    UniqueFd fd =
        open_beneath(root_, folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY, Links::kNever);
    if (!fd) return problem(folder, "cannot be read: " + error_text());
    std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd.get()));
    if (!dir) return problem(folder, "cannot be read: " + error_text());
    int folder_fd = fd.release();  // the DIR's now
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir.get());
      if (entry == nullptr) {
        if (errno != 0) problem(folder, "cannot be read: " + error_text());
        return;
      }
      std::string_view name(entry->d_name);
      if (name == "." || name == "..") continue;
      visit(folder_fd, folder.empty() ? std::string(name) : folder + "/" + std::string(name),
            entry->d_name, depth);
      if (files.size() > content::kMaxModelFiles || problem_count > 1000) return;
    }
  }

  std::vector<SourceFile> files;
  std::string problems;
  std::size_t problem_count = 0;

 private:
  static std::string error_text() { return errno_error("", errno).message().substr(2); }

  void problem(const std::string& path, const std::string& what) {
    if (++problem_count > kMaxProblems) return;
    problems += (problems.empty() ? "" : "; ") + std::string("'") +
                content::escape_for_message(path, 120) + "' " + what;
  }

  void visit(int folder, const std::string& path, const char* name, std::size_t depth) {
    struct stat status {};
    if (::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return problem(path, "cannot be read: " + error_text());
    }
    if (S_ISDIR(status.st_mode)) return scan(path, depth + 1);
    if (S_ISLNK(status.st_mode)) return visit_link(path);
    if (!S_ISREG(status.st_mode)) {
      return problem(path, "is neither a file, a directory nor a link");
    }
    add(path, status);
  }

  void visit_link(const std::string& path) {
    UniqueFd fd = open_beneath(root_, path, O_PATH, Links::kInside);
    if (!fd) {
      if (errno == EXDEV) {
        return problem(path,
                       "is a link that leads out of the directory (to publish what it points to, "
                       "make a copy with `cp -rL` first)");
      }
      return problem(path, "is a link that cannot be followed: " + error_text());
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return problem(path, "cannot be read: " + error_text());
    if (!S_ISREG(status.st_mode)) return problem(path, "is a link to something that is no file");
    add(path, status);
  }

  void add(const std::string& path, const struct stat& status) {
    Result<content::RelativePath> parsed = content::RelativePath::parse(path);
    if (!parsed)
      return problem(path, "has a name that a model cannot have: " + parsed.error().message());
    files.push_back({*parsed, FileStamp::of(status)});
  }

  const int root_;
};

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

FileStamp FileStamp::of(const struct stat& status) {
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
          nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

Result<SourceTree> SourceTree::scan(const std::filesystem::path& directory) {
  SourceTree tree;
  tree.root_ = UniqueFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!tree.root_) {
    int error = errno;
    std::string shown = content::escape_for_message(directory.string(), 200);
    if (error == ENOTDIR) {
      return fail(Errc::kInvalid, shown + " is not a directory: publish takes a directory");
    }
    return fail(errno_error(shown, error));
  }
  Scanner scanner(tree.root_.get());
  scanner.scan("", 0);
  if (scanner.problem_count > 0) {
    std::string more;
    if (scanner.problem_count > kMaxProblems) {
      more = "; and " + std::to_string(scanner.problem_count - kMaxProblems) + " more";
    }
    return fail(Errc::kInvalid, scanner.problems + more);
  }
  std::string shown = content::escape_for_message(directory.string(), 200);
  if (scanner.files.empty()) {
    return fail(Errc::kInvalid, shown + " has no files: there is nothing to publish");
  }
  if (scanner.files.size() > content::kMaxModelFiles) {
    return fail(Errc::kInvalid, shown + " has more than " +
                                    std::to_string(content::kMaxModelFiles) +
                                    " files, which is more than a model can have");
  }
  std::sort(scanner.files.begin(), scanner.files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  tree.files_ = std::move(scanner.files);
  return tree;
}

std::uint64_t SourceTree::total_size() const {
  std::uint64_t total = 0;
  for (const SourceFile& file : files_) total += file.stamp.size;
  return total;
}

Result<OpenedFile> SourceTree::open(const SourceFile& file) const {
  UniqueFd fd =
      open_beneath(root_.get(), file.path.str(), O_RDONLY | O_NONBLOCK | O_NOCTTY, Links::kInside);
  if (!fd) return fail(errno_error(file.path.str(), errno));
  SHOAL_TRY(check_unchanged(file, fd.get()));
  std::error_code ec;
  std::filesystem::path real =
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd.get()), ec);
  if (ec) return fail(errno_error(file.path.str(), ec.value()));
  return OpenedFile{std::move(fd), std::move(real)};
}

Status SourceTree::check_unchanged(const SourceFile& file, int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail(errno_error(file.path.str(), errno));
  if (!S_ISREG(status.st_mode) || FileStamp::of(status) != file.stamp) {
    return fail(Errc::kConflict, "'" + file.path.str() +
                                     "' changed while it was being published: publish again when "
                                     "nothing writes to the directory any more");
  }
  return {};
}

}  // namespace shoal::cli
