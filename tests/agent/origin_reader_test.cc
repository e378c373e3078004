#include "agent/origin/origin_reader.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>

#include "tests/agent/lane_fixture.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;
using std::chrono::milliseconds;
using swarm::Outcome;

// Files in memory that a test may change, and failures that it may order.
class ScriptedOrigin final : public Origin {
 public:
  struct File {
    std::vector<std::byte> bytes;
    std::string version;
  };

  bool handles(std::string_view scheme) const override { return scheme == "test"; }

  std::string_view kind() const override { return "test"; }
  OriginStatus list(const OriginQuery&, OriginListing&, const CancelFlag&) override {
    return {fail(Errc::kInvalid, "nothing is listed here"), {}};
  }
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag&) override {
    std::lock_guard lock(mutex_);
    ++probes_;
    auto it = files_.find(url);
    if (it == files_.end()) return {fail(Errc::kNotFound, url + " is not there"), {}};
    file = {url, it->second.bytes.size(), it->second.version};
    return {};
  }

  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override {
    File found;
    {
      std::lock_guard lock(mutex_);
      if (!failure_.status) return failure_;
      found = files_.at(file.url);
    }
    if (found.version != file.version) return {fail(Errc::kConflict, "changed"), {}};
    while (!range.empty()) {
      if (hang_) {
        ++hanging_;
        while (!cancel) std::this_thread::yield();
      }
      if (cancel) return {fail(Errc::kCancelled, "cancelled"), {}};
      std::uint64_t length = std::min<std::uint64_t>(range.length, 10'000);
      Status taken = sink(std::span(found.bytes).subspan(range.offset, length));
      if (!taken) return {taken, {}};
      range = {range.offset + length, range.length - length};
    }
    return {};
  }

  void put(const std::string& url, std::vector<std::byte> bytes, std::string version) {
    std::lock_guard lock(mutex_);
    files_[url] = {std::move(bytes), std::move(version)};
  }
  void fail_reads(OriginStatus failure) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
  }
  int probes() {
    std::lock_guard lock(mutex_);
    return probes_;
  }
  std::atomic<bool> hang_{false};
  std::atomic<int> hanging_{0};

 private:
  std::mutex mutex_;
  std::map<std::string, File> files_;
  OriginStatus failure_;
  int probes_ = 0;
};

const std::string kUrl = "test://origin/file";

class OriginReaderTest : public ::testing::Test {
 protected:
  OriginReaderTest() : blob_(make_blob(6 * 64 * kKiB + 50, 21)), stored_(store_.empty(blob_)) {
    auto find = [this](std::string_view url) -> Origin* {
      return origin_->handles(scheme_of(url)) ? origin_.get() : nullptr;
    };
    reader_ = std::make_unique<OriginReader>(control_.executor(), find, 2, reports_.receiver());
    origin_->put(kUrl, blob_.bytes, "v1");
  }
  ~OriginReaderTest() override {
    stop();
    call_on(control_, [this] { reader_.reset(); });
  }

  void stop() {
    if (!std::exchange(stopped_, true)) control_.run(reader_->stop());
  }
  void fetch(std::uint32_t id, std::shared_ptr<store::Blob> blob, PieceRange pieces,
             const std::string& url = kUrl) {
    call_on(control_, [&] {
      Transfer transfer;
      transfer.id = request_id(id);
      transfer.blob = std::move(blob);
      transfer.pieces = pieces;
      reader_->fetch(std::move(transfer), url);
    });
  }
  bool expect(const std::string& published) {
    bool news = false;
    call_on(control_, [&] { news = reader_->expect(*stored_, kUrl, published); });
    return news;
  }
  TransferEvent run(std::uint32_t id, PieceRange pieces) {
    fetch(id, stored_, pieces);
    return reports_.end_of(id);
  }
  PieceRange all() const { return blob_.layout().all_pieces(); }

  TempStore store_;
  TestBlob blob_;
  std::shared_ptr<store::Blob> stored_;
  Reports reports_;
  IoThread control_{"control"};
  const std::unique_ptr<ScriptedOrigin> origin_ = std::make_unique<ScriptedOrigin>();
  std::unique_ptr<OriginReader> reader_;
  bool stopped_ = false;
};

TEST_F(OriginReaderTest, StoresThePiecesAndPinsTheVersionOnce) {
  EXPECT_FALSE(reader_->version(blob_.table.digest(), kUrl));
  EXPECT_EQ(run(1, {PieceIndex(1), 2}).outcome, Outcome::kFinished);
  EXPECT_EQ(reports_.pieces_of(1), 2u);
  EXPECT_EQ(reader_->version(blob_.table.digest(), kUrl), "v1");
  EXPECT_EQ(run(2, all()).outcome, Outcome::kFinished);
  EXPECT_TRUE(holds(*stored_, blob_));
  EXPECT_EQ(origin_->probes(), 1);
}

TEST_F(OriginReaderTest, KnowsWhichUrlsItCanRead) {
  EXPECT_TRUE(reader_->can_read(kUrl));
  EXPECT_FALSE(reader_->can_read("https://origin/file"));
  EXPECT_FALSE(reader_->can_read(""));
}

