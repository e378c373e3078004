#include "tests/fakes/memory_file_system.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/check.h"

namespace shoal::fakes {
namespace {

constexpr std::size_t kBlock = 4096;

std::uint64_t inode_of(int fd) {
  struct ::stat st {};
  return ::fstat(fd, &st) == 0 ? st.st_ino : 0;
}

tl::unexpected<Error> os_error(const std::string& what, int value) {
  return fail(errno_error(what, value));
}

std::vector<std::byte> content_of(int fd) {
  auto st = store::real_file_system().stat(fd);
  std::vector<std::byte> bytes(st ? st->size : 0);
  SHOAL_CHECK(store::real_file_system().pread(fd, bytes, 0).has_value(), "memfd readable");
  return bytes;
}

}  // namespace

struct MemoryFileSystem::Node {
  bool directory = false;
  mode_t mode = 0600;
  std::int64_t mtime_ns = 0;
  std::uint64_t id = 0;
  // Directories
  std::map<std::string, NodePtr> names;
  std::map<std::string, NodePtr> durable_names;
  // Files
  UniqueFd content;
  std::vector<std::byte> durable_content;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> dirty;  // [from, to)
};

MemoryFileSystem::MemoryFileSystem(std::uint64_t capacity) : capacity_(capacity) {
  root_ = make_node(true);
}

MemoryFileSystem::~MemoryFileSystem() = default;

MemoryFileSystem::NodePtr MemoryFileSystem::make_node(bool directory) {
  auto node = std::make_shared<Node>();
  node->directory = directory;
  node->mtime_ns = ++clock_ns_;
  node->id = static_cast<std::uint64_t>(clock_ns_);
  if (!directory) give_content(node, {});
  return node;
}

void MemoryFileSystem::give_content(const NodePtr& node, std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create("memory-file", MFD_CLOEXEC));
  SHOAL_CHECK(static_cast<bool>(fd), "memfd_create");
  SHOAL_CHECK(store::real_file_system().pwrite(fd.get(), bytes, 0).has_value(), "memfd writable");
  if (node->content) by_inode_.erase(inode_of(node->content.get()));
  node->content = std::move(fd);
  node->dirty.clear();
  by_inode_[inode_of(node->content.get())] = node;
}

MemoryFileSystem::NodePtr MemoryFileSystem::find(const std::string& path) const {
  std::vector<NodePtr> trail{root_};
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string name = path.substr(at, end - at);
    at = end + 1;
    if (name.empty()) continue;
    if (name == "..") {
      if (trail.size() > 1) trail.pop_back();
      continue;
    }
    if (!trail.back()->directory) return nullptr;
    auto found = trail.back()->names.find(name);
    if (found == trail.back()->names.end()) return nullptr;
    trail.push_back(found->second);
  }
  return trail.back();
}

Result<std::pair<MemoryFileSystem::NodePtr, std::string>> MemoryFileSystem::parent_of(
    const std::string& path) const {
  std::size_t slash = path.rfind('/');
  SHOAL_CHECK(slash != std::string::npos && slash + 1 < path.size(), "an absolute path");
  NodePtr parent = find(path.substr(0, slash));
  if (!parent) return os_error(path, ENOENT);
  if (!parent->directory) return os_error(path, ENOTDIR);
  return std::pair(parent, path.substr(slash + 1));
}

MemoryFileSystem::NodePtr MemoryFileSystem::node_of(int fd) const {
  auto found = by_inode_.find(inode_of(fd));
  return found == by_inode_.end() ? nullptr : found->second.lock();
}

void MemoryFileSystem::apply(Change change) {
  for (const Change::Part& part : change.parts) {
    if (part.target) {
      part.directory->names[part.name] = part.target;
    } else {
      part.directory->names.erase(part.name);
    }
  }
  journal_.push_back(std::move(change));
}

void MemoryFileSystem::make_durable(const Change::Part& part) {
  if (part.target) {
    part.directory->durable_names[part.name] = part.target;
  } else {
    part.directory->durable_names.erase(part.name);
  }
}

std::uint64_t MemoryFileSystem::used() const {
  std::uint64_t bytes = 0;
  for (const auto& [inode, weak] : by_inode_) {
    auto node = weak.lock();
    if (!node) continue;
    auto st = store::real_file_system().stat(node->content.get());
    if (st) bytes += st->allocated;
  }
  return bytes;
}

Result<UniqueFd> MemoryFileSystem::open(const std::string& path, store::OpenMode mode,
                                        mode_t permissions) {
  std::lock_guard lock(mutex_);
  auto place = parent_of(path);
  if (!place) return fail(place.error());
  NodePtr node = find(path);
  const bool creates = mode == store::OpenMode::kCreate || mode == store::OpenMode::kCreateNew;
  if (node && mode == store::OpenMode::kCreateNew) return os_error("open " + path, EEXIST);
  if (node && node->directory) return os_error("open " + path, EISDIR);
  if (!node && !creates) return os_error("open " + path, ENOENT);
  if (!node) {
    node = make_node(false);
    node->mode = permissions;
    apply({{{place->first, place->second, node}}});
  }
  const std::string link = "/proc/self/fd/" + std::to_string(node->content.get());
  return store::real_file_system().open(
      link, mode == store::OpenMode::kRead ? store::OpenMode::kRead : store::OpenMode::kReadWrite);
}

