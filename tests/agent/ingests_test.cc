#include "agent/model/ingests.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/async/run.h"
#include "tests/agent/temp_store.h"

namespace shoal::agent {
namespace {

// Files in memory; what is put on hold is waited for until its reader gives up.
class HeldOrigin final : public Origin {
 public:
  std::string_view kind() const override { return "test"; }
  bool handles(std::string_view) const override { return true; }
  OriginStatus list(const OriginQuery&, OriginListing&, const CancelFlag&) override {
    return {fail(Errc::kInvalid, "nothing is listed here"), {}};
  }
  OriginStatus probe(const std::string&, OriginFile&, const CancelFlag&) override {
    return {fail(Errc::kInvalid, "nothing is looked at here"), {}};
  }
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override {
    while (file.url == held_ && !cancel) std::this_thread::yield();
    if (cancel) return {fail(Errc::kCancelled, "cancelled"), {}};
    return {sink(std::span(files_.at(file.url)).subspan(range.offset, range.length)), {}};
  }

  RemoteFile add(const std::string& name, std::vector<std::byte> bytes) {
    RemoteFile remote{this, {name, bytes.size(), "1"}, {}};
    files_[name] = std::move(bytes);
    return remote;
  }
  void hold(std::string name) { held_ = std::move(name); }

 private:
  std::map<std::string, std::vector<std::byte>> files_;
  std::string held_;
};

class IngestsTest : public ::testing::Test {
 protected:
  IngestsTest()
      : ingests_(
            io_.get_executor(), *store_, 2, [](const store::Blob&) {},
            [this](const content::Digest& digest) { unwanted_.push_back(digest); }) {}
  ~IngestsTest() override { run_to_end(io_, ingests_.stop()); }

  IngestView end_of(const std::string& id) {
    auto view = run_to_end(io_, ingests_.wait(id, Deadline::after(std::chrono::seconds(30))));
    EXPECT_TRUE(view && !view->running);
    return view ? *view : IngestView{};
  }
  // A file of this node.
  std::string start(const std::string& name, std::uint64_t seed) {
    const std::string path = store_.path(name);
    const std::vector<std::byte> bytes = random_bytes(100'000, seed);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return ingests_.start(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), IngestMode::kCopy,
                          path);
  }
  std::vector<content::Digest> taken_back() { return std::exchange(unwanted_, {}); }

  TempStore store_;
  HeldOrigin origin_;
  asio::io_context io_;
  std::vector<content::Digest> unwanted_;
  Ingests ingests_;
};

TEST_F(IngestsTest, WhatOneBroughtThatIsCancelledBeforeTheOthersOfItsPublicationIsTakenBackToo) {
  origin_.hold("slow");
  const std::string quick = start("quick", 1);
  const content::Digest brought = end_of(quick).table.value().digest();
  const std::string slow = ingests_.start(origin_.add("slow", random_bytes(100'000, 2)));
  EXPECT_TRUE(ingests_.cancel(quick));
  EXPECT_TRUE(taken_back().empty()) << "the other one may have the same bytes";
  EXPECT_TRUE(ingests_.cancel(slow));
  EXPECT_EQ(taken_back(), std::vector{brought});
  EXPECT_TRUE(end_of(slow).error);
  EXPECT_TRUE(taken_back().empty()) << "once";
}

TEST_F(IngestsTest, WhatACancelledOneBroughtStaysAsLongAsAnotherHasTheSameBytes) {
  const std::string first = start("first", 3);
  const content::Digest brought = end_of(first).table.value().digest();
  const std::string same = start("same", 3);
  EXPECT_TRUE(ingests_.cancel(first));
  EXPECT_EQ(end_of(same).how, "present");
  EXPECT_TRUE(taken_back().empty());
  EXPECT_TRUE(ingests_.cancel(same));
  EXPECT_EQ(taken_back(), std::vector{brought});
}

TEST_F(IngestsTest, WhatWasThereBeforeIsNotTakenBack) {
  store_.full(make_blob(100'000, 4));
  const std::string id = start("there", 4);
  EXPECT_EQ(end_of(id).how, "present");
  EXPECT_TRUE(ingests_.cancel(id));
  EXPECT_TRUE(taken_back().empty());
}

TEST_F(IngestsTest, AFileOfAnOriginIsHashedAndNothingOfItIsKept) {
  const TestBlob blob = make_blob(100'000, 5);
  RemoteFile file = origin_.add("far", blob.bytes);
  file.digest = blob.table.digest();
  IngestView view = end_of(ingests_.start(file));
  ASSERT_TRUE(view.table) << view.error->str();
  EXPECT_EQ(view.table->serialise(), blob.table.serialise());
  EXPECT_EQ(view.how, "hash");
  EXPECT_TRUE(store_->list().empty());
  file.digest = make_blob(100, 6).table.digest();
  view = end_of(ingests_.start(file));
  ASSERT_TRUE(view.error);
  EXPECT_EQ(view.error->code(), Errc::kCorrupt);
}

TEST_F(IngestsTest, ABlobWithoutAPieceTableHasNoneToGive) {
  const TestBlob blob = make_blob(100'000, 7);
  ASSERT_TRUE(store_->create_unsettled(blob.table.digest(), 100'000, store::Reservation::kFull));
  EXPECT_EQ(ingests_.table(blob.table.digest()).error().code(), Errc::kNotFound);
}

}  // namespace
}  // namespace shoal::agent
