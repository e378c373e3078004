#include "agent/bittorrent/store_disk.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <cstring>
#include <filesystem>
#include <libtorrent/add_torrent_params.hpp>
#include <libtorrent/file_storage.hpp>
#include <libtorrent/performance_counters.hpp>
#include <libtorrent/posix_disk_io.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/settings_pack.hpp>
#include <libtorrent/torrent_info.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "tests/agent/bittorrent/seeded_model.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::agent::bittorrent {
namespace {

constexpr int kBlock = 16'384;

// The disk under test and what a session would be to it: this thread is the network thread.
class StoreDiskTest : public ::testing::Test {
 protected:
  StoreDiskTest()
      : info_(lt::span<const char>(model_.torrent().bytes.data(),
                                   static_cast<std::ptrdiff_t>(model_.torrent().bytes.size())),
              lt::from_span) {}
  ~StoreDiskTest() override {
    storage_.reset();
    disk_.reset();
    network_.run();  // whatever was posted last
    blobs_.clear();
  }

  void start(std::size_t threads = 3) {
    DiskParts parts{blobs_, *buffers_,
                    [this](const content::TruncatedInfoHash& torrent,
                           const content::Hash32& root) -> std::optional<content::Digest> {
                      EXPECT_EQ(torrent, model_.torrent().info_hash.truncated());
                      auto it = model_.files().find(root);
                      if (!known_ || it == model_.files().end()) return std::nullopt;
                      return it->second;
                    },
                    pace_,
                    [this](const content::TruncatedInfoHash& torrent, const Error& why) {
                      EXPECT_EQ(torrent, model_.torrent().info_hash.truncated());
                      std::lock_guard lock(failures_mutex_);
                      failures_.push_back(why.str());
                    }};
    auto disk = std::make_unique<StoreDisk>(network_, std::move(parts), threads);
    store_disk_ = disk.get();
    disk_ = std::move(disk);
    storage_.emplace(new_torrent(*disk_));
  }

  lt::storage_holder new_torrent(lt::disk_interface& disk, const std::string& folder = "/") {
    const lt::aux::vector<lt::download_priority_t, lt::file_index_t> priorities;
    return disk.new_torrent(
        lt::storage_params(info_.files(), nullptr, folder, lt::storage_mode_sparse, priorities,
                           info_.info_hashes().get_best()),
        nullptr);
  }

  // Runs what was posted to this thread until `done`.
  template <typename F>
  void run_until(F done) {
    auto work = boost::asio::make_work_guard(network_);
    while (!done()) network_.run_one();
    network_.restart();
  }

  struct Answer {
    std::string bytes;
    lt::error_code error;
  };
  Answer read(lt::disk_interface& disk, lt::storage_index_t index, int piece, int start,
              int length) {
    std::optional<Answer> answer;
    disk.async_read(index, {lt::piece_index_t(piece), start, length},
                    [&](lt::disk_buffer_holder buffer, const lt::storage_error& error) {
                      answer.emplace();
                      answer->error = error.ec;
                      if (buffer.data() != nullptr) {
                        answer->bytes.assign(buffer.data(), static_cast<std::size_t>(length));
                      }
                    });
    disk.submit_jobs();
    run_until([&] { return answer.has_value(); });
    return *answer;
  }
  Answer read(int piece, int start, int length) {
    return read(*disk_, *storage_, piece, start, length);
  }

