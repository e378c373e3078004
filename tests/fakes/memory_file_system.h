// A file system in memory that knows what a power cut would leave: LevelDB's idea of crash testing.
// File contents live in memfds, so descriptors are real and can be mapped and passed on.
//
// What survives power_cut(): of a file what sync_data() covered; of a directory the names that
// sync_directory() covered. A rename is one step, also between two directories: syncing either
// makes both sides durable, as journalling file systems do. Modes and times always survive.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/store/file_system.h"

namespace shoal::fakes {

class MemoryFileSystem final : public store::FileSystem {
 public:
  explicit MemoryFileSystem(std::uint64_t capacity = std::uint64_t{1} << 30);
  ~MemoryFileSystem() override;

  // Everything not synced is gone. Descriptors from before are not of this world any more.
  void power_cut();
  // The other things a power cut can do: of what was not synced, a random beginning of the sequence
  // of name changes, and of every file a random choice of its 4 KiB blocks, survive.
  void power_cut(SeededRandom& random);

  // As written by somebody who does not go through this interface, for example a failing disk.
  void corrupt(const std::string& path, std::uint64_t offset, std::span<const std::byte> bytes);

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
  struct Node;
  using NodePtr = std::shared_ptr<Node>;
  // One change of names that a power cut keeps or loses as a whole.
  struct Change {
    struct Part {
      NodePtr directory;
      std::string name;
      NodePtr target;  // null: the name goes
    };
    std::vector<Part> parts;
  };

  NodePtr find(const std::string& path) const;
  Result<std::pair<NodePtr, std::string>> parent_of(const std::string& path) const;
  NodePtr node_of(int fd) const;
  NodePtr make_node(bool directory);
  void give_content(const NodePtr& node, std::span<const std::byte> bytes);
  void apply(Change change);
  static void make_durable(const Change::Part& part);
  std::uint64_t used() const;
  void restore(SeededRandom* random);
  store::FileStat describe(const Node& node) const;

  const std::uint64_t capacity_;
  mutable std::mutex mutex_;
  NodePtr root_;
  std::map<std::uint64_t, std::weak_ptr<Node>> by_inode_;  // of the memfds
  std::vector<Change> journal_;                            // not durable yet
  std::int64_t clock_ns_ = 1'000'000'000'000'000'000;
};

}  // namespace shoal::fakes
