#include "core/agent_client/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shoal::agent_client {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(Parse, AnAgentsErrorKeepsItsCodeAndText) {
  Error error = parse_error(409, R"({"error":{"code":"conflict","message":"it changed"}})");
  EXPECT_EQ(error, Error(Errc::kConflict, "it changed"));
}

TEST(Parse, AnErrorWithoutABodyIsNamedByItsStatus) {
  EXPECT_EQ(parse_error(404, "").code(), Errc::kNotFound);
  EXPECT_EQ(parse_error(503, "<html>").code(), Errc::kOverloaded);
  EXPECT_EQ(parse_error(507, "[]").code(), Errc::kNoSpace);
  EXPECT_EQ(parse_error(500, "{}").code(), Errc::kInternal);
  EXPECT_EQ(parse_error(418, R"({"error":7})").code(), Errc::kInvalid);
}

TEST(Parse, ReadsAStatus) {
  Result<AgentStatus> status = parse_status(
      R"({"node":"gpu-1","epoch":"9f","version":"0.1.0","unknown":{"x":1},
          "tracker":{"url":"https://t:6969","connected":true,"error":""},
          "store":{"used":5,"capacity":10,"free":20,"blobs":2},
          "rates":{"peers":1.5,"origin":2,"upload":3},"peers":4})");
  ASSERT_TRUE(status) << status.error().str();
  EXPECT_EQ(status->node, "gpu-1");
  EXPECT_TRUE(status->tracker_connected);
  EXPECT_EQ(status->store_capacity, 10u);
  EXPECT_DOUBLE_EQ(status->peers_rate, 1.5);
  EXPECT_EQ(status->peers, 4u);
}

TEST(Parse, AbsentAndNullFieldsHaveDefaults) {
  Result<AgentStatus> status = parse_status(R"({"node":null})");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->node, "");
  EXPECT_FALSE(status->tracker_connected);
}

TEST(Parse, ReadsBlobs) {
  Result<std::vector<BlobInfo>> blobs = parse_blobs(
      R"([{"digest":")" + kDigest + R"(","size":7,"bytes_have":3,"state":"live","pinned":true,
          "opened":false,"last_used_ms_ago":-1,"references":["m:1"]},
         {"digest":")" +
      kDigest + R"(","last_used_ms_ago":20}])");
  ASSERT_TRUE(blobs) << blobs.error().str();
  ASSERT_EQ(blobs->size(), 2u);
  EXPECT_TRUE((*blobs)[0].pinned);
  EXPECT_EQ((*blobs)[0].last_used_ago, std::nullopt);
  EXPECT_EQ((*blobs)[1].last_used_ago, milliseconds(20));
}

TEST(Parse, ReadsAnIngestInEachState) {
  EXPECT_EQ(parse_ingest(R"({"state":"running","bytes_done":1,"bytes_total":2})")->phase,
            IngestState::Phase::kRunning);
  std::string done = R"({"state":"done","size":2,"how":"reflink","digest":")" + kDigest;
  Result<IngestState> full =
      parse_ingest(done + R"(","pieces_root":")" + std::string(64, '0') + "\"}");
  ASSERT_TRUE(full) << full.error().str();
  EXPECT_EQ(full->pieces_root, content::Hash32{});
  EXPECT_EQ(parse_ingest(done + "\"}")->pieces_root, std::nullopt);
  EXPECT_FALSE(parse_ingest(done + R"(","pieces_root":"12"})"));
  Result<IngestState> failed =
      parse_ingest(R"({"state":"failed","error":{"code":"no_space","message":"full"}})");
  EXPECT_EQ(failed->error, Error(Errc::kNoSpace, "full"));
}

TEST(Parse, ReadsPullProgress) {
  Result<PullProgress> progress = parse_pull_progress(
      R"({"version":7,"state":"running","manifest":")" + kDigest +
      R"(","reference":"m:1","bytes_total":10,"bytes_done":4,"bytes_peers":1,"bytes_origin":2,
          "bytes_local":1,"rate":5.5,"eta_ms":100,"waiting_for":"x",
          "files":[{"path":"a/b","digest":")" +
      kDigest + R"(","size":10,"bytes_done":4}]})");
  ASSERT_TRUE(progress) << progress.error().str();
  EXPECT_EQ(progress->version, 7u);
  EXPECT_EQ(progress->eta, milliseconds(100));
  ASSERT_EQ(progress->files.size(), 1u);
  EXPECT_EQ(progress->files[0].path, "a/b");
  EXPECT_EQ(progress->error, std::nullopt);
}