Result<UniqueFd> MemoryFileSystem::reopen_read_only(int fd) {
  return store::real_file_system().reopen_read_only(fd);
}

Result<std::size_t> MemoryFileSystem::pread(int fd, std::span<std::byte> out,
                                            std::uint64_t offset) {
  return store::real_file_system().pread(fd, out, offset);
}

Status MemoryFileSystem::pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  std::lock_guard lock(mutex_);
  NodePtr node = node_of(fd);
  SHOAL_CHECK(node != nullptr, "a descriptor of this file system");
  // Like a disk: what fits is written, then it is full.
  const std::uint64_t before = used();
  const std::uint64_t free = capacity_ > before ? capacity_ - before : 0;
  auto st = store::real_file_system().stat(fd);
  const std::uint64_t unallocated =
      st ? std::max<std::uint64_t>(offset + bytes.size(), st->size) : 0;
  const bool fits = st && (unallocated <= st->allocated || unallocated - st->allocated <= free);
  if (!fits) {
    bytes = bytes.first(std::min<std::size_t>(bytes.size(), free / kBlock * kBlock));
  }
  node->mtime_ns = ++clock_ns_;
  node->dirty.emplace_back(offset, offset + bytes.size());
  SHOAL_TRY(store::real_file_system().pwrite(fd, bytes, offset));
  if (!fits) return os_error("write", ENOSPC);
  return {};
}

Status MemoryFileSystem::set_size(int fd, std::uint64_t size) {
  std::lock_guard lock(mutex_);
  if (NodePtr node = node_of(fd)) node->mtime_ns = ++clock_ns_;
  return store::real_file_system().set_size(fd, size);
}

Status MemoryFileSystem::preallocate(int fd, std::uint64_t size) {
  std::lock_guard lock(mutex_);
  auto st = store::real_file_system().stat(fd);
  if (!st) return fail(st.error());
  if (size > st->allocated && size - st->allocated > capacity_ - std::min(capacity_, used())) {
    return os_error("reserve space", ENOSPC);
  }
  return store::real_file_system().preallocate(fd, size);
}

Status MemoryFileSystem::sync_data(int fd) {
  std::lock_guard lock(mutex_);
  NodePtr node = node_of(fd);
  SHOAL_CHECK(node != nullptr, "a descriptor of this file system");
  node->durable_content = content_of(fd);
  node->dirty.clear();
  return {};
}

Status MemoryFileSystem::start_writeback(int, std::uint64_t, std::uint64_t, bool) { return {}; }

Status MemoryFileSystem::sync_directory(const std::string& path) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node || !node->directory) return os_error("sync directory " + path, ENOENT);
  std::vector<Change> rest;
  for (Change& change : journal_) {
    const bool ours = std::any_of(change.parts.begin(), change.parts.end(),
                                  [&](const auto& part) { return part.directory == node; });
    if (!ours) {
      rest.push_back(std::move(change));
      continue;
    }
    for (const Change::Part& part : change.parts) {
      make_durable(part);
      // What happened to the same name before is overtaken.
      for (Change& earlier : rest) {
        std::erase_if(earlier.parts, [&](const Change::Part& old) {
          return old.directory == part.directory && old.name == part.name;
        });
      }
    }
  }
  journal_ = std::move(rest);
  return {};
}

Status MemoryFileSystem::rename(const std::string& from, const std::string& to) {
  std::lock_guard lock(mutex_);
  auto source = parent_of(from);
  auto target = parent_of(to);
  NodePtr node = find(from);
  if (!source || !target || !node) return os_error("rename " + from, ENOENT);
  if (NodePtr old = find(to)) {
    if (old == node) return {};
    if (old->directory != node->directory) return os_error("rename to " + to, EISDIR);
    if (old->directory && !old->names.empty()) return os_error("rename to " + to, ENOTEMPTY);
  }
  apply({{{source->first, source->second, nullptr}, {target->first, target->second, node}}});
  return {};
}

Status MemoryFileSystem::unlink(const std::string& path) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node) return os_error("remove " + path, ENOENT);
  if (node->directory) return os_error("remove " + path, EISDIR);
  auto place = parent_of(path);
  apply({{{place->first, place->second, nullptr}}});
  return {};
}

