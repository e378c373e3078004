#include "core/store/ready_map.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "core/store/ready_writer.h"
#include "tests/core/store/sample_blob.h"
#include "tests/fakes/temp_directory.h"
#include "tests/fakes/test_seed.h"

namespace shoal::store {
namespace {

using content::BlobLayout;
using content::Digest;
using content::PieceIndex;
using content::PieceSet;
using std::chrono::steady_clock;

steady_clock::time_point soon() { return steady_clock::now() + std::chrono::seconds(60); }

class ReadyMap : public testing::Test {
 protected:
  ReadyMap() : ReadyMap(200 * kPiece - 1) {}
  explicit ReadyMap(std::uint64_t size) : layout_(size), digest_(content::digest_of("a blob")) {}

  std::unique_ptr<ReadyWriter> make(const PieceSet& set, std::uint64_t epoch = 7) {
    auto writer = ReadyWriter::create(real_file_system(), path(), digest_, layout_, epoch, set);
    EXPECT_TRUE(writer) << writer.error().str();
    return writer ? *std::move(writer) : nullptr;
  }
  std::unique_ptr<ReadyWriter> make() { return make(PieceSet(layout_.piece_count())); }
  Result<ReadyReader> read(const ReadyWriter& writer) {
    auto fd = writer.open_for_reader();
    EXPECT_TRUE(fd);
    return ReadyReader::open(fd->get(), digest_, layout_);
  }
  std::string path() const { return directory_ / "map"; }

