#include "core/store/blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/store/ready_map.h"
#include "tests/core/store/memory_store.h"

namespace shoal::store {
namespace {

using content::PieceIndex;
using testing::HasSubstr;

class BlobStoreTest : public MemoryStore {
 protected:
  Errc find_code(const SampleBlob& sample) {
    auto blob = store_->find(sample.digest());
    return blob ? Errc::kInternal : blob.error().code();
  }
  // A file outside the store, and how it looks.
  InPlaceSource make_source(const std::string& path, std::span<const std::byte> bytes) {
    auto fd = memory_.open(path, OpenMode::kCreate, 0644);
    EXPECT_TRUE(fd && memory_.pwrite(fd->get(), bytes, 0));
    auto st = memory_.stat(path);
    return {.path = path, .size = st->size, .mtime_ns = st->mtime_ns, .inode = st->inode};
  }
  UniqueFd open_source(const std::string& path) { return *memory_.open(path, OpenMode::kRead, 0); }

  const SampleBlob sample_ = sample_blob(3 * kPiece + 5);
};

TEST_F(BlobStoreTest, TwoAgentsCannotShareAStore) {
  open();
  auto second = try_open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::kConflict);
  EXPECT_THAT(second.error().message(), HasSubstr("in use by process " + std::to_string(getpid())));
  StoreConfig other = config();
  other.store_directory = "/other";
  auto third = BlobStore::open(other, memory_);
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().code(), Errc::kConflict);
  EXPECT_THAT(third.error().message(), HasSubstr("/run is in use by process"));
  store_.reset();
  open();
}

TEST_F(BlobStoreTest, RefusesAFormatItDoesNotKnow) {
  open();
  store_.reset();
  ASSERT_TRUE(replace_file(memory_, "/store/format", as_bytes("format: 2\n")));
  auto opened = try_open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::kInvalid);
  EXPECT_THAT(opened.error().message(), HasSubstr("says \"format: 2\""));
}

TEST_F(BlobStoreTest, RefusesADirectoryWithSomethingElse) {
  ASSERT_TRUE(memory_.make_directory("/store", 0700));
  ASSERT_TRUE(memory_.make_directory("/store/home", 0700));
  auto opened = try_open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::kInvalid);
  EXPECT_THAT(opened.error().message(), HasSubstr("home"));
}

TEST_F(BlobStoreTest, FindsWhatWasCreated) {
  open();
  EXPECT_EQ(find_code(sample_), Errc::kNotFound);
  auto blob = create(sample_);
  EXPECT_EQ(*store_->find(sample_.digest()), blob);
  // Again: the same blob, not a second one.
  EXPECT_EQ(*store_->create(sample_.table, Reservation::kSparse, {"a"}, {{"k", "v"}}), blob);
  auto info = store_->info(sample_.digest());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->size, sample_.data.size());
  EXPECT_EQ(info->used, sample_.data.size());
  EXPECT_EQ(info->piece_count, 4u);
  EXPECT_EQ(info->have_count, 0u);
  EXPECT_FALSE(info->complete);
  EXPECT_EQ(info->pins, std::set<std::string>{"a"});
  EXPECT_EQ(info->annotations.at("k"), "v");
}

TEST_F(BlobStoreTest, RefusesAnotherTableForTheSameDigest) {
  open();
  create(sample_);
  const SampleBlob other = sample_blob(sample_.data.size(), 99);
  auto forged = content::PieceTable::make(
      sample_.digest(), sample_.layout(),
      {other.table.piece_hashes().begin(), other.table.piece_hashes().end()});
  ASSERT_TRUE(forged);
  EXPECT_EQ(store_->create(*forged, Reservation::kFull).error().code(), Errc::kConflict);
}

TEST_F(BlobStoreTest, AnEmptyBlobIsCompleteByDefinition) {
  open();
  const SampleBlob empty = sample_blob(0);
  auto blob = create(empty);
  EXPECT_TRUE(blob->complete());
  EXPECT_TRUE(blob->durable());
  EXPECT_TRUE(blob->read({0, 0}, {}));
  auto lease = blob->open_reader();
  auto reader = ReadyReader::open(lease->ready_fd(), empty.digest(), empty.layout());
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->state(), ReadyState::kComplete);
  blob.reset();
  lease = Result<ReadLease>(fail(Errc::kCancelled, ""));
  reopen();
  EXPECT_TRUE((*store_->find(empty.digest()))->complete());
}

