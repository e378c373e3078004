// Stops a store after every file-system call, loses what was not synced, opens it again, and checks
// that nothing is offered that does not match its hash, and that nothing acknowledged is lost.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "core/store/blob_store.h"
#include "tests/core/store/memory_store.h"
#include "tests/fakes/test_seed.h"

namespace shoal::store {
namespace {

using content::PieceIndex;
using fakes::Fault;

// No run of the workloads below has that many calls.
constexpr std::uint64_t kMaxCalls = 2000;

class CrashTest : public MemoryStore {
 protected:
  CrashTest() {
    auto source = memory_.open("/source", OpenMode::kCreate, 0600);
    EXPECT_TRUE(source && memory_.pwrite(source->get(), imported_.data, 0) &&
                memory_.sync_data(source->get()) && memory_.sync_directory("/"));
  }

  // What the store has promised to keep.
  struct Promised {
    std::set<content::Digest> blobs;
    std::map<content::Digest, content::PieceSet> pieces;
    bool pinned = false;
    bool removed = false;  // asked for, not promised: a power cut may bring the blob back
  };

  void note_sync(const std::shared_ptr<Blob>& blob) {
    const content::PieceSet have = blob->have();
    if (blob->sync()) promised_.pieces.insert_or_assign(blob->digest(), have);
  }

  // Every kind of change a store goes through, in two lives. Goes on after errors, as an agent
  // would. With `once_more` what failed is tried a second time.
  void run_workload(bool once_more) {
    for (int life = 0; life < 2; ++life) {
      for (int attempt = 0; attempt < (once_more ? 2 : 1); ++attempt) {
        auto opened = try_open();
        if (!opened) continue;
        store_ = *std::move(opened);
        first_steps();
        if (once_more) first_steps();
        if (life == 1) last_steps();
        if (life == 1 && once_more) last_steps();
        (void)store_->close().has_value();
        store_.reset();
        break;
      }
    }
  }

  void first_steps() {
    if (auto blob = store_->create(whole_.table, Reservation::kFull)) {
      promised_.blobs.insert(whole_.digest());
      fetch(**blob, whole_, 0, 2);
      note_sync(*blob);
      fetch(**blob, whole_, 2, 1);
    }
    if (auto blob = store_->create(parts_.table, Reservation::kSparse)) {
      promised_.blobs.insert(parts_.digest());
      fetch(**blob, parts_, 2, 1);
      fetch(**blob, parts_, 3, 1);
      note_sync(*blob);
      fetch(**blob, parts_, 0, 1);
    }
    if (store_->pin(whole_.digest(), "a model")) promised_.pinned = true;
    if (store_->create(doomed_.table, Reservation::kFull)) {
      if (auto blob = store_->find(doomed_.digest())) {
        fetch(**blob, doomed_, 0, 1);
        (void)(*blob)->sync().has_value();
      }
    }
    for (const auto& blob : store_->unchecked()) {
      while (true) {
        auto progress = blob->recheck(kPiece);
        if (!progress || progress->done) break;
      }
    }
    (void)store_->maintain();
  }

  void last_steps() {
    (void)store_->remove(doomed_.digest()).has_value();
    if (auto source = memory_.open("/source", OpenMode::kRead, 0)) {
      auto report = store_->import(imported_.table, source->get());
      if (report) {
        promised_.blobs.insert(imported_.digest());
        promised_.pieces.insert_or_assign(
            imported_.digest(), content::PieceSet::full(imported_.layout().piece_count()));
      }
    }
    if (auto blob = store_->find(whole_.digest())) {
      fetch(**blob, whole_, 3, 2);
      note_sync(*blob);
    }
  }

  static void fetch(Blob& blob, const SampleBlob& sample, std::uint32_t first,
                    std::uint32_t count) {
    // Piece by piece, so that a failure hits between them too.
    for (std::uint32_t piece = first; piece < first + count; ++piece) {
      (void)blob.commit(PieceIndex(piece), sample.bytes(piece)).has_value();
    }
  }

  const SampleBlob& sample_of(const content::Digest& digest) const {
    for (const SampleBlob* sample : {&whole_, &parts_, &doomed_, &imported_}) {
      if (sample->digest() == digest) return *sample;
    }
    ADD_FAILURE() << "a blob nobody made";
    return whole_;
  }