TEST(Parse, WrongTypesAreCorruptAndNamed) {
  EXPECT_THAT(parse_status(R"({"peers":-1})").error().message(), HasSubstr("peers"));
  EXPECT_THAT(parse_status(R"({"store":[]})").error().message(), HasSubstr("used"));
  EXPECT_THAT(parse_blobs(R"({"digest":1})").error().message(), HasSubstr("array"));
  EXPECT_THAT(parse_published(R"({"manifest":"sha256:x"})").error().message(),
              HasSubstr("manifest"));
  EXPECT_THAT(parse_pull_progress(R"({"state":"odd"})").error().message(), HasSubstr("state"));
  EXPECT_EQ(parse_job("{").error().code(), Errc::kCorrupt);
  EXPECT_EQ(parse_job("{}").error().code(), Errc::kCorrupt);
}

TEST(Parse, EveryTruncationIsRefused) {
  std::string text = R"({"freed_bytes":3,"evicted":[")" + kDigest + R"("],"kept":[{"digest":")" +
                     kDigest + R"(","reason":"pinned"}]})";
  ASSERT_TRUE(parse_gc(text));
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(parse_gc(std::string_view(text).substr(0, length))) << length;
  }
}

TEST(Parse, ReadsAPublicationInEachState) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  auto running = parse_publication(
      R"({"state":"running","bytes_total":9,"bytes_done":4,"bytes_origin":3,"bytes_peers":1,)"
      R"("bytes_local":0,"waiting_for":"waiting for it","provisional":")" +
      digest +
      R"(","manifest":"","files":[{"path":"w","size":9,"bytes_done":4,"digest":"","how":""}]})");
  ASSERT_TRUE(running) << running.error().str();
  EXPECT_EQ(running->phase, PublicationState::Phase::kRunning);
  EXPECT_EQ(running->bytes_origin, 3u);
  EXPECT_EQ(running->bytes_peers, 1u);
  EXPECT_EQ(running->waiting_for, "waiting for it");
  EXPECT_FALSE(running->manifest);
  ASSERT_EQ(running->files.size(), 1u);
  EXPECT_EQ(running->files[0].bytes_done, 4u);
  auto done =
      parse_publication(R"({"state":"complete","manifest":")" + digest +
                        R"(","files":[{"path":"w","digest":")" + digest + R"(","how":"copy"}]})");
  ASSERT_TRUE(done) << done.error().str();
  EXPECT_EQ(done->manifest->str(), digest);
  EXPECT_EQ(done->files[0].digest.str(), digest);
  EXPECT_EQ(done->files[0].how, "copy");
  auto failed =
      parse_publication(R"({"state":"failed","error":{"code":"denied","message":"no access"}})");
  ASSERT_TRUE(failed) << failed.error().str();
  EXPECT_EQ(failed->error->code(), Errc::kDenied);
  EXPECT_FALSE(parse_publication(R"({"state":"failed"})")) << "without a reason";
  EXPECT_FALSE(parse_publication(R"({"state":"complete","files":[]})")) << "without its manifest";
  EXPECT_FALSE(parse_publication(R"({"state":"odd"})"));
  EXPECT_EQ(parse_publication_id(R"({"publication":"p1"})").value(), "p1");
  EXPECT_FALSE(parse_publication_id("{}"));
}

TEST(Parse, AListingOfAnOrigin) {
  auto listing = parse_listing(
      R"({"source":"s","annotations":{"k":"v"},"files":[{"path":"p","url":"u","size":3,)"
      R"("version":"v","digest":"sha256:)" +
      std::string(64, 'a') + R"("},{"path":"q","url":"w","size":0,"digest":""}]})");
  ASSERT_TRUE(listing) << listing.error().str();
  EXPECT_EQ(listing->annotations.at("k"), "v");
  ASSERT_EQ(listing->files.size(), 2u);
  EXPECT_EQ(listing->files[0].digest->hex(), std::string(64, 'a'));
  EXPECT_FALSE(listing->files[1].digest);
  EXPECT_FALSE(parse_listing(R"({"files":[{"path":1}]})"));
  EXPECT_FALSE(parse_listing(R"({"files":[{"digest":"sha256:x"}]})"));
}

}  // namespace
}  // namespace shoal::agent_client