  const BlobLayout layout_;
  const Digest digest_;
  // On a tmpfs, as in production.
  fakes::TempDirectory directory_{::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"};
};

TEST_F(ReadyMap, ReadersSeeWhatIsPublished) {
  auto writer = make();
  auto reader = read(*writer);
  ASSERT_TRUE(reader) << reader.error().str();
  EXPECT_EQ(reader->state(), ReadyState::kLive);
  EXPECT_EQ(reader->epoch(), 7u);
  EXPECT_EQ(writer->publish(pieces(60, 10)), 10u);  // over a word's edge
  EXPECT_EQ(writer->publish(pieces(65, 10)), 5u);
  EXPECT_EQ(writer->publish(pieces(65, 10)), 0u);
  EXPECT_TRUE(*reader->ready(pieces(60, 15)));
  EXPECT_FALSE(*reader->ready(pieces(59, 2)));
  EXPECT_FALSE(*reader->ready(pieces(74, 2)));
  EXPECT_TRUE(*reader->ready(pieces(0, 0)));
  auto set = reader->snapshot();
  ASSERT_TRUE(set);
  EXPECT_EQ(set->count(), 15u);
  EXPECT_TRUE(set->contains(pieces(60, 15)));
  EXPECT_EQ(*set, writer->snapshot());
  EXPECT_EQ(writer->publish(pieces(0, 200)), 185u);
  EXPECT_EQ(reader->state(), ReadyState::kComplete);
  EXPECT_TRUE(reader->snapshot()->all());
}

TEST_F(ReadyMap, StartsWithAGivenSet) {
  PieceSet set(layout_.piece_count());
  set.set_range(pieces(3, 100));
  auto writer = make(set);
  EXPECT_EQ(writer->count(), 100u);
  EXPECT_EQ(*read(*writer)->snapshot(), set);
  auto full = make(PieceSet::full(layout_.piece_count()));
  EXPECT_EQ(read(*full)->state(), ReadyState::kComplete);
}

TEST_F(ReadyMap, IsReadOnlyForReaders) {
  auto writer = make();
  auto fd = writer->open_for_reader();
  ASSERT_TRUE(fd);
  EXPECT_LT(::write(fd->get(), "x", 1), 0);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
  struct ::stat st {};
  ASSERT_EQ(::fstat(fd->get(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0444u);
}

TEST_F(ReadyMap, SaysWhyNothingMayBeReadAnyMore) {
  auto writer = make(PieceSet::full(layout_.piece_count()));
  auto reader = read(*writer);
  writer->revoke();
  EXPECT_EQ(reader->ready(pieces(0)).error().code(), Errc::kConflict);
  EXPECT_EQ(reader->snapshot().error().code(), Errc::kConflict);
  writer->withdraw();
  EXPECT_EQ(reader->ready(pieces(0)).error().code(), Errc::kCorrupt);
  EXPECT_EQ(reader->wait(pieces(0), soon()).error().code(), Errc::kCorrupt);
}

TEST_F(ReadyMap, ANewInodeLeavesTheOldOneToItsReaders) {
  auto first = make(PieceSet::full(layout_.piece_count()), 1);
  auto old_reader = read(*first);
  auto second = make(PieceSet(layout_.piece_count()), 2);
  EXPECT_TRUE(*old_reader->ready(pieces(0, 200)));
  EXPECT_FALSE(*read(*second)->ready(pieces(0)));
}

TEST_F(ReadyMap, RevokesALeftover) {
  auto writer = make();
  auto reader = read(*writer);
  writer.reset();
  ReadyWriter::revoke_leftover(real_file_system(), path());
  EXPECT_EQ(reader->state(), ReadyState::kRevoked);
  // Something else under that name stays as it is.
  ASSERT_TRUE(replace_file(real_file_system(), path(), as_bytes(std::string(200, 'x')), 0644));
  ReadyWriter::revoke_leftover(real_file_system(), path());
  EXPECT_EQ(*read_file(real_file_system(), path(), 300),
            std::vector<std::byte>(200, std::byte{'x'}));
}

TEST_F(ReadyMap, WaitsUntilTheDeadline) {
  auto writer = make();
  auto reader = read(*writer);
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(30);
  auto waited = reader->wait(pieces(0), deadline);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code(), Errc::kTimedOut);
  EXPECT_GE(steady_clock::now(), deadline);
  EXPECT_FALSE(reader->wait_for_change(reader->change_count(), steady_clock::now()));
  EXPECT_TRUE(reader->wait_for_change(reader->change_count() - 1, soon()));
}

TEST_F(ReadyMap, WakesWaitersInThisProcess) {
  auto writer = make();
  auto reader = read(*writer);
  std::thread waiter([&] { EXPECT_TRUE(reader->wait(pieces(0, 200), soon())); });
  for (std::uint32_t piece = 0; piece < 200; ++piece) writer->publish(pieces(piece));
  waiter.join();
}

TEST_F(ReadyMap, RevocationWakesWaiters) {
  auto writer = make();
  auto reader = read(*writer);
  std::thread waiter(
      [&] { EXPECT_EQ(reader->wait(pieces(0), soon()).error().code(), Errc::kConflict); });
  writer->revoke();
  waiter.join();
}

// The real thing: a reader in another process, which has nothing but two read-only descriptors,
// reads each piece the moment its bit appears and must find the bytes.
TEST_F(ReadyMap, AnotherProcessReadsEveryPieceRightWhenItsBitAppears) {
  const std::uint64_t seed = fakes::test_seed();
  const SampleBlob sample = sample_blob(200 * kPiece - 1, seed);
  UniqueFd data(::open((directory_ / "data").c_str(), O_RDWR | O_CREAT, 0444));
  ASSERT_TRUE(data);
  ASSERT_EQ(::ftruncate(data.get(), static_cast<off_t>(sample.data.size())), 0);
  auto writer = ReadyWriter::create(real_file_system(), path(), sample.digest(), sample.layout(), 1,
                                    PieceSet(sample.layout().piece_count()));
  ASSERT_TRUE(writer);
  auto ready_fd = (*writer)->open_for_reader();
  UniqueFd data_fd(::open((directory_ / "data").c_str(), O_RDONLY));
  ASSERT_TRUE(ready_fd && data_fd);

  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Only _exit from here: 0 is good, other numbers say what was wrong.
    auto reader = ReadyReader::open(ready_fd->get(), sample.digest(), sample.layout());
    if (!reader) ::_exit(1);
    const auto* mapped = static_cast<const std::byte*>(
        ::mmap(nullptr, sample.data.size(), PROT_READ, MAP_SHARED, data_fd.get(), 0));
    if (mapped == MAP_FAILED) ::_exit(2);
    // First in order with wait(), then the rest by watching for changes.
    for (PieceIndex piece(0); piece.value() < 100; ++piece) {
      if (!reader->wait({piece, 1}, soon())) ::_exit(3);
      const ByteRange range = sample.layout().range_of(piece);
      if (std::memcmp(mapped + range.offset, sample.data.data() + range.offset, range.length) !=
          0) {
        ::_exit(4);
      }
    }
    PieceSet seen(sample.layout().piece_count());
    while (!seen.all()) {
      const std::uint32_t count = reader->change_count();
      auto now = reader->snapshot();
      if (!now) ::_exit(5);
      if (!(seen - *now).none()) ::_exit(6);  // a bit went back to 0
      for (auto piece = (*now - seen).first_set(); piece; piece = (*now - seen).first_set()) {
        const ByteRange range = sample.layout().range_of(*piece);
        if (std::memcmp(mapped + range.offset, sample.data.data() + range.offset, range.length) !=
            0) {
          ::_exit(7);
        }
        seen.set(*piece);
      }
      if (!seen.all() && !reader->wait_for_change(count, soon())) ::_exit(8);
    }
    ::_exit(reader->state() == ReadyState::kComplete ? 0 : 9);
  }
  std::vector<std::uint32_t> order(sample.layout().piece_count());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  SeededRandom random(seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  for (std::uint32_t piece : order) {
    const auto bytes = sample.bytes(piece);
    ASSERT_TRUE(
        real_file_system().pwrite(data.get(), bytes, sample.layout().offset_of(PieceIndex(piece))));
    (*writer)->publish(pieces(piece));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// --- files nobody should have to trust ---

class HostileMap : public ReadyMap {
 protected:
  HostileMap() : ReadyMap(70 * kPiece) {
    auto writer = make();
    writer->publish(pieces(0, 3));
    good_ = *read_file(real_file_system(), path(), 10'000);
  }
  Errc open_code(std::span<const std::byte> bytes) {
    EXPECT_TRUE(replace_file(real_file_system(), directory_ / "hostile", bytes));
    auto fd = real_file_system().open(directory_ / "hostile", OpenMode::kRead);
    auto reader = ReadyReader::open(fd->get(), digest_, layout_);
    return reader ? Errc::kInternal : reader.error().code();
  }
  std::vector<std::byte> good_;
};

TEST_F(HostileMap, IsRefusedWhenShortOrLong) {
  EXPECT_EQ(good_.size(), ready_file_size(70));
  EXPECT_EQ(open_code(good_), Errc::kInternal);  // that is: it opens
  for (std::size_t length = 0; length < good_.size(); ++length) {
    ASSERT_EQ(open_code(std::span(good_).first(length)), Errc::kCorrupt) << length;
  }
  good_.push_back(std::byte{0});
  EXPECT_EQ(open_code(good_), Errc::kCorrupt);
}

TEST_F(HostileMap, IsRefusedWhenItsHeaderIsWrong) {
  // magic, format, state, piece count, blob size, digest; seq and epoch may be anything.
  for (std::size_t at : {0, 7, 8, 11, 13, 20, 24, 31, 40, 71}) {
    std::vector<std::byte> bad = good_;
    bad[at] ^= std::byte{0x80};
    EXPECT_EQ(open_code(bad), Errc::kCorrupt) << "byte " << at;
  }
  std::vector<std::byte> bad = good_;
  bad[12] = std::byte{0};
  EXPECT_EQ(open_code(bad), Errc::kCorrupt);
}

TEST_F(HostileMap, BitsBeyondTheEndDoNotCount) {
  std::memset(good_.data() + sizeof(ReadyHeader), 0xff, 16);
  ASSERT_TRUE(replace_file(real_file_system(), directory_ / "hostile", good_));
  auto fd = real_file_system().open(directory_ / "hostile", OpenMode::kRead);
  auto reader = ReadyReader::open(fd->get(), digest_, layout_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->snapshot()->count(), 70u);
}

TEST_F(HostileMap, IsRefusedWhenItIsNoFile) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  UniqueFd in(fds[0]);
  UniqueFd out(fds[1]);
  EXPECT_FALSE(ReadyReader::open(in.get(), digest_, layout_));
  UniqueFd directory(::open(directory_.path().c_str(), O_RDONLY));
  EXPECT_FALSE(ReadyReader::open(directory.get(), digest_, layout_));
  EXPECT_FALSE(ReadyReader::open(-1, digest_, layout_));
}

}  // namespace
}  // namespace shoal::store