  void check_store() {
    for (const BlobInfo& info : store_->list()) {
      const SampleBlob& sample = sample_of(info.digest);
      auto blob = store_->find(info.digest);
      ASSERT_TRUE(blob) << blob.error().str();
      expect_offers_only_good(**blob, sample);
      // A reader in another process believes the bitmap.
      auto lease = (*blob)->open_reader();
      ASSERT_TRUE(lease);
      auto reader = ReadyReader::open(lease->ready_fd(), info.digest, sample.layout());
      ASSERT_TRUE(reader) << reader.error().str();
      EXPECT_EQ(*reader->snapshot(), (*blob)->have());
    }
  }

  void check_promises() {
    for (const content::Digest& digest : promised_.blobs) {
      EXPECT_TRUE(store_->find(digest)) << digest.str();
    }
    for (const auto& [digest, kept] : promised_.pieces) {
      auto blob = store_->find(digest);
      ASSERT_TRUE(blob) << digest.str();
      EXPECT_TRUE((kept - (*blob)->have()).none()) << "a synced piece is gone";
    }
    if (promised_.pinned) {
      auto info = store_->info(whole_.digest());
      ASSERT_TRUE(info);
      EXPECT_EQ(info->pins.count("a model"), 1u);
    }
  }

  // Opens what the crash left and goes over everything.
  void reopen_and_check() {
    faulty_.fail_call(0, Fault::kIoError);
    auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().str();
    store_ = *std::move(opened);
    EXPECT_TRUE(memory_.list(std::string(kDirectory) + "/tmp")->empty());
    check_store();
    check_promises();
    for (const auto& blob : store_->unchecked()) {
      while (!blob->recheck(kPiece)->done) {
      }
    }
    EXPECT_TRUE(store_->unchecked().empty());
    check_store();
    // And it works on: everything can be finished, and is then safe.
    for (const SampleBlob* sample : {&whole_, &parts_}) {
      auto blob = store_->create(sample->table, Reservation::kFull);
      ASSERT_TRUE(blob) << blob.error().str();
      ASSERT_TRUE((*blob)->commit(PieceIndex(0), sample->data));
      ASSERT_TRUE((*blob)->sync());
      EXPECT_TRUE((*blob)->durable());
    }
    store_.reset();
    memory_.power_cut();
    open();
    EXPECT_TRUE((*store_->find(whole_.digest()))->complete());
    EXPECT_TRUE((*store_->find(parts_.digest()))->complete());
    check_store();
    store_.reset();
  }

  const SampleBlob whole_ = sample_blob(4 * kPiece + 333, 1);
  const SampleBlob parts_ = sample_blob(4 * kPiece, 2);
  const SampleBlob doomed_ = sample_blob(kPiece, 3);
  const SampleBlob imported_ = sample_blob(kPiece + 1, 4);
  Promised promised_;
};

// A fixture object per stop, so that each starts on an empty disk.
class OneCrash : public CrashTest {
 public:
  void TestBody() override {}
  // True when the workload ended before the chosen call.
  bool run(std::uint64_t nth, const std::function<void(fakes::MemoryFileSystem&)>& crash) {
    faulty_.fail_call(nth, Fault::kStop);
    run_workload(false);
    const bool finished = !faulty_.failed();
    crash(memory_);
    reopen_and_check();
    return finished;
  }
  bool run_failing(std::uint64_t nth, Fault fault) {
    faulty_.fail_call(nth, fault);
    run_workload(true);
    const bool finished = !faulty_.failed();
    promised_.pieces.clear();  // a failed sync takes promises of unsynced pieces back
    reopen_and_check();
    return finished;
  }
};

void stop_after_every_call(const std::function<void(fakes::MemoryFileSystem&)>& crash) {
  for (std::uint64_t nth = 1; nth < kMaxCalls; ++nth) {
    SCOPED_TRACE("stopped at call " + std::to_string(nth));
    OneCrash one;
    const bool finished = one.run(nth, crash);
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    if (finished) return;
  }
  FAIL() << "the workload makes more than " << kMaxCalls << " calls";
}

TEST(StoreCrash, KillAfterEveryCallKeepsTheRule) {
  stop_after_every_call([](fakes::MemoryFileSystem&) {});
}

TEST(StoreCrash, PowerCutAfterEveryCallKeepsTheRule) {
  stop_after_every_call([](fakes::MemoryFileSystem& memory) { memory.power_cut(); });
}

TEST(StoreCrash, PowerCutThatKeepsAnythingUnsyncedKeepsTheRule) {
  SeededRandom random(fakes::test_seed());
  stop_after_every_call([&](fakes::MemoryFileSystem& memory) { memory.power_cut(random); });
}

void fail_every_call(Fault fault) {
  for (std::uint64_t nth = 1; nth < kMaxCalls; ++nth) {
    SCOPED_TRACE("failed call " + std::to_string(nth));
    OneCrash one;
    const bool finished = one.run_failing(nth, fault);
    if (testing::Test::HasFatalFailure() || testing::Test::HasNonfatalFailure()) return;
    if (finished) return;
  }
  FAIL() << "the workload makes more than " << kMaxCalls << " calls";
}

TEST(StoreFaults, AFullDiskAtEveryCallKeepsTheRule) { fail_every_call(Fault::kNoSpace); }
TEST(StoreFaults, AShortWriteAtEveryCallKeepsTheRule) { fail_every_call(Fault::kShortWrite); }
TEST(StoreFaults, AnIoErrorAtEveryCallKeepsTheRule) { fail_every_call(Fault::kIoError); }

// A piece rots, scrub finds it, it is fetched again: at no call may a stop leave the store trusting
// a piece that was being rewritten.
class ScrubCrash : public MemoryStore {
 public:
  void TestBody() override {}
  bool run(std::uint64_t nth, SeededRandom* random) {
    open();
    create_complete(sample_);
    store_.reset();
    memory_.corrupt(data(), kPiece, rot_);
    sync_disk();
    faulty_.fail_call(nth, Fault::kStop);
    if (auto opened = try_open()) {
      store_ = *std::move(opened);
      if (auto blob = store_->find(sample_.digest())) {
        if ((*blob)->scrub(pieces(0, 4))) {
          (void)(*blob)->commit(PieceIndex(1), sample_.bytes(1)).has_value();
          (void)(*blob)->sync().has_value();
        }
      }
      store_.reset();
    }
    const bool finished = !faulty_.failed();
    faulty_.fail_call(0, Fault::kIoError);
    if (random != nullptr) memory_.power_cut(*random);
    check();
    return finished;
  }