TEST_F(BlobStoreTest, ACleanShutdownSyncsAll) {
  open();
  create(sample_)->commit(PieceIndex(0), sample_.bytes(0, 2)).value();
  store_.reset();
  memory_.power_cut();
  open();
  auto blob = *store_->find(sample_.digest());
  EXPECT_EQ(blob->have_count(), 2u);
  EXPECT_EQ(blob->recheck(100 * kPiece)->recovered, 0u);
  expect_offers_only_good(*blob, sample_);
}

TEST_F(BlobStoreTest, RecheckRecoversWhatAKillLeftUnsynced) {
  open();
  auto blob = create(sample_, Reservation::kSparse);
  ASSERT_TRUE(blob->commit(PieceIndex(0), sample_.bytes(0, 3)));
  faulty_.fail_call(1, fakes::Fault::kStop);
  blob.reset();
  store_.reset();
  faulty_.fail_call(0, fakes::Fault::kStop);
  memory_.corrupt(blob_directory(sample_) + "/data", kPiece, as_bytes("torn"));
  open();
  blob = *store_->find(sample_.digest());
  EXPECT_EQ(blob->have_count(), 0u);
  ASSERT_EQ(store_->unchecked().size(), 1u);
  auto step = blob->recheck(1);
  ASSERT_TRUE(step);
  EXPECT_EQ(step->bytes_read, kPiece);
  EXPECT_EQ(step->recovered, 1u);
  EXPECT_FALSE(step->done);
  auto rest = blob->recheck(10 * kPiece);
  EXPECT_TRUE(rest->done);
  EXPECT_EQ(rest->recovered, 1u);  // not the torn one, and the hole was not looked at
  EXPECT_EQ(rest->bytes_read, 2 * kPiece);
  EXPECT_TRUE(store_->unchecked().empty());
  expect_offers_only_good(*blob, sample_);
}

TEST_F(BlobStoreTest, RevokesReadyMapsOfAnEarlierProcess) {
  open();
  auto blob = create_complete(sample_);
  auto lease = blob->open_reader();
  auto reader = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
  const std::string map = "/run/ready/" + memory_.list("/run/ready")->at(0);
  // As after kill -9: the file stays.
  ASSERT_TRUE(memory_.rename(map, "/kept"));
  blob.reset();
  lease = Result<ReadLease>(fail(Errc::kCancelled, ""));
  store_.reset();
  ASSERT_TRUE(memory_.rename("/kept", map));
  open();
  EXPECT_EQ(reader->state(), ReadyState::kRevoked);
  EXPECT_TRUE(memory_.list("/run/ready")->empty());
}

TEST_F(BlobStoreTest, PinsSurviveAndProtectFromRemoval) {
  open();
  create_complete(sample_);
  ASSERT_TRUE(store_->pin(sample_.digest(), "llama:8b"));
  ASSERT_TRUE(store_->pin(sample_.digest(), "another"));
  auto removed = store_->remove(sample_.digest());
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code(), Errc::kConflict);
  EXPECT_THAT(removed.error().message(), HasSubstr("pinned by another, llama:8b"));
  store_.reset();
  memory_.power_cut();
  open();
  EXPECT_EQ(store_->info(sample_.digest())->pins.size(), 2u);
  ASSERT_TRUE(store_->unpin(sample_.digest(), "llama:8b"));
  ASSERT_TRUE(store_->unpin(sample_.digest(), "another"));
  ASSERT_TRUE(store_->unpin(sample_.digest(), "never was"));
  EXPECT_TRUE(store_->remove(sample_.digest()));
  EXPECT_EQ(store_->pin(sample_.digest(), "x").error().code(), Errc::kNotFound);
}

TEST_F(BlobStoreTest, AnnotatesAndForgets) {
  open();
  create(sample_);
  ASSERT_TRUE(store_->annotate(sample_.digest(), "origin", "dir:/models"));
  EXPECT_EQ(store_->annotate(sample_.digest(), "bad", "\xff").error().code(), Errc::kInvalid);
  EXPECT_EQ(
      store_->annotate(sample_.digest(), "big", std::string(kMaxMetaSize, 'x')).error().code(),
      Errc::kInvalid);
  reopen();
  EXPECT_EQ(store_->info(sample_.digest())->annotations.size(), 1u);
  ASSERT_TRUE(store_->annotate(sample_.digest(), "origin", ""));
  EXPECT_TRUE(store_->info(sample_.digest())->annotations.empty());
}

TEST_F(BlobStoreTest, ARemovedBlobCanBeMadeAgainWhileTheOldOneIsHeld) {
  open();
  auto old = create_complete(sample_);
  ASSERT_TRUE(store_->remove(sample_.digest()));
  auto fresh = create(sample_);
  EXPECT_NE(fresh, old);
  EXPECT_EQ(fresh->have_count(), 0u);
  EXPECT_TRUE(old->sync());
  EXPECT_TRUE(old->scrub(pieces(0, 4)));
  store_.reset();
  fresh.reset();
  old.reset();
  open();
  EXPECT_EQ((*store_->find(sample_.digest()))->have_count(), 0u);
}

