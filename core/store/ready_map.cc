#include "core/store/ready_map.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/base/check.h"
#include "core/base/hex.h"
#include "core/store/ready_bits.h"

namespace shoal::store {
namespace {

// Sleeps while *word == seen, until `deadline`. The wait is absolute on CLOCK_MONOTONIC, which is
// what steady_clock counts. Shared, not private: the waker is another process. A read-only mapping
// is enough to wait on (futex(2)).
bool futex_wait(const std::uint32_t* word, std::uint32_t seen,
                std::chrono::steady_clock::time_point deadline) {
  auto ns = std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count());
  timespec until{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                 .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
  long rc =
      ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  return rc == 0 || errno != ETIMEDOUT;
}

Error bad_map(const std::string& what) { return Error(Errc::kCorrupt, "ready map: " + what); }

}  // namespace

bool ready_bits_set(const std::uint64_t* words, content::PieceRange pieces) {
  const std::uint32_t end = pieces.end().value();
  for (std::uint32_t at = pieces.first.value(); at < end;) {
    const std::uint32_t bit = at % 64;
    const std::uint32_t take = std::min<std::uint32_t>(64 - bit, end - at);
    const std::uint64_t mask = (take == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << take) - 1)
                               << bit;
    if ((__atomic_load_n(&words[at / 64], __ATOMIC_ACQUIRE) & mask) != mask) return false;
    at += take;
  }
  return true;
}

content::PieceSet ready_bits_snapshot(const std::uint64_t* words, std::uint32_t piece_count) {
  std::vector<std::byte> bytes((std::size_t{piece_count} + 7) / 8);
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    std::uint64_t word = __atomic_load_n(&words[i / 8], __ATOMIC_ACQUIRE);
    for (std::size_t k = 0; k < 8 && i + k < bytes.size(); ++k) {
      bytes[i + k] = static_cast<std::byte>(word >> (8 * k));
    }
  }
  if (piece_count % 8 != 0) bytes.back() &= static_cast<std::byte>((1u << (piece_count % 8)) - 1);
  auto set = content::PieceSet::from_bytes(piece_count, bytes);
  SHOAL_CHECK(set.has_value(), "a bitmap of the right length");
  return *std::move(set);
}

Result<ReadyReader> ReadyReader::open(int fd, const content::Digest& digest,
                                      const content::BlobLayout& layout) {
  struct ::stat st {};
  if (::fstat(fd, &st) != 0) return fail(errno_error("stat of the ready map", errno));
  const std::size_t length = ready_file_size(layout.piece_count());
  if (!S_ISREG(st.st_mode) || static_cast<std::uint64_t>(st.st_size) != length) {
    return fail(bad_map("is " + std::to_string(st.st_size) + " bytes long instead of " +
                        std::to_string(length)));
  }
  void* base = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return fail(errno_error("mapping the ready map", errno));
  ReadyReader reader(static_cast<const std::byte*>(base), length, layout);
  const ReadyHeader& header = reader.header();
  if (header.magic != ReadyHeader::kMagic) return fail(bad_map("wrong magic"));
  if (header.format != ReadyHeader::kFormat) {
    return fail(bad_map("format " + std::to_string(header.format) + " is not known, only " +
                        std::to_string(ReadyHeader::kFormat)));
  }
  if (header.piece_count != layout.piece_count() || header.blob_size != layout.size()) {
    return fail(bad_map("belongs to a blob of another size"));
  }
  if (header.digest != digest.bytes()) {
    return fail(bad_map("belongs to sha256:" + to_hex(header.digest)));
  }
  auto state = static_cast<std::uint32_t>(reader.state());
  if (state < 1 || state > 4) return fail(bad_map("unknown state " + std::to_string(state)));
  return reader;
}

ReadyReader::ReadyReader(ReadyReader&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      length_(std::exchange(other.length_, 0)),
      layout_(other.layout_) {}

ReadyReader& ReadyReader::operator=(ReadyReader&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(length_, other.length_);
  std::swap(layout_, other.layout_);
  return *this;
}

ReadyReader::~ReadyReader() {
  if (base_ != nullptr) ::munmap(const_cast<std::byte*>(base_), length_);
}

ReadyState ReadyReader::state() const {
  return static_cast<ReadyState>(__atomic_load_n(&header().state, __ATOMIC_ACQUIRE));
}

std::uint64_t ReadyReader::epoch() const { return header().epoch; }

Status ReadyReader::usable() const {
  // After the bits: a piece is only ready if the map still counts once its bit was seen.
  switch (state()) {
    case ReadyState::kFailed:
      return fail(Errc::kCorrupt, "this content was withdrawn, or its source changed");
    case ReadyState::kRevoked:
      return fail(Errc::kConflict, "this ready map was replaced: ask the agent for the new one");
    default:
      return {};
  }
}

Result<bool> ReadyReader::ready(content::PieceRange pieces) const {
  SHOAL_CHECK(pieces.first.value() <= layout_.piece_count() &&
                  pieces.count <= layout_.piece_count() - pieces.first.value(),
              "pieces outside the blob");
  bool set = ready_bits_set(words(), pieces);
  SHOAL_TRY(usable());
  return set;
}

Result<content::PieceSet> ReadyReader::snapshot() const {
  auto set = ready_bits_snapshot(words(), layout_.piece_count());
  SHOAL_TRY(usable());
  return set;
}

Status ReadyReader::wait(content::PieceRange pieces,
                         std::chrono::steady_clock::time_point deadline) const {
  while (true) {
    std::uint32_t seen = change_count();
    auto is_ready = ready(pieces);
    if (!is_ready) return fail(is_ready.error());
    if (*is_ready) return {};
    if (!wait_for_change(seen, deadline)) {
      return fail(Errc::kTimedOut, "pieces " + std::to_string(pieces.first.value()) + " to " +
                                       std::to_string(pieces.end().value() - 1) +
                                       " did not arrive in time");
    }
  }
}

std::uint32_t ReadyReader::change_count() const {
  return __atomic_load_n(&header().seq, __ATOMIC_ACQUIRE);
}

bool ReadyReader::wait_for_change(std::uint32_t seen,
                                  std::chrono::steady_clock::time_point deadline) const {
  while (change_count() == seen) {
    if (!futex_wait(&header().seq, seen, deadline)) return change_count() != seen;
  }
  return true;
}

}  // namespace shoal::store