 private:
  std::string data() const { return blob_directory(sample_) + "/data"; }
  void sync_disk() {  // rot is on the disk, not in a cache
    auto fd = memory_.open(data(), OpenMode::kRead, 0);
    ASSERT_TRUE(fd && memory_.sync_data(fd->get()));
  }
  void check() {
    open();
    auto blob = *store_->find(sample_.digest());
    std::vector<std::byte> out(kPiece);
    if (blob->read({kPiece, kPiece}, out)) {
      // Either nobody has noticed yet, or it is mended; never half of each.
      std::vector<std::byte> rotten(sample_.bytes(1).begin(), sample_.bytes(1).end());
      std::copy(rot_.begin(), rot_.end(), rotten.begin());
      EXPECT_TRUE(out == rotten || sample_.table.verify_piece(PieceIndex(1), out));
    }
    ASSERT_TRUE(blob->scrub(pieces(0, 4)));
    while (!blob->recheck(kPiece)->done) {
    }
    ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.data));
    EXPECT_TRUE(blob->complete());
    expect_offers_only_good(*blob, sample_);
    store_.reset();
  }

  const SampleBlob sample_ = sample_blob(4 * kPiece, 9);
  // Over several blocks, so that a torn rewrite differs from both.
  const std::vector<std::byte> rot_ = random_bytes(48 * kKiB, 10);
};

TEST(StoreCrash, AScrubbedPieceIsNeverTrustedWhileItIsRewritten) {
  const std::uint64_t seed = fakes::test_seed();
  SeededRandom random(seed);
  for (bool power : {false, true}) {
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE("stopped at call " + std::to_string(nth));
      ASSERT_LT(nth, kMaxCalls);
      ScrubCrash one;
      const bool finished = one.run(nth, power ? &random : nullptr);
      if (testing::Test::HasFailure()) return;
      if (finished) break;
    }
  }
}

// A blob is learnt piece by piece and then settled, one of its pieces being not what it was said to
// be: at no call may a stop lose what was synced, or offer what does not match.
class SettleCrash : public MemoryStore {
 public:
  void TestBody() override {}

  bool stop_at(std::uint64_t nth, SeededRandom* random) {
    faulty_.fail_call(nth, Fault::kStop);
    if (auto opened = try_open()) {
      store_ = *std::move(opened);
      (void)work();
      store_.reset();
    }
    const bool finished = !faulty_.failed();
    faulty_.fail_call(0, Fault::kIoError);
    if (random != nullptr) memory_.power_cut(*random);
    open();
    check();
    return finished;
  }