TEST_F(BlobStoreTest, ADamagedMetaLosesPinsOnly) {
  open();
  create_complete(sample_);
  store_.reset();
  memory_.corrupt(blob_directory(sample_) + "/meta.json", 0, as_bytes("###"));
  open();
  EXPECT_TRUE((*store_->find(sample_.digest()))->complete());
}

TEST_F(BlobStoreTest, ADamagedTableOrDataFileDropsTheBlob) {
  for (const char* file : {"table", "data"}) {
    open();
    create(sample_)->commit(PieceIndex(0), sample_.bytes(0)).value();
    store_.reset();
    ASSERT_TRUE(memory_.unlink(blob_directory(sample_) + "/" + file));
    open();
    EXPECT_EQ(find_code(sample_), Errc::kNotFound) << file;
    EXPECT_EQ(store_->space().use.used, 0u);
    store_.reset();
  }
}

TEST_F(BlobStoreTest, ADamagedRecordMeansRecheckNotTrust) {
  open();
  create_complete(sample_);
  store_.reset();
  memory_.corrupt(blob_directory(sample_) + "/synced", 60, as_bytes("?"));
  memory_.corrupt(blob_directory(sample_) + "/data", 0, as_bytes("rot"));
  open();
  auto blob = *store_->find(sample_.digest());
  EXPECT_EQ(blob->have_count(), 0u);
  EXPECT_EQ(blob->recheck(100 * kPiece)->recovered, 3u);
  expect_offers_only_good(*blob, sample_);
}

// --- import ---

TEST_F(BlobStoreTest, ImportCopiesAndVerifies) {
  open();
  make_source("/source", sample_.data);
  UniqueFd source = open_source("/source");
  std::vector<std::uint64_t> progress;
  ImportOptions options;
  options.pins = {"model"};
  options.progress = [&](std::uint64_t bytes) { progress.push_back(bytes); };
  auto report = store_->import(sample_.table, source.get(), options);
  ASSERT_TRUE(report) << report.error().str();
  EXPECT_FALSE(report->reflinked);
  EXPECT_TRUE(report->blob->durable());
  EXPECT_EQ(progress.back(), sample_.data.size());
  expect_offers_only_good(*report->blob, sample_);
  EXPECT_EQ(listener_.completions, 1);
  // Again: nothing to do.
  EXPECT_TRUE(store_->import(sample_.table, source.get()));
  EXPECT_EQ(store_->info(sample_.digest())->pins.size(), 1u);
}

TEST_F(BlobStoreTest, ImportOfAChangedSourceLeavesNothing) {
  open();
  std::vector<std::byte> changed = sample_.data;
  changed[2 * kPiece] ^= std::byte{1};
  make_source("/source", changed);
  EXPECT_EQ(store_->import(sample_.table, open_source("/source").get()).error().code(),
            Errc::kCorrupt);
  EXPECT_TRUE(store_->list().empty());
  changed.push_back(std::byte{0});
  make_source("/longer", changed);
  EXPECT_EQ(store_->import(sample_.table, open_source("/longer").get()).error().code(),
            Errc::kCorrupt);
  EXPECT_EQ(store_->space().use.used, 0u);
  EXPECT_TRUE(memory_.list("/store/tmp")->empty());
}

TEST_F(BlobStoreTest, ImportCanBeCancelled) {
  open();
  const SampleBlob large = sample_blob(10 * kMiB, 8);
  make_source("/source", large.data);
  std::atomic<bool> cancel{false};
  ImportOptions options;
  options.cancel = &cancel;
  options.progress = [&](std::uint64_t) { cancel = true; };
  auto report = store_->import(large.table, open_source("/source").get(), options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code(), Errc::kCancelled);
  EXPECT_TRUE(store_->list().empty());
}

TEST_F(BlobStoreTest, ImportFillsUpAPartialBlobAndKeepsItWhenCancelled) {
  open();
  auto blob = create(sample_);
  ASSERT_TRUE(blob->commit(PieceIndex(2), sample_.bytes(2)));
  make_source("/source", sample_.data);
  std::atomic<bool> cancel{true};
  ImportOptions options;
  options.cancel = &cancel;
  EXPECT_FALSE(store_->import(sample_.table, open_source("/source").get(), options));
  EXPECT_EQ(blob->have_count(), 1u);
  auto report = store_->import(sample_.table, open_source("/source").get());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->blob, blob);
  EXPECT_TRUE(blob->durable());
}