Status MemoryFileSystem::make_directory(const std::string& path, mode_t permissions) {
  std::lock_guard lock(mutex_);
  auto place = parent_of(path);
  if (!place) return fail(place.error());
  if (find(path)) return os_error("make directory " + path, EEXIST);
  NodePtr node = make_node(true);
  node->mode = permissions;
  apply({{{place->first, place->second, node}}});
  return {};
}

Status MemoryFileSystem::remove_directory(const std::string& path) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node) return os_error("remove directory " + path, ENOENT);
  if (!node->directory) return os_error("remove directory " + path, ENOTDIR);
  if (!node->names.empty()) return os_error("remove directory " + path, ENOTEMPTY);
  auto place = parent_of(path);
  apply({{{place->first, place->second, nullptr}}});
  return {};
}

Result<std::vector<std::string>> MemoryFileSystem::list(const std::string& path) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node || !node->directory) return os_error("list " + path, ENOENT);
  std::vector<std::string> names;
  for (const auto& [name, child] : node->names) names.push_back(name);
  return names;
}

store::FileStat MemoryFileSystem::describe(const Node& node) const {
  store::FileStat stat;
  if (!node.directory) {
    auto real = store::real_file_system().stat(node.content.get());
    if (real) stat = *real;
  }
  stat.inode = node.id;
  stat.mtime_ns = node.mtime_ns;
  stat.directory = node.directory;
  stat.regular = !node.directory;
  return stat;
}

Result<store::FileStat> MemoryFileSystem::stat(const std::string& path) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node) return os_error("stat " + path, ENOENT);
  return describe(*node);
}

Result<store::FileStat> MemoryFileSystem::stat(int fd) {
  std::lock_guard lock(mutex_);
  NodePtr node = node_of(fd);
  if (!node) return store::real_file_system().stat(fd);
  return describe(*node);
}

Status MemoryFileSystem::set_mode(const std::string& path, mode_t permissions) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node) return os_error("change mode of " + path, ENOENT);
  node->mode = permissions;
  return {};
}

Status MemoryFileSystem::set_mtime(const std::string& path, std::int64_t mtime_ns) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  if (!node) return os_error("set time of " + path, ENOENT);
  node->mtime_ns = mtime_ns;
  return {};
}

Result<store::SpaceStat> MemoryFileSystem::space(const std::string&) {
  std::lock_guard lock(mutex_);
  return store::SpaceStat{.total = capacity_, .free = capacity_ - std::min(capacity_, used())};
}

Status MemoryFileSystem::reflink(int, int) {
  return fail(Errc::kUnavailable, "these files cannot share blocks");
}

Result<std::uint64_t> MemoryFileSystem::next_data(int fd, std::uint64_t offset) {
  return store::real_file_system().next_data(fd, offset);
}

Result<bool> MemoryFileSystem::try_lock(int fd) { return store::real_file_system().try_lock(fd); }

void MemoryFileSystem::corrupt(const std::string& path, std::uint64_t offset,
                               std::span<const std::byte> bytes) {
  std::lock_guard lock(mutex_);
  NodePtr node = find(path);
  SHOAL_CHECK(node && !node->directory, "a file to corrupt");
  SHOAL_CHECK(store::real_file_system().pwrite(node->content.get(), bytes, offset).has_value(),
              "memfd writable");
}

void MemoryFileSystem::power_cut() { restore(nullptr); }
void MemoryFileSystem::power_cut(SeededRandom& random) { restore(&random); }

void MemoryFileSystem::restore(SeededRandom* random) {
  std::lock_guard lock(mutex_);
  const std::size_t kept = random != nullptr ? random->below(journal_.size() + 1) : 0;
  for (std::size_t i = 0; i < kept; ++i) {
    for (const Change::Part& part : journal_[i].parts) make_durable(part);
  }
  journal_.clear();
  std::vector<NodePtr> todo{root_};
  std::vector<NodePtr> seen;
  while (!todo.empty()) {
    NodePtr node = todo.back();
    todo.pop_back();
    if (std::find(seen.begin(), seen.end(), node) != seen.end()) continue;
    seen.push_back(node);
    if (node->directory) {
      node->names = node->durable_names;
      for (const auto& [name, child] : node->names) todo.push_back(child);
      continue;
    }
    std::vector<std::byte> after = node->durable_content;
    if (random != nullptr) {
      const std::vector<std::byte> now = content_of(node->content.get());
      if (now.size() != after.size() && random->below(2) == 0) after.resize(now.size());
      for (auto [from, to] : node->dirty) {
        for (std::uint64_t at = from / kBlock * kBlock;
             at < std::min<std::uint64_t>(to, now.size()); at += kBlock) {
          if (at >= after.size() || random->below(2) == 0) continue;
          const std::size_t n = std::min({kBlock, after.size() - at, now.size() - at});
          std::memcpy(after.data() + at, now.data() + at, n);
        }
      }
    }
    give_content(node, after);
    node->durable_content = std::move(after);
  }
}

}  // namespace shoal::fakes