TEST_F(OriginReaderTest, AFileThatChangedIsNotMixedIn) {
  EXPECT_EQ(run(1, {PieceIndex(0), 1}).outcome, Outcome::kFinished);
  std::vector<std::byte> other = blob_.bytes;
  other.back() ^= std::byte{1};
  origin_->put(kUrl, other, "v2");
  EXPECT_EQ(run(2, all()).outcome, Outcome::kChanged);
  EXPECT_EQ(stored_->have_count(), 1u);
}

TEST_F(OriginReaderTest, AFileThatWasPutBackIsReadWhenTheVersionIsForgotten) {
  EXPECT_EQ(run(1, {PieceIndex(0), 1}).outcome, Outcome::kFinished);
  origin_->put(kUrl, blob_.bytes, "v3");  // the same bytes, another modification time
  EXPECT_EQ(run(2, all()).outcome, Outcome::kChanged);
  call_on(control_, [&] { reader_->forget(blob_.table.digest(), kUrl); });
  EXPECT_EQ(run(3, all()).outcome, Outcome::kFinished);
  EXPECT_EQ(reader_->version(blob_.table.digest(), kUrl), "v3");
  EXPECT_TRUE(holds(*stored_, blob_));
}

TEST_F(OriginReaderTest, ThePublishedVersionIsReadWithoutLookingFirst) {
  EXPECT_TRUE(expect("v1"));
  EXPECT_FALSE(expect("v1")) << "no news";
  EXPECT_FALSE(expect("")) << "nor that nobody knows";
  EXPECT_EQ(reader_->version(blob_.table.digest(), kUrl), "v1");
  EXPECT_EQ(run(1, all()).outcome, Outcome::kFinished);
  EXPECT_TRUE(holds(*stored_, blob_));
  EXPECT_EQ(origin_->probes(), 0);
}

TEST_F(OriginReaderTest, OfAFileThatWasReplacedAfterItsPublicationNoByteIsTaken) {
  std::vector<std::byte> other = blob_.bytes;
  other.back() ^= std::byte{1};  // all pieces but the last one would fit
  origin_->put(kUrl, other, "v2");
  expect("v1");
  TransferEvent end = run(1, all());
  EXPECT_EQ(end.outcome, Outcome::kChanged);
  EXPECT_EQ(end.detail, changed_text("changed"));
  EXPECT_EQ(stored_->have_count(), 0u);
  EXPECT_EQ(origin_->probes(), 0);
}

TEST_F(OriginReaderTest, AFileThatWasPutBackAfterItsPublicationIsRead) {
  origin_->put(kUrl, blob_.bytes, "v3");  // the same bytes, another modification time
  expect("v1");
  EXPECT_EQ(run(1, all()).outcome, Outcome::kChanged);
  call_on(control_, [&] { reader_->forget(blob_.table.digest(), kUrl); });
  EXPECT_FALSE(reader_->version(blob_.table.digest(), kUrl));
  EXPECT_FALSE(expect("v1")) << "it is known not to be there";
  EXPECT_EQ(run(2, all()).outcome, Outcome::kFinished);
  EXPECT_EQ(reader_->version(blob_.table.digest(), kUrl), "v3");
  EXPECT_TRUE(holds(*stored_, blob_));
}

TEST_F(OriginReaderTest, WrongBytesOfAnotherVersionThanThePublishedOneAreAChange) {
  std::vector<std::byte> other = blob_.bytes;
  other.front() ^= std::byte{1};
  origin_->put(kUrl, other, "v2");
  expect("v1");
  EXPECT_EQ(run(1, all()).outcome, Outcome::kChanged);
  call_on(control_, [&] { reader_->forget(blob_.table.digest(), kUrl); });
  TransferEvent end = run(2, all());
  EXPECT_EQ(end.outcome, Outcome::kCorrupt);
  EXPECT_TRUE(end.detail.starts_with("the origin changed since it was published")) << end.detail;
  EXPECT_NE(end.detail.find("hash"), std::string::npos) << end.detail;
  EXPECT_EQ(stored_->have_count(), 0u);
}

TEST_F(OriginReaderTest, AReadThatWaitedWhileAChangeWasFoundDoesNotTakeWhatIsThereNow) {
  expect("v1");
  origin_->hang_ = true;
  for (std::uint32_t id = 1; id <= 3; ++id) fetch(id, stored_, all());  // two threads, three reads
  while (origin_->hanging_ < 2) std::this_thread::yield();
  origin_->put(kUrl, blob_.bytes, "v2");
  call_on(control_, [&] { reader_->forget(blob_.table.digest(), kUrl); });
  origin_->hang_ = false;
  call_on(control_, [&] {
    for (std::uint32_t id = 1; id <= 2; ++id) reader_->cancel(request_id(id));
  });
  EXPECT_EQ(reports_.end_of(3).outcome, Outcome::kChanged);
  EXPECT_EQ(origin_->probes(), 0);
}