// --- in place ---

TEST_F(BlobStoreTest, InPlaceServesFromTheSource) {
  open();
  const InPlaceSource source = make_source("/model.bin", sample_.data);
  auto blob = store_->add_in_place(sample_.table, source);
  ASSERT_TRUE(blob) << blob.error().str();
  EXPECT_TRUE((*blob)->in_place());
  EXPECT_TRUE((*blob)->complete());
  expect_offers_only_good(**blob, sample_);
  EXPECT_EQ(store_->space().use.used, 0u);
  EXPECT_EQ((*blob)->commit(PieceIndex(0), sample_.bytes(0)).error().code(), Errc::kInvalid);
  blob->reset();
  reopen();
  expect_offers_only_good(**store_->find(sample_.digest()), sample_);
}

TEST_F(BlobStoreTest, InPlaceFailsOnceTheSourceChanged) {
  for (const char* how : {"written", "replaced", "touched", "removed"}) {
    SCOPED_TRACE(how);
    open();
    const InPlaceSource source = make_source("/model.bin", sample_.data);
    auto blob = *store_->add_in_place(sample_.table, source);
    auto lease = blob->open_reader();
    auto reader = ReadyReader::open(lease->ready_fd(), sample_.digest(), sample_.layout());
    if (how == std::string("written")) {
      auto fd = memory_.open("/model.bin", OpenMode::kReadWrite, 0);
      ASSERT_TRUE(memory_.pwrite(fd->get(), as_bytes("x"), 3));
    } else if (how == std::string("replaced")) {
      make_source("/new.bin", sample_.data);
      ASSERT_TRUE(memory_.rename("/new.bin", "/model.bin"));
    } else if (how == std::string("touched")) {
      ASSERT_TRUE(memory_.set_mtime("/model.bin", source.mtime_ns + 1));
    } else {
      ASSERT_TRUE(memory_.unlink("/model.bin"));
    }
    EXPECT_EQ(blob->serve({0, 10}).error().code(), Errc::kConflict);
    EXPECT_TRUE(blob->failed());
    EXPECT_FALSE(blob->has(PieceIndex(0)));
    EXPECT_EQ(reader->state(), ReadyState::kFailed);
    EXPECT_EQ(find_code(sample_), Errc::kUnavailable);
    // The real bytes may take its place.
    auto own = store_->create(sample_.table, Reservation::kFull);
    ASSERT_TRUE(own) << own.error().str();
    EXPECT_FALSE((*own)->in_place());
    own->reset();
    blob.reset();
    lease = Result<ReadLease>(fail(Errc::kCancelled, ""));
    ASSERT_TRUE(store_->remove(sample_.digest()));
    store_.reset();
    (void)memory_.unlink("/model.bin").has_value();
  }
}

TEST_F(BlobStoreTest, InPlaceFindsTheSourceChangedAfterARestart) {
  open();
  ASSERT_TRUE(store_->add_in_place(sample_.table, make_source("/model.bin", sample_.data)));
  store_.reset();
  ASSERT_TRUE(memory_.set_mtime("/model.bin", 5));
  open();
  EXPECT_EQ(find_code(sample_), Errc::kUnavailable);
  EXPECT_TRUE(store_->info(sample_.digest())->failed);
  // Hashed and published again.
  auto st = memory_.stat("/model.bin");
  auto again = store_->add_in_place(
      sample_.table,
      {.path = "/model.bin", .size = st->size, .mtime_ns = st->mtime_ns, .inode = st->inode});
  ASSERT_TRUE(again) << again.error().str();
  EXPECT_TRUE((*again)->complete());
}

TEST_F(BlobStoreTest, InPlaceRefusesWhatItCannotCheck) {
  open();
  InPlaceSource source = make_source("/model.bin", sample_.data);
  auto code = [&](InPlaceSource other) {
    return store_->add_in_place(sample_.table, other).error().code();
  };
  InPlaceSource bad = source;
  bad.path = "model.bin";
  EXPECT_EQ(code(bad), Errc::kInvalid);
  bad = source;
  bad.path = "/missing";
  EXPECT_EQ(code(bad), Errc::kNotFound);
  bad = source;
  ++bad.mtime_ns;
  EXPECT_EQ(code(bad), Errc::kConflict);
  bad = source;
  ++bad.inode;
  EXPECT_EQ(code(bad), Errc::kConflict);
  bad = source;
  ++bad.size;
  EXPECT_EQ(code(bad), Errc::kInvalid);
  EXPECT_TRUE(store_->list().empty());
}

}  // namespace
}  // namespace shoal::store
