// The listener for BitTorrent clients on a real socket, beside a tracker with a catalogue.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/api/ingest.h"
#include "core/base/metrics.h"
#include "core/content/torrent.h"
#include "tests/tracker/service_fixture.h"
#include "tracker/bittorrent/bittorrent_listener.h"

namespace shoal::tracker {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string escaped(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (char c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out;
}

std::string info_hash(const TestModel& model) {
  auto torrent = content::ModelTorrent::of(model.documents.manifest, model.digest());
  EXPECT_TRUE(torrent);
  for (const content::PieceTable& table : model.tables) EXPECT_TRUE(torrent->add(table));
  content::TruncatedInfoHash hash = torrent->info_hash()->truncated();
  return escaped({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

class BitTorrentTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    start_listener();
  }
  void TearDown() override {
    stop_listener();
    ServiceTest::TearDown();
  }

  void start_listener() {
    BitTorrentListener::Options options;
    options.listen = any_port();
    options.expiry = std::chrono::milliseconds(1);
    options.swarms = swarm_options_;
    listener_ =
        std::make_unique<BitTorrentListener>(io_.get_executor(), options, service_->control());
    Status started = listener_->start();
    ASSERT_TRUE(started) << started.error().str();
    http::Client::Options client;
    client.server.endpoint = listener_->local();
    bt_client_ = std::make_unique<http::Client>(io_.get_executor(), std::move(client));
  }
  void stop_listener() {
    bt_client_.reset();
    if (listener_) run_to_end(io_, listener_->stop(Deadline::after(std::chrono::seconds(5))));
    listener_.reset();
  }

  std::string ask(std::string path, std::string query) {
    http::Request what = request("GET", std::move(path));
    what.raw_query = std::move(query);
    http::Response response = send(*bt_client_, std::move(what));
    EXPECT_EQ(response.status, 200) << response.body;
    return response.body;
  }
  std::string announce(const std::string& hash, int port, const std::string& more = "&left=1") {
    return ask("/announce", "info_hash=" + hash + "&peer_id=-XX0001-" +
                                std::to_string(100'000'000'000 + port) +
                                "&port=" + std::to_string(port) + more);
  }

  SwarmTable::Options swarm_options_;
  std::unique_ptr<BitTorrentListener> listener_;
  std::unique_ptr<http::Client> bt_client_;
  const TestModel model_ =
      make_test_model("m", {{"a.bin", std::string(200'000, 'a')}, {"b.json", "{}"}, {"empty", ""}});
};

TEST_F(BitTorrentTest, ClientsOfAPublishedModelFindOneAnother) {
  publish(model_, "m:1");
  const std::string hash = info_hash(model_);
  EXPECT_EQ(announce(hash, 7000, "&left=0&event=started"),
            "d8:completei1e10:incompletei0e8:intervali300e12:min intervali60e5:peers0:6:peers60:e");
  const std::string seed("\x7f\0\0\x01\x1b\x58", 6);
  EXPECT_EQ(announce(hash, 7001),
            "d8:completei1e10:incompletei1e8:intervali300e12:min intervali60e5:peers6:" + seed +
                "6:peers60:e");
  EXPECT_THAT(ask("/scrape", "info_hash=" + hash),
              HasSubstr("d8:completei1e10:downloadedi0e10:incompletei1e"));
  announce(hash, 7001, "&left=0&event=completed");
  EXPECT_THAT(ask("/scrape", "info_hash=" + hash),
              HasSubstr("d8:completei2e10:downloadedi1e10:incompletei0e"));
  announce(hash, 7000, "&left=0&event=stopped");
  EXPECT_THAT(ask("/scrape", "info_hash=" + hash), HasSubstr("d8:completei1e"));
}

// What is being read has no torrent yet, and does not keep others from theirs.
TEST_F(BitTorrentTest, AModelThatIsBeingReadIsServedOnceItHasSettled) {
  const TestModel other = make_test_model("other", {{"a.bin", "other"}});
  publish(other, "other:1");
  const TestModel unread = make_unread_model("m", {{"a.bin", std::string(200'000, 'a')}});
  auto manifest =
      request("PUT", api::paths::manifest(unread.digest()), std::string(unread.manifest()));
  manifest.headers.set("Content-Type", "application/vnd.oci.image.manifest.v1+json");
  EXPECT_EQ(send(std::move(manifest)).status, 204);
  api::IngestUpdate said{
      .reference = "m:1", .node = "n1", .epoch = "1", .state = api::IngestState::kRunning};
  auto say = [&] {
    return send(request("PUT", api::paths::ingest(unread.digest()), api::encode(said))).status;
  };
  EXPECT_EQ(say(), 200);
  EXPECT_THAT(announce(info_hash(other), 7000), HasSubstr("8:interval"));
  EXPECT_THAT(announce(info_hash(model_), 7000), StartsWith("d14:failure reason"));
  publish(model_, "elsewhere:1");
  EXPECT_EQ(send(request("DELETE", std::string(api::paths::kReferences), "",
                         api::paths::reference_query("elsewhere:1")))
                .status,
            200);
  EXPECT_THAT(announce(info_hash(model_), 7000), StartsWith("d14:failure reason"));
  said.state = api::IngestState::kSettled;
  said.settled_as = model_.digest();
  EXPECT_EQ(say(), 200);
  EXPECT_THAT(announce(info_hash(model_), 7000), HasSubstr("8:interval"));
}

TEST_F(BitTorrentTest, OnlyTorrentsOfTheCatalogueAreServed) {
  const std::string hash = info_hash(model_);
  EXPECT_THAT(announce(hash, 7000), StartsWith("d14:failure reason"));
  EXPECT_EQ(ask("/scrape", "info_hash=" + hash), "d5:filesdee");
  publish(model_, "m:1");
  EXPECT_THAT(announce(hash, 7000), HasSubstr("8:interval"));
  // Another name keeps it, the last one takes it along, and what was known of the swarm with it.
  publish(model_, "m:2");
  auto remove = [&](const std::string& reference) {
    return send(request("DELETE", std::string(api::paths::kReferences), "",
                        api::paths::reference_query(reference)))
        .status;
  };
  EXPECT_EQ(remove("m:1"), 200);
  EXPECT_THAT(announce(hash, 7001), HasSubstr("5:peers6:"));
  EXPECT_EQ(remove("m:2"), 200);
  EXPECT_THAT(announce(hash, 7001), StartsWith("d14:failure reason"));
  publish(model_, "m:3");
  EXPECT_THAT(announce(hash, 7002), HasSubstr("5:peers0:"));
}

TEST_F(BitTorrentTest, ATagThatMovesTakesTheOldTorrentAway) {
  publish(model_, "m:1");
  const TestModel next = make_test_model("m", {{"a.bin", "other"}});
  publish(next, "m:1");
  EXPECT_THAT(announce(info_hash(model_), 7000), StartsWith("d14:failure reason"));
  EXPECT_THAT(announce(info_hash(next), 7000), HasSubstr("8:interval"));
}

TEST_F(BitTorrentTest, KnowsTheCatalogueAfterARestart) {
  publish(model_, "m:1");
  EXPECT_THAT(announce(info_hash(model_), 7000), HasSubstr("8:interval"));
  stop_listener();
  restart();
  start_listener();
  EXPECT_THAT(announce(info_hash(model_), 7001), HasSubstr("5:peers0:"));
}

// A manifest of another program says no roots: then the piece tables do.
TEST_F(BitTorrentTest, TakesRootsFromPieceTablesWhereTheManifestHasNone) {
  TestModel foreign = model_;
  const std::string annotation(content::kPiecesRootAnnotation);
  auto manifest = nlohmann::json::parse(foreign.documents.manifest_json);
  for (auto& layer : manifest["layers"]) layer["annotations"].erase(annotation);
  foreign.documents.manifest_json = manifest.dump();
  foreign.documents.manifest_digest = content::digest_of(foreign.documents.manifest_json);
  foreign.documents.manifest = *content::ModelManifest::parse(foreign.documents.manifest_json);
  ASSERT_FALSE(foreign.documents.manifest.files[0].pieces_root);
  TestModel tableless = foreign;
  tableless.tables.clear();
  publish(tableless, "m:1");
  // Of the same name and files, so it is the same torrent; but who says that the files have it?
  EXPECT_THAT(announce(info_hash(foreign), 7000), StartsWith("d14:failure reason"));
  publish(foreign, "m:1");
  EXPECT_THAT(announce(info_hash(foreign), 7000), HasSubstr("8:interval"));
}

TEST_F(BitTorrentTest, MistakesAreAnsweredInTheClientsLanguage) {
  EXPECT_EQ(ask("/announce", ""), "d14:failure reason20:info_hash is missinge");
  EXPECT_EQ(ask("/announce", "info_hash=%zz"), "d14:failure reason26:info_hash must be 20 bytese");
  EXPECT_THAT(ask("/scrape", ""), StartsWith("d14:failure reason"));
  http::Response nothing = send(*bt_client_, request("GET", "/"));
  EXPECT_EQ(nothing.status, 404);
}

TEST_F(BitTorrentTest, ACatalogueThatCannotBeReadHidesOnlyWhatIsNew) {
  publish(model_, "m:1");
  announce(info_hash(model_), 7000);
  const TestModel next = make_test_model("m", {{"a.bin", "other"}});
  publish(next, "m:2");
  run_to_end(io_, service_->control().stop());
  EXPECT_THAT(announce(info_hash(model_), 7001), HasSubstr("5:peers6:"));
  EXPECT_THAT(announce(info_hash(next), 7000), HasSubstr("cannot read its catalogue"));
  EXPECT_THAT(ask("/scrape", "info_hash=" + info_hash(model_)), HasSubstr("incompletei2e"));
  EXPECT_THAT(ask("/scrape", "info_hash=" + info_hash(model_) + "&info_hash=" + info_hash(next)),
              HasSubstr("cannot read its catalogue"));
}

TEST_F(BitTorrentTest, SilentClientsAreForgotten) {
  stop_listener();
  swarm_options_.lifetime = std::chrono::milliseconds(1);
  start_listener();
  publish(model_, "m:1");
  const std::string hash = info_hash(model_);
  announce(hash, 7000);
  std::string answer;
  do {
    answer = ask("/scrape", "info_hash=" + hash);
  } while (answer.find("10:incompletei1e") != std::string::npos);
  EXPECT_THAT(answer, HasSubstr("10:incompletei0e"));
}

TEST_F(BitTorrentTest, CountsInMetrics) {
  publish(model_, "m:1");
  announce(info_hash(model_), 7000, "&left=0");
  announce(info_hash(model_), 7001);
  announce(escaped(std::string(20, 'x')), 7000);
  ask("/announce", "");
  std::string text = metrics::render();
  EXPECT_THAT(text, HasSubstr("shoal_tracker_bittorrent_clients{role=\"seed\"} 1"));
  EXPECT_THAT(text, HasSubstr("shoal_tracker_bittorrent_clients{role=\"leech\"} 1"));
  EXPECT_THAT(text, HasSubstr("shoal_tracker_bittorrent_torrents 1"));
  for (std::string result : {"ok", "unknown", "invalid"}) {
    EXPECT_THAT(text, HasSubstr("shoal_tracker_bittorrent_announces_total{result=\"" + result));
  }
}

}  // namespace
}  // namespace shoal::tracker
