#include "core/store/ready_writer.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "core/base/check.h"
#include "core/store/ready_bits.h"

namespace shoal::store {
namespace {

// Readers map the file read-only, so nobody can tell whether one sleeps: the call is made always.
// It costs less than a microsecond, once per batch of pieces.
void bump_and_wake(ReadyHeader& header) {
  __atomic_fetch_add(&header.seq, 1, __ATOMIC_RELEASE);
  ::syscall(SYS_futex, &header.seq, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

std::byte* map_shared(int fd, std::size_t length) {
  void* base = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

}  // namespace

Result<std::unique_ptr<ReadyWriter>> ReadyWriter::create(FileSystem& fs, const std::string& path,
                                                         const content::Digest& digest,
                                                         const content::BlobLayout& layout,
                                                         std::uint64_t epoch,
                                                         const content::PieceSet& pieces) {
  SHOAL_CHECK(pieces.size() == layout.piece_count(), "a set of another blob");
  const std::string fresh = path + ".new";
  const std::size_t length = ready_file_size(layout.piece_count());
  auto make = [&]() -> Result<std::unique_ptr<ReadyWriter>> {
    if (auto old = fs.unlink(fresh); !old && old.error().code() != Errc::kNotFound) {
      return fail(old.error());
    }
    auto fd = fs.open(fresh, OpenMode::kCreateNew, 0444);
    if (!fd) return fail(fd.error());
    // Without this a full tmpfs would answer the setting of a bit with SIGBUS.
    auto reserved = fs.preallocate(fd->get(), length);
    if (!reserved && reserved.error().code() == Errc::kUnavailable) {
      reserved = fs.pwrite(fd->get(), std::vector<std::byte>(length), 0);
    }
    if (!reserved) return fail(reserved.error());
    std::byte* base = map_shared(fd->get(), length);
    if (base == nullptr) return fail(errno_error("mapping " + fresh, errno));
    std::unique_ptr<ReadyWriter> writer(new ReadyWriter(fs, *std::move(fd), base, layout));
    ReadyHeader& header = writer->header();
    header.magic = ReadyHeader::kMagic;
    header.format = ReadyHeader::kFormat;
    header.state =
        static_cast<std::uint32_t>(pieces.all() ? ReadyState::kComplete : ReadyState::kLive);
    header.piece_count = layout.piece_count();
    header.blob_size = layout.size();
    header.epoch = epoch;
    header.digest = digest.bytes();
    std::copy(pieces.words().begin(), pieces.words().end(), writer->words());
    writer->count_ = pieces.count();
    return writer;
  };
  auto writer = make();
  // Only a whole map gets the name.
  auto named = writer ? fs.rename(fresh, path) : Status(fail(writer.error()));
  if (!named) {
    (void)fs.unlink(fresh).has_value();
    return fail(named.error().with_context("making the ready map of " + digest.str()));
  }
  return writer;
}

void ReadyWriter::revoke_leftover(FileSystem& fs, const std::string& path) {
  (void)fs.set_mode(path, 0600).has_value();  // makes it writable for an agent that is not root
  auto fd = fs.open(path, OpenMode::kReadWrite);
  if (!fd) return;
  auto st = fs.stat(fd->get());
  if (!st || st->size < sizeof(ReadyHeader)) return;
  std::byte* base = map_shared(fd->get(), sizeof(ReadyHeader));
  if (base == nullptr) return;
  auto& header = *reinterpret_cast<ReadyHeader*>(base);
  if (header.magic == ReadyHeader::kMagic && header.format == ReadyHeader::kFormat) {
    __atomic_store_n(&header.state, static_cast<std::uint32_t>(ReadyState::kRevoked),
                     __ATOMIC_RELEASE);
    bump_and_wake(header);
  }
  ::munmap(base, sizeof(ReadyHeader));
}

ReadyWriter::~ReadyWriter() { ::munmap(base_, ready_file_size(layout_.piece_count())); }

std::uint32_t ReadyWriter::publish(content::PieceRange pieces) {
  const std::uint32_t end = pieces.end().value();
  SHOAL_CHECK(end <= layout_.piece_count(), "pieces outside the blob");
  std::uint32_t fresh = 0;
  for (std::uint32_t at = pieces.first.value(); at < end;) {
    const std::uint32_t bit = at % 64;
    const std::uint32_t take = std::min<std::uint32_t>(64 - bit, end - at);
    const std::uint64_t mask = (take == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << take) - 1)
                               << bit;
    const std::uint64_t before = __atomic_fetch_or(&words()[at / 64], mask, __ATOMIC_RELEASE);
    fresh += static_cast<std::uint32_t>(__builtin_popcountll(mask & ~before));
    at += take;
  }
  if (fresh == 0) return 0;
  const std::uint32_t total = count_.fetch_add(fresh, std::memory_order_acq_rel) + fresh;
  if (total == layout_.piece_count()) {
    // Only from live: a map that failed or was revoked meanwhile stays so.
    auto expected = static_cast<std::uint32_t>(ReadyState::kLive);
    __atomic_compare_exchange_n(&header().state, &expected,
                                static_cast<std::uint32_t>(ReadyState::kComplete), false,
                                __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  }
  bump_and_wake(header());
  return fresh;
}

void ReadyWriter::set_state(ReadyState state) {
  __atomic_store_n(&header().state, static_cast<std::uint32_t>(state), __ATOMIC_RELEASE);
  bump_and_wake(header());
}

void ReadyWriter::withdraw() { set_state(ReadyState::kFailed); }

void ReadyWriter::revoke() { set_state(ReadyState::kRevoked); }

ReadyState ReadyWriter::state() const {
  return static_cast<ReadyState>(__atomic_load_n(&header().state, __ATOMIC_ACQUIRE));
}

bool ReadyWriter::has(content::PieceRange pieces) const {
  SHOAL_CHECK(pieces.first.value() <= layout_.piece_count() &&
                  pieces.count <= layout_.piece_count() - pieces.first.value(),
              "pieces outside the blob");
  return ready_bits_set(words(), pieces);
}

std::uint32_t ReadyWriter::count() const { return count_.load(std::memory_order_acquire); }

content::PieceSet ReadyWriter::snapshot() const {
  return ready_bits_snapshot(words(), layout_.piece_count());
}

std::uint64_t ReadyWriter::epoch() const { return header().epoch; }

Result<UniqueFd> ReadyWriter::open_for_reader() const { return fs_.reopen_read_only(fd_.get()); }

}  // namespace shoal::store