TEST_F(OriginReaderTest, AfterAnotherPublicationItsVersionIsRead) {
  expect("v1");
  EXPECT_EQ(run(1, {PieceIndex(0), 1}).outcome, Outcome::kFinished);
  origin_->put(kUrl, blob_.bytes, "v2");
  EXPECT_TRUE(expect("v2"));
  EXPECT_EQ(run(2, all()).outcome, Outcome::kFinished);
  EXPECT_TRUE(holds(*stored_, blob_));
  EXPECT_EQ(origin_->probes(), 0);
}

TEST_F(OriginReaderTest, AFileOfAnotherSizeIsAnotherFile) {
  origin_->put(kUrl, random_bytes(100, 1), "v1");
  TransferEvent end = run(1, all());
  EXPECT_EQ(end.outcome, Outcome::kChanged);
  EXPECT_NE(end.detail.find("100"), std::string::npos) << end.detail;
  EXPECT_FALSE(reader_->version(blob_.table.digest(), kUrl)) << "nothing is pinned";
}

TEST_F(OriginReaderTest, AFileThatWasReplacedCanBeReadAsTheBlobItIsNow) {
  EXPECT_EQ(run(1, {PieceIndex(0), 1}).outcome, Outcome::kFinished);
  TestBlob next = make_blob(2 * 64 * kKiB, 22);
  origin_->put(kUrl, next.bytes, "v2");
  auto stored = store_.empty(next);
  fetch(2, stored, next.layout().all_pieces());
  TransferEvent end = reports_.end_of(2);
  EXPECT_EQ(end.outcome, Outcome::kFinished) << end.detail;
  EXPECT_TRUE(holds(*stored, next));
  EXPECT_EQ(run(3, {PieceIndex(1), 1}).outcome, Outcome::kChanged) << "the first blob is gone";
}

TEST_F(OriginReaderTest, WrongBytesAreCorruptAndWhatWasGoodBeforeIsKeptAndTold) {
  std::vector<std::byte> bad = blob_.bytes;
  bad[3 * 64 * kKiB] ^= std::byte{1};
  origin_->put(kUrl, bad, "v1");
  TransferEvent end = run(1, all());
  EXPECT_EQ(end.outcome, Outcome::kCorrupt);
  EXPECT_EQ(end.detail.find("changed"), std::string::npos) << end.detail;
  EXPECT_EQ(stored_->have_count(), 3u);
  EXPECT_EQ(reports_.pieces_of(1), 3u);
}

TEST_F(OriginReaderTest, SaysWhatTheOriginAnswered) {
  struct Case {
    Errc code;
    Outcome outcome;
  };
  std::uint32_t id = 0;
  ASSERT_EQ(run(++id, {PieceIndex(0), 1}).outcome, Outcome::kFinished);
  for (Case c : {Case{Errc::kOverloaded, Outcome::kBusy},
                 {Errc::kUnavailable, Outcome::kDisconnected},
                 {Errc::kTimedOut, Outcome::kTimeout},
                 {Errc::kDenied, Outcome::kRefused},
                 {Errc::kNotFound, Outcome::kNotHave},
                 {Errc::kInvalid, Outcome::kRefused}}) {
    origin_->fail_reads({fail(c.code, "as ordered"), milliseconds(1234)});
    TransferEvent end = run(++id, all());
    EXPECT_EQ(end.outcome, c.outcome);
    EXPECT_EQ(end.retry_after, milliseconds(1234));
    EXPECT_NE(end.detail.find("as ordered"), std::string::npos);
  }
  fetch(++id, stored_, all(), "test://origin/none");
  EXPECT_EQ(reports_.end_of(id).outcome, Outcome::kNotHave);
}

TEST_F(OriginReaderTest, AStoreThatCannotTakeTheBytesIsNotTheOriginsFault) {
  stored_->withdraw("test");
  EXPECT_EQ(run(1, all()).outcome, Outcome::kLocal);
}

TEST_F(OriginReaderTest, CancelEndsAReadThatRunsAndOneThatWaits) {
  origin_->hang_ = true;
  for (std::uint32_t id = 1; id <= 3; ++id) fetch(id, stored_, all());  // two threads, three reads
  while (origin_->hanging_ < 2) std::this_thread::yield();
  call_on(control_, [&] {
    for (std::uint32_t id = 1; id <= 3; ++id) reader_->cancel(request_id(id));
    reader_->cancel(request_id(99));
  });
  for (std::uint32_t id = 1; id <= 3; ++id) {
    EXPECT_EQ(reports_.end_of(id).outcome, Outcome::kCancelled);
  }
  origin_->hang_ = false;
  EXPECT_EQ(run(4, all()).outcome, Outcome::kFinished);
}

TEST_F(OriginReaderTest, StoppingCancelsEverything) {
  origin_->hang_ = true;
  for (std::uint32_t id = 1; id <= 3; ++id) fetch(id, stored_, all());
  stop();
  EXPECT_EQ(reports_.ended(), 3u);
}

}  // namespace
}  // namespace shoal::agent
