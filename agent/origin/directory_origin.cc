#include "agent/origin/directory_origin.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

constexpr std::uint64_t kReadSize = 1 << 20;

std::string version_of(const struct stat& info) {
  return std::to_string(info.st_size) + "-" + std::to_string(info.st_mtim.tv_sec) + "." +
         std::to_string(info.st_mtim.tv_nsec) + "-" + std::to_string(info.st_ino);
}

struct OpenFile {
  UniqueFd fd;
  struct stat info {};
};

Result<OpenFile> open_file(const std::string& url, const AllowList& allow) {
  constexpr std::string_view kPrefix = "file://";
  if (!url.starts_with(kPrefix)) return fail(Errc::kInvalid, "'" + url + "' is not a file:// URL");
  Result<std::string> decoded = http::percent_decode(std::string_view(url).substr(kPrefix.size()));
  if (!decoded) return fail(decoded.error());
  const std::string& path = *decoded;
  // The check is on the real path: a symlink inside an allowed directory must not lead out of it.
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) {
    return fail(errno_error("origin file " + path, errno));
  }
  SHOAL_TRY(allow.check_directory(resolved));
  OpenFile file;
  file.fd.reset(::open(resolved, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.fd) return fail(errno_error("origin file " + path, errno));
  if (::fstat(file.fd.get(), &file.info) != 0) return fail(errno_error("fstat " + path, errno));
  if (!S_ISREG(file.info.st_mode)) {
    return fail(Errc::kInvalid, "origin file " + path + " is not a regular file");
  }
  return file;
}

// The folder that "dir:/srv/models" or "file:///srv/models" names.
Result<std::string> folder_of(const std::string& source) {
  constexpr std::string_view kFolder = "dir:";
  std::string path;
  if (source.starts_with(kFolder)) {
    path = source.substr(kFolder.size());
  } else {
    Result<std::string> decoded = http::percent_decode(
        source.substr(std::min<std::size_t>(source.size(), std::string_view("file://").size())));
    if (!decoded) return fail(decoded.error());
    path = std::move(*decoded);
  }
  if (!path.starts_with('/')) {
    return fail(Errc::kInvalid, "'" + source + "': write dir:/folder, with the whole path");
  }
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) {
    return fail(errno_error("origin folder " + path, errno));
  }
  return std::string(resolved);
}

}  // namespace

OriginStatus DirectoryOrigin::list(const OriginQuery& query, OriginListing& found,
                                   const CancelFlag& cancel) {
  namespace fs = std::filesystem;
  auto failed = [](Error error) -> OriginStatus { return {fail(std::move(error)), {}}; };
  Result<std::string> folder = folder_of(query.source);
  if (!folder) return failed(folder.error());
  // Of a path in it, so that the folder itself may be what is listed.
  if (Status allowed = allow_.check_directory(*folder + "/"); !allowed) {
    return failed(allowed.error());
  }
  found.source = "file://" + http::percent_encode_path(*folder);
  std::error_code error;
  fs::recursive_directory_iterator at(*folder, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    if (cancel.load(std::memory_order_relaxed)) {
      return failed(Error(Errc::kCancelled, "listing cancelled"));
    }
    if (at->is_directory(error) && !at->is_symlink(error)) continue;
    std::string name = at->path().string().substr(folder->size() + 1);
    if (!query.wants(name)) continue;
    // A link may lead to what is allowed elsewhere, but not be a part of this folder.
    char resolved[PATH_MAX];
    if (::realpath(at->path().c_str(), resolved) == nullptr ||
        !std::string_view(resolved).starts_with(*folder + "/")) {
      return failed(Error(Errc::kInvalid, "'" + name + "' leads out of " + *folder));
    }
    OriginFile file;
    OriginStatus probed =
        probe("file://" + http::percent_encode_path(at->path().string()), file, cancel);
    if (!probed.status) return probed;
    Status added = found.add(query, name, std::move(file));
    if (!added) return failed(added.error());
  }
  if (error) return failed(errno_error("listing " + *folder, error.value()));
  return {found.finish(), {}};
}

OriginStatus DirectoryOrigin::probe(const std::string& url, OriginFile& file, const CancelFlag&) {
  Result<OpenFile> opened = open_file(url, allow_);
  if (!opened) return {fail(opened.error()), {}};
  file = {url, static_cast<std::uint64_t>(opened->info.st_size), version_of(opened->info)};
  return {};
}

OriginStatus DirectoryOrigin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                                   const CancelFlag& cancel) {
  Result<OpenFile> opened = open_file(file.url, allow_);
  if (!opened) return {fail(opened.error()), {}};
  auto changed = [&](const struct stat& info) {
    return !file.version.empty() && version_of(info) != file.version;
  };
  OriginStatus changed_status{fail(Errc::kConflict, "origin file " + file.url + " has changed"),
                              {}};
  if (changed(opened->info)) return changed_status;
  std::vector<std::byte> buffer(std::min(kReadSize, range.length));
  for (std::uint64_t done = 0; done < range.length;) {
    if (cancel.load(std::memory_order_relaxed)) {
      return {fail(Errc::kCancelled, "read cancelled"), {}};
    }
    auto want = std::min<std::uint64_t>(buffer.size(), range.length - done);
    ssize_t got =
        ::pread(opened->fd.get(), buffer.data(), want, static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {fail(errno_error("reading " + file.url, errno)), {}};
    // Looked at before the bytes are used: replaced bytes must be told apart from a bad piece.
    struct stat info {};
    if (got == 0 || ::fstat(opened->fd.get(), &info) != 0 || changed(info)) return changed_status;
    if (Status taken = sink(std::span(buffer).first(static_cast<std::size_t>(got))); !taken) {
      return {taken, {}};
    }
    done += static_cast<std::uint64_t>(got);
  }
  return {};
}

}  // namespace shoal::agent