  struct Leaves {
    std::vector<lt::sha256_hash> hashes;
    lt::error_code error;
  };
  Leaves hash(lt::disk_interface& disk, lt::storage_index_t index, int piece, std::size_t count,
              lt::disk_job_flags_t flags = {}) {
    std::optional<lt::error_code> error;
    Leaves out;
    out.hashes.resize(count);
    disk.async_hash(
        index, lt::piece_index_t(piece), out.hashes, flags,
        [&](lt::piece_index_t which, const lt::sha1_hash&, const lt::storage_error& failure) {
          EXPECT_EQ(which, lt::piece_index_t(piece));
          error = failure.ec;
        });
    disk.submit_jobs();
    run_until([&] { return error.has_value(); });
    out.error = *error;
    return out;
  }
  std::pair<lt::sha256_hash, lt::error_code> hash2(lt::disk_interface& disk,
                                                   lt::storage_index_t index, int piece,
                                                   int offset) {
    std::optional<std::pair<lt::sha256_hash, lt::error_code>> answer;
    disk.async_hash2(index, lt::piece_index_t(piece), offset, {},
                     [&](lt::piece_index_t, const lt::sha256_hash& hash,
                         const lt::storage_error& error) { answer.emplace(hash, error.ec); });
    disk.submit_jobs();
    run_until([&] { return answer.has_value(); });
    return *answer;
  }

  // libtorrent's own disk, over the same files in a folder.
  struct Reference {
    Reference(StoreDiskTest& test, lt::io_context& network) {
      test.model_.write_to(folder.path());
      disk = lt::posix_disk_io_constructor(network, settings, counters);
      storage.emplace(test.new_torrent(*disk, folder.path()));
    }
    ~Reference() { storage.reset(); }
    fakes::TempDirectory folder;
    lt::settings_pack settings;
    lt::counters counters;
    std::unique_ptr<lt::disk_interface> disk;
    std::optional<lt::storage_holder> storage;
  };

  int piece_of(const std::string& path) const {
    const lt::file_storage& files = info_.files();
    for (lt::file_index_t file : files.file_range()) {
      if (files.file_path(file) == model_.torrent().name + "/" + path) {
        return static_cast<int>(files.file_offset(file) / files.piece_length());
      }
    }
    ADD_FAILURE() << path;
    return 0;
  }
  int pieces() const { return info_.num_pieces(); }
  int size_of(int piece) const { return info_.piece_size(lt::piece_index_t(piece)); }

