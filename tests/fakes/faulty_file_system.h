// Passes everything to another file system, counts the calls, and fails one of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/store/file_system.h"

namespace shoal::fakes {

enum class Fault {
  kIoError,     // the call fails with EIO and does nothing
  kNoSpace,     // the call fails with ENOSPC and does nothing
  kShortWrite,  // a write puts down its first half, then ENOSPC; other calls as kNoSpace
  kStop,        // the process is dead: a write puts down its first half; every later call fails
};

class FaultyFileSystem final : public store::FileSystem {
 public:
  explicit FaultyFileSystem(store::FileSystem& base) : base_(base) {}

  // The `nth` call from now (1 is the next) fails. 0: none.
  void fail_call(std::uint64_t nth, Fault fault);
  // Whether the chosen call came.
  bool failed() const { return failed_; }
  std::uint64_t calls() const { return calls_; }

  Result<UniqueFd> open(const std::string& path, store::OpenMode mode, mode_t permissions) override;
  Result<UniqueFd> reopen_read_only(int fd) override;
  Result<std::size_t> pread(int fd, std::span<std::byte> out, std::uint64_t offset) override;
  Status pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override;
  Status set_size(int fd, std::uint64_t size) override;
  Status preallocate(int fd, std::uint64_t size) override;
  Status sync_data(int fd) override;
  Status start_writeback(int fd, std::uint64_t offset, std::uint64_t length, bool wait) override;
  Status sync_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status unlink(const std::string& path) override;
  Status make_directory(const std::string& path, mode_t permissions) override;
  Status remove_directory(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& path) override;
  Result<store::FileStat> stat(const std::string& path) override;
  Result<store::FileStat> stat(int fd) override;
  Status set_mode(const std::string& path, mode_t permissions) override;
  Status set_mtime(const std::string& path, std::int64_t mtime_ns) override;
  Result<store::SpaceStat> space(const std::string& path) override;
  Status reflink(int from, int to) override;
  Result<std::uint64_t> next_data(int fd, std::uint64_t offset) override;
  Result<bool> try_lock(int fd) override;

 private:
  // The error this call has to fail with, if any.
  Status next_call();

  store::FileSystem& base_;
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::uint64_t> fail_at_{0};
  std::atomic<Fault> fault_{Fault::kIoError};
  std::atomic<bool> failed_{false};
  std::atomic<bool> stopped_{false};
};

}  // namespace shoal::fakes
