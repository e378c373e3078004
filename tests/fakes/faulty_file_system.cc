#include "tests/fakes/faulty_file_system.h"

#include <cerrno>

namespace shoal::fakes {

void FaultyFileSystem::fail_call(std::uint64_t nth, Fault fault) {
  fault_ = fault;
  failed_ = false;
  stopped_ = false;
  fail_at_ = nth == 0 ? 0 : calls_ + nth;
}

Status FaultyFileSystem::next_call() {
  const std::uint64_t call = ++calls_;
  if (stopped_) return fail(errno_error("stopped", EIO));
  if (call != fail_at_) return {};
  failed_ = true;
  switch (fault_.load()) {
    case Fault::kIoError:
      return fail(errno_error("injected", EIO));
    case Fault::kNoSpace:
    case Fault::kShortWrite:
      return fail(errno_error("injected", ENOSPC));
    case Fault::kStop:
      stopped_ = true;
      return fail(errno_error("stopped", EIO));
  }
  return {};
}

Status FaultyFileSystem::pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  const bool was_stopped = stopped_;
  auto allowed = next_call();
  if (allowed) return base_.pwrite(fd, bytes, offset);
  if (!was_stopped && (fault_ == Fault::kShortWrite || fault_ == Fault::kStop)) {
    (void)base_.pwrite(fd, bytes.first(bytes.size() / 2), offset).has_value();
  }
  return allowed;
}

Result<UniqueFd> FaultyFileSystem::open(const std::string& path, store::OpenMode mode,
                                        mode_t permissions) {
  SHOAL_TRY(next_call());
  return base_.open(path, mode, permissions);
}

Result<UniqueFd> FaultyFileSystem::reopen_read_only(int fd) {
  SHOAL_TRY(next_call());
  return base_.reopen_read_only(fd);
}

Result<std::size_t> FaultyFileSystem::pread(int fd, std::span<std::byte> out,
                                            std::uint64_t offset) {
  SHOAL_TRY(next_call());
  return base_.pread(fd, out, offset);
}

Status FaultyFileSystem::set_size(int fd, std::uint64_t size) {
  SHOAL_TRY(next_call());
  return base_.set_size(fd, size);
}

Status FaultyFileSystem::preallocate(int fd, std::uint64_t size) {
  SHOAL_TRY(next_call());
  return base_.preallocate(fd, size);
}

Status FaultyFileSystem::sync_data(int fd) {
  SHOAL_TRY(next_call());
  return base_.sync_data(fd);
}

Status FaultyFileSystem::start_writeback(int fd, std::uint64_t offset, std::uint64_t length,
                                         bool wait) {
  SHOAL_TRY(next_call());
  return base_.start_writeback(fd, offset, length, wait);
}

Status FaultyFileSystem::sync_directory(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.sync_directory(path);
}

Status FaultyFileSystem::rename(const std::string& from, const std::string& to) {
  SHOAL_TRY(next_call());
  return base_.rename(from, to);
}

Status FaultyFileSystem::unlink(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.unlink(path);
}

Status FaultyFileSystem::make_directory(const std::string& path, mode_t permissions) {
  SHOAL_TRY(next_call());
  return base_.make_directory(path, permissions);
}

Status FaultyFileSystem::remove_directory(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.remove_directory(path);
}

Result<std::vector<std::string>> FaultyFileSystem::list(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.list(path);
}

Result<store::FileStat> FaultyFileSystem::stat(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.stat(path);
}

Result<store::FileStat> FaultyFileSystem::stat(int fd) {
  SHOAL_TRY(next_call());
  return base_.stat(fd);
}

Status FaultyFileSystem::set_mode(const std::string& path, mode_t permissions) {
  SHOAL_TRY(next_call());
  return base_.set_mode(path, permissions);
}

Status FaultyFileSystem::set_mtime(const std::string& path, std::int64_t mtime_ns) {
  SHOAL_TRY(next_call());
  return base_.set_mtime(path, mtime_ns);
}

Result<store::SpaceStat> FaultyFileSystem::space(const std::string& path) {
  SHOAL_TRY(next_call());
  return base_.space(path);
}

Status FaultyFileSystem::reflink(int from, int to) {
  SHOAL_TRY(next_call());
  return base_.reflink(from, to);
}

Result<std::uint64_t> FaultyFileSystem::next_data(int fd, std::uint64_t offset) {
  SHOAL_TRY(next_call());
  return base_.next_data(fd, offset);
}

Result<bool> FaultyFileSystem::try_lock(int fd) {
  SHOAL_TRY(next_call());
  return base_.try_lock(fd);
}

}  // namespace shoal::fakes
