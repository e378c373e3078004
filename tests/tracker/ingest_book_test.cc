#include "tracker/ingests/ingest_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shoal::tracker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::int64_t kUnix = 1'800'000'000'000;

class IngestBookTest : public ::testing::Test {
 protected:
  static content::Digest manifest(const std::string& name) { return content::digest_of(name); }
  static StoredIngest ingest(const std::string& name, const std::string& node = "gpu-1",
                             const std::string& epoch = "aa") {
    return {.manifest = manifest(name),
            .reference = name + ":1",
            .node = node,
            .epoch = epoch,
            .created_unix_ms = kUnix,
            .updated_unix_ms = kUnix};
  }
  static StoredIngest failed(StoredIngest of, std::int64_t when) {
    of.state = api::IngestState::kFailed;
    of.error = Error(Errc::kUnavailable, "gone");
    of.updated_unix_ms = when;
    return of;
  }
  std::vector<std::string> lost() {
    std::vector<std::string> out;
    for (const auto& each : book_.take_lost(now_)) {
      out.push_back(each.ingest.reference + " " + each.why.message());
    }
    return out;
  }

  swarm::Time now_{seconds(1000)};
  IngestBook book_{{}};
};

TEST_F(IngestBookTest, APublisherThatIsThereLosesNothing) {
  book_.put(ingest("m"), now_);
  book_.node_came("gpu-1", "aa");
  now_ += std::chrono::hours(100);
  EXPECT_THAT(lost(), IsEmpty());
  EXPECT_EQ(book_.running(), 1u);
  EXPECT_EQ(book_.running_for("m:1")->manifest, manifest("m"));
  EXPECT_EQ(book_.running_for("m:2"), nullptr);
}

TEST_F(IngestBookTest, APublisherThatIsAbsentHasAMinute) {
  book_.put(ingest("m"), now_);
  book_.put(ingest("other", "gpu-2"), now_);
  book_.node_came("gpu-1", "aa");
  book_.node_came("gpu-2", "aa");
  now_ += seconds(5);
  book_.node_left("gpu-1", now_);
  now_ += seconds(30);
  book_.node_left("gpu-1", now_);  // still: its minute does not begin anew
  now_ += seconds(30);
  EXPECT_THAT(lost(), IsEmpty());
  now_ += milliseconds(1);
  EXPECT_THAT(lost(), ElementsAre("m:1 node gpu-1, which was publishing it, is gone: publish it "
                                  "again there or on another node"));
}

TEST_F(IngestBookTest, APublisherThatComesBackInTimeGoesOn) {
  book_.put(ingest("m"), now_);
  now_ += seconds(60);
  book_.node_came("gpu-1", "aa");
  now_ += seconds(60);
  EXPECT_THAT(lost(), IsEmpty());
}

TEST_F(IngestBookTest, APublisherInAnotherLifeHasForgottenWhatItRead) {
  book_.put(ingest("m"), now_);
  book_.put(ingest("new", "gpu-1", "bb"), now_);
  book_.node_came("gpu-1", "bb");
  EXPECT_THAT(
      lost(),
      ElementsAre("m:1 node gpu-1, which was publishing it, was restarted: publish it again"));
  // It begins it again in that life.
  book_.put(ingest("m", "gpu-1", "bb"), now_);
  book_.node_came("gpu-1", "bb");
  now_ += std::chrono::hours(1);
  EXPECT_THAT(lost(), IsEmpty());
}

TEST_F(IngestBookTest, AFailureThatWasNotWrittenIsTriedAgain) {
  book_.put(ingest("m"), now_);
  book_.node_came("gpu-1", "bb");
  EXPECT_EQ(lost().size(), 1u);
  now_ += seconds(10) - milliseconds(1);
  EXPECT_THAT(lost(), IsEmpty());
  now_ += milliseconds(1);
  EXPECT_EQ(lost().size(), 1u);
  book_.put(failed(ingest("m"), kUnix + 1), now_);
  now_ += std::chrono::hours(1);
  EXPECT_THAT(lost(), IsEmpty());
}

TEST_F(IngestBookTest, AVersionGrowsWithEachChangeAndOverRestarts) {
  EXPECT_EQ(book_.version(manifest("m")), 0u);
  EXPECT_EQ(book_.status(manifest("m")).error().code(), Errc::kNotFound);
  book_.put(ingest("m"), now_);
  const std::uint64_t first = book_.version(manifest("m"));
  EXPECT_GT(first, 0u);
  book_.put(ingest("m"), now_);
  EXPECT_EQ(book_.version(manifest("m")), first);
  book_.put(failed(ingest("m"), kUnix), now_);  // within the same millisecond
  EXPECT_GT(book_.version(manifest("m")), first);
  EXPECT_EQ(book_.status(manifest("m"))->version, book_.version(manifest("m")));
  EXPECT_EQ(book_.status(manifest("m"))->error->message(), "gone");

  IngestBook next{{}};
  next.put(failed(ingest("m"), kUnix + 5), now_);
  EXPECT_NE(next.version(manifest("m")), first);
}

TEST_F(IngestBookTest, ListsWhatEndedForAnHourAndKeepsItForADay) {
  const std::int64_t hour = 3600 * 1000;
  StoredIngest newer = ingest("newer");
  newer.created_unix_ms = kUnix + 1;
  book_.put(ingest("m"), now_);
  book_.put(failed(newer, kUnix + 1), now_);
  auto references = [&](std::int64_t when) {
    std::vector<std::string> out;
    for (const auto& each : book_.list(when).ingests) out.push_back(each.reference);
    return out;
  };
  EXPECT_THAT(references(kUnix + 1 + hour), ElementsAre("newer:1", "m:1"));
  EXPECT_THAT(references(kUnix + 2 + hour), ElementsAre("m:1"));
  book_.tick(kUnix + 1 + 24 * hour);
  EXPECT_TRUE(book_.status(manifest("newer")));
  book_.tick(kUnix + 2 + 24 * hour);
  EXPECT_FALSE(book_.status(manifest("newer")));
  EXPECT_TRUE(book_.status(manifest("m")));
}

}  // namespace
}  // namespace shoal::tracker
