#include "core/store/file_system.h"

namespace shoal::store {

Result<std::vector<std::byte>> read_file(FileSystem& fs, const std::string& path,
                                         std::uint64_t limit) {
  auto fd = fs.open(path, OpenMode::kRead);
  if (!fd) return fail(fd.error());
  auto st = fs.stat(fd->get());
  if (!st) return fail(st.error());
  if (st->size > limit) {
    return fail(Errc::kInvalid, path + " is " + std::to_string(st->size) +
                                    " bytes long, more than the " + std::to_string(limit) +
                                    " such a file can have");
  }
  std::vector<std::byte> bytes(st->size);
  auto n = fs.pread(fd->get(), bytes, 0);
  if (!n) return fail(n.error().with_context(path));
  bytes.resize(*n);
  return bytes;
}

Status replace_file(FileSystem& fs, const std::string& path, std::span<const std::byte> bytes,
                    mode_t permissions) {
  const std::string fresh = path + ".new";
  auto write = [&]() -> Status {
    auto fd = fs.open(fresh, OpenMode::kCreate, permissions);
    if (!fd) return fail(fd.error());
    SHOAL_TRY(fs.set_size(fd->get(), 0));
    SHOAL_TRY(fs.pwrite(fd->get(), bytes, 0));
    return fs.sync_data(fd->get());
  };
  if (auto written = write(); !written) {
    // Frees the space; a leftover does no harm, the next call truncates it.
    (void)fs.unlink(fresh).has_value();
    return fail(written.error().with_context("writing " + path));
  }
  return fs.rename(fresh, path);
}

Status reserve_space(FileSystem& fs, const std::string& path, int fd, std::uint64_t size) {
  auto space = fs.space(path);
  if (!space) return fail(space.error());
  if (space->in_memory) return fail(Errc::kUnavailable, "space in memory is taken when written");
  return fs.preallocate(fd, size);
}

Status ensure_directory(FileSystem& fs, const std::string& path, mode_t permissions) {
  auto made = fs.make_directory(path, permissions);
  if (!made && made.error().code() == Errc::kConflict) return {};
  return made;
}

Status remove_all(FileSystem& fs, const std::string& path) {
  auto st = fs.stat(path);
  if (!st) {
    if (st.error().code() == Errc::kNotFound) return {};
    return fail(st.error());
  }
  if (!st->directory) return fs.unlink(path);
  auto names = fs.list(path);
  if (!names) return fail(names.error());
  for (const std::string& name : *names) SHOAL_TRY(remove_all(fs, path + "/" + name));
  return fs.remove_directory(path);
}

}  // namespace shoal::store