  SeededModel model_;
  lt::torrent_info info_;
  lt::io_context network_;
  OpenBlobs blobs_{[this](const content::Digest& blob) { return model_.store()->find(blob); }};
  std::unique_ptr<BufferPool> buffers_ = std::make_unique<BufferPool>(64);
  decltype(DiskParts::pace) pace_;
  bool known_ = true;
  std::mutex failures_mutex_;
  std::vector<std::string> failures_;  // guarded by failures_mutex_
  std::unique_ptr<lt::disk_interface> disk_;
  StoreDisk* store_disk_ = nullptr;  // the same
  std::optional<lt::storage_holder> storage_;
};

TEST_F(StoreDiskTest, ReadsWhatLibtorrentReadsAcrossFilesAndPadding) {
  start();
  Reference reference(*this, network_);
  SeededRandom random(test_seed());
  auto check = [&](int piece, int begin, int length) {
    Answer ours = read(piece, begin, length);
    Answer theirs = read(*reference.disk, *reference.storage, piece, begin, length);
    ASSERT_FALSE(ours.error) << ours.error.message();
    ASSERT_FALSE(theirs.error) << theirs.error.message();
    ASSERT_EQ(ours.bytes, theirs.bytes) << piece << " " << begin << " " << length;
  };
  for (int piece = 0; piece < pieces(); ++piece) {
    for (int begin = 0; begin < size_of(piece); begin += kBlock) {
      check(piece, begin, std::min(kBlock, size_of(piece) - begin));
    }
    for (int i = 0; i < 20; ++i) {
      const int begin = static_cast<int>(random.below(static_cast<std::uint64_t>(size_of(piece))));
      const int most = std::min(kBlock, size_of(piece) - begin);
      check(piece, begin, 1 + static_cast<int>(random.below(static_cast<std::uint64_t>(most))));
    }
  }
  // Every alignment at the end of a file: what follows it reads as zeros.
  for (const char* path : {"a/one", "a/leaf-1", "a/leaf+1", "b/piece-1"}) {
    const int piece = piece_of(path);
    const int end = static_cast<int>(model_.blobs().at(path).bytes.size());
    for (int begin = std::max(0, end - 3); begin <= std::min(end + 3, size_of(piece) - 8);
         ++begin) {
      for (int length = 1; length <= 8; ++length) check(piece, begin, length);
    }
  }
  EXPECT_TRUE(failures_.empty());
}

TEST_F(StoreDiskTest, HashesAreThoseOfLibtorrent) {
  start();
  Reference reference(*this, network_);
  for (int piece = 0; piece < pieces(); ++piece) {
    const auto count =
        static_cast<std::size_t>(info_.files().blocks_in_piece2(lt::piece_index_t(piece)));
    Leaves ours = hash(*disk_, *storage_, piece, count);
    Leaves theirs = hash(*reference.disk, *reference.storage, piece, count);
    ASSERT_FALSE(ours.error) << ours.error.message();
    ASSERT_EQ(ours.hashes, theirs.hashes) << piece;
    for (std::size_t block = 0; block < count; ++block) {
      const int offset = static_cast<int>(block) * kBlock;
      auto one = hash2(*disk_, *storage_, piece, offset);
      ASSERT_FALSE(one.second);
      ASSERT_EQ(one.first, theirs.hashes[block]) << piece << " " << block;
    }
    EXPECT_TRUE(hash2(*disk_, *storage_, piece, static_cast<int>(count) * kBlock).second);
    EXPECT_TRUE(hash2(*disk_, *storage_, piece, 1).second);
    EXPECT_TRUE(hash2(*disk_, *storage_, piece, -kBlock).second);
  }
  EXPECT_TRUE(hash(*disk_, *storage_, pieces(), 4).error);
  EXPECT_TRUE(hash(*disk_, *storage_, piece_of("b/piece"), 1).error);  // no room for four
  EXPECT_TRUE(hash(*disk_, *storage_, 0, 4, lt::disk_interface::v1_hash).error);
}

TEST_F(StoreDiskTest, RefusesRequestsOutsideTheTorrent) {
  start();
  EXPECT_TRUE(read(pieces(), 0, 1).error);
  EXPECT_TRUE(read(pieces() - 1, size_of(pieces() - 1), 1).error);
  EXPECT_TRUE(read(0, 0, kBlock + 1).error);
  EXPECT_FALSE(read(0, 0, kBlock).error);
  EXPECT_TRUE(failures_.empty());  // that is no fault of the torrent's
}

TEST_F(StoreDiskTest, ManyJobsAreEachAnsweredOnceWithFewBuffers) {
  buffers_ = std::make_unique<BufferPool>(5);  // fewer than the threads' batches
  start(4);
  int wanted = 0;
  int answered = 0;
  std::vector<lt::disk_buffer_holder> kept;
  for (int round = 0; round < 20; ++round) {
    for (int piece = 0; piece < pieces(); ++piece) {
      ++wanted;
      disk_->async_read(*storage_, {lt::piece_index_t(piece), 0, kBlock},
                        [&](lt::disk_buffer_holder buffer, const lt::storage_error& error) {
                          EXPECT_FALSE(error.ec);
                          ++answered;
                          // As in a peer's send buffer: freed later, not in order.
                          kept.push_back(std::move(buffer));
                          if (kept.size() > 3) kept.erase(kept.begin() + 1);
                        });
    }
    disk_->submit_jobs();
  }
  run_until([&] { return answered == wanted; });
  kept.clear();
  EXPECT_EQ(buffers_->in_use(), 0u);
}

TEST_F(StoreDiskTest, WhatIsReadIsSafeFromEvictionUntilItIsClosed) {
  start();
  const int piece = piece_of("b/weights");
  const content::Digest& digest = model_.digest("b/weights");
  const Answer before = read(piece, 0, kBlock);
  ASSERT_FALSE(before.error);
  store::EvictionChoice everything;
  for (const auto& [path, blob] : model_.blobs()) everything.blobs.push_back(blob.table.digest());
  model_.store()->evict(everything);
  EXPECT_TRUE(model_.store()->info(digest));
  EXPECT_FALSE(model_.store()->info(model_.digest("c")));
  EXPECT_EQ(read(piece, 0, kBlock).bytes, before.bytes);
  // What nobody had read is gone, and says so.
  EXPECT_EQ(read(piece_of("c"), 0, kBlock).error, boost::system::errc::no_such_file_or_directory);
  EXPECT_EQ(failures_.size(), 1u);

  blobs_.close_unused_since(OpenBlobs::Clock::time_point::max());
  EXPECT_EQ(blobs_.size(), 0u);
  model_.store()->evict(everything);
  EXPECT_FALSE(model_.store()->info(digest));
  EXPECT_TRUE(read(piece, 0, kBlock).error);
  EXPECT_EQ(failures_.size(), 2u);
}

TEST_F(StoreDiskTest, AWithdrawnBlobIsNotReadAnyMore) {
  start();
  const int piece = piece_of("b/weights");
  ASSERT_FALSE(read(piece, 0, kBlock).error);
  model_.store()->find(model_.digest("b/weights")).value()->withdraw("it lies");
  EXPECT_TRUE(read(piece, 0, kBlock).error);
  EXPECT_TRUE(hash(*disk_, *storage_, piece, 4).error);
  ASSERT_EQ(failures_.size(), 2u);
  EXPECT_NE(failures_[0].find("withdrawn"), std::string::npos) << failures_[0];
  EXPECT_EQ(blobs_.size(), 0u);
}

TEST_F(StoreDiskTest, ATorrentThatIsNotKnownFailsItsCheckAndItsReads) {
  known_ = false;
  start();
  std::optional<lt::status_t> status;
  disk_->async_check_files(*storage_, nullptr, {},
                           [&](lt::status_t found, const lt::storage_error&) { status = found; });
  run_until([&] { return status.has_value(); });
  EXPECT_EQ(*status, lt::status_t::fatal_disk_error);
  EXPECT_TRUE(read(0, 0, 1).error);
}

TEST_F(StoreDiskTest, NothingIsWritten) {
  start();
  std::optional<lt::error_code> written;
  const std::string bytes(kBlock, 'x');
  EXPECT_FALSE(disk_->async_write(*storage_, {lt::piece_index_t(piece_of("b/piece")), 0, kBlock},
                                  bytes.data(), nullptr,
                                  [&](const lt::storage_error& error) { written = error.ec; }, {}));
  run_until([&] { return written.has_value(); });
  EXPECT_EQ(*written, boost::system::errc::read_only_file_system);
  EXPECT_TRUE(
      holds(*model_.store()->find(model_.digest("b/piece")).value(), model_.blobs().at("b/piece")));
}

TEST_F(StoreDiskTest, ReadsWaitForTheUploadLimit) {
  std::atomic<int> refused = 0;
  std::atomic<std::uint64_t> taken = 0;
  pace_ = [&](std::uint64_t bytes,
              DiskParts::Clock::time_point now) -> std::optional<DiskParts::Clock::time_point> {
    if (refused.fetch_add(1) % 3 != 2) return now;  // not yet: ask again at once
    taken += bytes;
    return std::nullopt;
  };
  start();
  EXPECT_FALSE(read(piece_of("c"), 0, kBlock).error);
  EXPECT_FALSE(read(piece_of("c"), 5, 100).error);
  EXPECT_EQ(taken.load(), std::uint64_t{kBlock} + 100);
  EXPECT_EQ(refused.load(), 6);
}

// The network thread of a session ends only when nothing is left for it to do.
TEST_F(StoreDiskTest, AbortAnswersEverythingAndLetsTheNetworkThreadEnd) {
  buffers_ = std::make_unique<BufferPool>(2);
  std::atomic<bool> limited = false;
  pace_ = [&](std::uint64_t,
              DiskParts::Clock::time_point) -> std::optional<DiskParts::Clock::time_point> {
    if (!limited) return std::nullopt;
    return DiskParts::Clock::time_point::max();
  };
  for (int round = 0; round < 20; ++round) {
    limited = round % 4 == 3;  // jobs that wait for the limit, and others for a buffer
    start(3);
    int wanted = 0;
    int answered = 0;
    int read = 0;
    std::vector<lt::disk_buffer_holder> kept;
    for (int i = 0; i < 50; ++i) {
      ++wanted;
      disk_->async_read(*storage_, {lt::piece_index_t(i % pieces()), 0, kBlock},
                        [&](lt::disk_buffer_holder buffer, const lt::storage_error& error) {
                          ++answered;
                          if (!error.ec) ++read;
                          kept.push_back(std::move(buffer));
                        });
      if (i == 30) disk_->submit_jobs();
    }
    std::vector<lt::sha256_hash> leaves(4);
    ++wanted;
    disk_->async_hash(
        *storage_, lt::piece_index_t(piece_of("c")), leaves, {},
        [&](lt::piece_index_t, const lt::sha1_hash&, const lt::storage_error&) { ++answered; });
    if (round % 2 == 0) {
      disk_->submit_jobs();
      if (!limited) run_until([&] { return read > 0; });
    }
    disk_->abort(false);
    network_.run();  // returns when all work is done
    network_.restart();
    EXPECT_EQ(answered, wanted);
    kept.clear();
    // Jobs that come later are answered too.
    bool late = false;
    disk_->async_read(*storage_, {lt::piece_index_t(0), 0, 1},
                      [&](lt::disk_buffer_holder, const lt::storage_error& error) {
                        EXPECT_EQ(error.ec, boost::system::errc::operation_canceled);
                        late = true;
                      });
    disk_->submit_jobs();
    network_.run();
    network_.restart();
    EXPECT_TRUE(late);
    storage_.reset();
    disk_.reset();
    EXPECT_EQ(buffers_->in_use(), 0u);
  }
}

TEST_F(StoreDiskTest, GivingUpEndsReadsThatWaitAndThoseThatComeLater) {
  pace_ = [](std::uint64_t, DiskParts::Clock::time_point) {
    return std::optional(DiskParts::Clock::time_point::max());
  };
  start(2);
  int answered = 0;
  auto ask = [&] {
    disk_->async_read(*storage_, {lt::piece_index_t(piece_of("c")), 0, kBlock},
                      [&](lt::disk_buffer_holder, const lt::storage_error& error) {
                        EXPECT_EQ(error.ec, boost::system::errc::operation_canceled);
                        ++answered;
                      });
    disk_->submit_jobs();
  };
  for (int i = 0; i < 10; ++i) ask();
  store_disk_->give_up();
  run_until([&] { return answered == 10; });
  ask();
  run_until([&] { return answered == 11; });
}

// A torrent may go while its jobs run; its place is used again.
TEST_F(StoreDiskTest, ATorrentMayBeRemovedWhileItIsRead) {
  start();
  int answered = 0;
  for (int round = 0; round < 50; ++round) {
    for (int piece = 0; piece < pieces(); ++piece) {
      disk_->async_read(*storage_, {lt::piece_index_t(piece), 0, kBlock},
                        [&](lt::disk_buffer_holder, const lt::storage_error& error) {
                          EXPECT_FALSE(error.ec);
                          ++answered;
                        });
    }
    disk_->submit_jobs();
    const lt::storage_index_t place = *storage_;
    storage_.reset();
    storage_.emplace(new_torrent(*disk_));
    EXPECT_EQ(place, static_cast<lt::storage_index_t>(*storage_));
  }
  run_until([&] { return answered == 50 * pieces(); });
}

}  // namespace
}  // namespace shoal::agent::bittorrent