  // What failed works the second time, in the same life.
  bool fail_at(std::uint64_t nth, Fault fault) {
    open();
    faulty_.fail_call(nth, fault);
    (void)work();
    const bool finished = !faulty_.failed();
    faulty_.fail_call(0, Fault::kIoError);
    promised_ = 0;  // a failed sync takes promises of unsynced pieces back
    check();
    return finished;
  }

 private:
  Status work() {
    auto blob = store_->create_unsettled(name_, sample_.data.size(), Reservation::kFull);
    if (!blob) return fail(blob.error());
    SHOAL_TRY(bring(**blob, sample_, 0));
    SHOAL_TRY(bring(**blob, sample_, 1));
    SHOAL_TRY((*blob)->sync());
    promised_ = 2;
    SHOAL_TRY(bring(**blob, wrong_, 2));
    SHOAL_TRY(bring(**blob, sample_, 3));
    blob->reset();
    return settle();
  }
  static Status bring(Blob& blob, const SampleBlob& from, std::uint32_t piece) {
    SHOAL_TRY(blob.learn(PieceIndex(piece), from.table.piece_hashes().subspan(piece, 1)));
    SHOAL_TRY(blob.commit(PieceIndex(piece), from.bytes(piece)));
    return {};
  }
  Status settle() {
    auto settled = store_->settle(name_, sample_.table);
    if (!settled) return fail(settled.error());
    return {};
  }

  void check() {
    EXPECT_TRUE(memory_.list(std::string(kDirectory) + "/tmp")->empty());
    auto blob = store_->find(name_);
    if (blob) {
      expect_offers_what_it_says(**blob);
      expect_kept(**blob);
      blob->reset();
      Status settled = settle();
      ASSERT_TRUE(settled) << settled.error().str();
    }
    EXPECT_FALSE(store_->find(name_));
    if (auto here = store_->find(sample_.digest())) {
      expect_kept(**here);
    } else {
      EXPECT_EQ(promised_, 0u) << "a synced blob is gone";
    }
    auto whole = store_->create(sample_.table, Reservation::kFull);
    ASSERT_TRUE(whole) << whole.error().str();
    expect_offers_only_good(**whole, sample_);
    ASSERT_TRUE((*whole)->commit(PieceIndex(0), sample_.data));
    EXPECT_TRUE((*whole)->complete());
    EXPECT_EQ(store_->space().use.used, sample_.data.size());
    whole->reset();
    store_.reset();
    memory_.power_cut();
    open();
    EXPECT_TRUE((*store_->find(sample_.digest()))->complete());
    // A creation that was taken back may be there again.
    if (auto back = store_->find(name_)) expect_offers_what_it_says(**back);
    store_.reset();
  }
  void expect_offers_what_it_says(Blob& blob) {
    EXPECT_FALSE(blob.settled());
    for (PieceIndex piece : sample_.layout().all_pieces()) {
      if (!blob.has(piece)) continue;
      std::vector<std::byte> out(sample_.layout().piece_size(piece));
      ASSERT_TRUE(blob.read(sample_.layout().range_of({piece, 1}), out));
      EXPECT_EQ(content::piece_hash(sample_.layout(), piece, out), blob.piece_hash(piece));
    }
  }
  void expect_kept(Blob& blob) {
    for (std::uint32_t piece = 0; piece < promised_; ++piece) {
      EXPECT_TRUE(blob.has(PieceIndex(piece))) << "a synced piece is gone";
    }
  }

  const SampleBlob sample_ = sample_blob(4 * kPiece + 5, 11);
  const SampleBlob wrong_ = sample_blob(4 * kPiece + 5, 12);
  const content::Digest name_ = content::ingest_name("u", "v", sample_.data.size());
  std::uint32_t promised_ = 0;
};

TEST(StoreCrash, SettlingLosesNothingAndOffersNothingElse) {
  SeededRandom random(fakes::test_seed());
  for (bool power : {false, true}) {
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE("stopped at call " + std::to_string(nth));
      ASSERT_LT(nth, kMaxCalls);
      SettleCrash one;
      const bool finished = one.stop_at(nth, power ? &random : nullptr);
      if (testing::Test::HasFailure()) return;
      if (finished) break;
    }
  }
}

TEST(StoreFaults, SettlingThatFailedWorksTheNextTime) {
  for (Fault fault : {Fault::kNoSpace, Fault::kShortWrite, Fault::kIoError}) {
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE("failed call " + std::to_string(nth));
      ASSERT_LT(nth, kMaxCalls);
      SettleCrash one;
      const bool finished = one.fail_at(nth, fault);
      if (testing::Test::HasFailure()) return;
      if (finished) break;
    }
  }
}

}  // namespace
}  // namespace shoal::store
