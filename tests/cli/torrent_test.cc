// shoal torrent export, against an agent that forwards to a catalogue.
#include "core/content/torrent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>

#include "core/api/catalogue.h"
#include "core/api/message.h"
#include "core/content/manifest.h"
#include "core/content/piece_hasher.h"
#include "tests/cli/command_run.h"
#include "tests/cli/temp_dir.h"
#include "tests/fakes/fake_agent.h"

namespace shoal::cli {
namespace {

using fakes::FakeAgent;
using fakes::FakeAnswer;
using fakes::FakeRequest;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

FakeAnswer refuse(int status, std::string_view code) {
  return {.status = status,
          .body = Json{{"error", {{"code", code}, {"message", "the tracker says so"}}}}.dump()};
}

std::string bytes_of(const content::PieceTable& table) {
  std::vector<std::byte> bytes = table.serialise();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class TorrentTest : public ::testing::Test {
 protected:
  TorrentTest() {
    add("config.json", 100);
    add("weights/1.bin", 200'000);
    add("weights/2.bin", 300'000);
    publish();
  }

  void add(std::string_view path, std::size_t size) {
    std::string text(size, path.back());
    text += path;
    content::BlobHasher hasher{content::BlobLayout(text.size())};
    EXPECT_TRUE(hasher.update(std::as_bytes(std::span(text))));
    content::PieceTable table = content::PieceTable::make(*hasher.finish());
    files_.push_back({*content::RelativePath::parse(path), table.digest(), text.size(),
                      table.pieces_root(), ""});
    tables_.emplace("/v1/tracker/tables/" + table.digest().str(), std::move(table));
  }
  void publish() { model_ = *content::make_model("8b", files_, std::nullopt); }

  content::Torrent expected(std::vector<std::string> announce = {}) {
    auto torrent = content::ModelTorrent::of(model_.manifest, model_.manifest_digest);
    for (const auto& [target, table] : tables_) EXPECT_TRUE(torrent->add(table));
    return *torrent->finish(announce);
  }

  FakeAnswer handle(FakeRequest& request) {
    const std::string& target = request.target;
    if (custom_) {
      if (auto answer = custom_(request)) return *answer;
    }
    if (target.starts_with("/v1/tracker/resolve?")) {
      api::Resolved resolved;
      resolved.reference = "llama/8b:v1";
      resolved.manifest = model_.manifest_digest;
      return {.body = api::encode(resolved)};
    }
    if (target == "/v1/tracker/manifests/" + model_.manifest_digest.str()) {
      return {.body = model_.manifest_json};
    }
    if (auto it = tables_.find(target); it != tables_.end()) return {.body = bytes_of(it->second)};
    return refuse(404, "not_found");
  }

  Ran run(std::vector<std::string> more, std::string reference = "llama/8b:v1") {
    std::vector<std::string> args{"--agent", server_.socket().string(), "torrent", "export",
                                  std::move(reference)};
    args.insert(args.end(), more.begin(), more.end());
    return command_.run(args);
  }
  Ran run_json(std::vector<std::string> more) {
    more.emplace_back("--json");
    return run(std::move(more));
  }
  std::string out() { return (dir_ / "x.torrent").string(); }

  TempDir dir_;
  std::vector<content::ModelFile> files_;
  std::map<std::string, content::PieceTable> tables_;  // by the target that asks for it
  content::ModelDocuments model_;
  std::function<std::optional<FakeAnswer>(FakeRequest&)> custom_;
  CommandRun command_;  // outlives the server, whose thread presses its Ctrl-C
  FakeAgent server_{[this](FakeRequest& request) { return handle(request); }};
};

TEST_F(TorrentTest, WritesTheTorrentAndSaysItsHashAndLink) {
  const std::vector<std::string> urls{"http://t.example:6881/announce", "udp://u.example:1"};
  Ran ran = run({"-o", out(), "--announce", urls[0], "--announce", urls[1]});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  content::Torrent torrent = expected(urls);
  EXPECT_EQ(dir_.read("x.torrent"), torrent.bytes);
  EXPECT_THAT(ran.out, AllOf(HasSubstr(out()), HasSubstr(torrent.info_hash.hex()),
                             HasSubstr(torrent.magnet() + "\n"), HasSubstr("name       8b\n"),
                             HasSubstr("3 files"), HasSubstr("64.0 KiB"), Not(HasSubstr("DHT"))));
  struct stat status {};
  ASSERT_EQ(::stat(out().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0400u, 0400u);
  // Nothing else is left in the folder.
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, ElementsAre("x.torrent"));
  EXPECT_THAT(run({"-o", (dir_ / "y").string()}).out, HasSubstr("DHT"));
}

TEST_F(TorrentTest, AsksForNoTableOfASingleHash) {
  ASSERT_EQ(run({"-o", out()}).code, kExitOk);
  EXPECT_EQ(server_.seen().size(), 4u);  // resolve, manifest, two tables
}

TEST_F(TorrentTest, TellsTheSameInJson) {
  Ran ran = run_json({"-o", out(), "--announce=https://t/a"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  content::Torrent torrent = expected({"https://t/a"});
  Json json = ran.json();
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["file"], out());
  EXPECT_EQ(json["written"], true);
  EXPECT_EQ(json["name"], "8b");
  EXPECT_EQ(json["reference"], "llama/8b:v1");
  EXPECT_EQ(json["manifest"], model_.manifest_digest.str());
  EXPECT_EQ(json["info_hash"], torrent.info_hash.hex());
  EXPECT_EQ(json["magnet"], torrent.magnet());
  EXPECT_EQ(json["announce"], (Json{"https://t/a"}));
  EXPECT_EQ(json["piece_length"], 65'536);
  EXPECT_EQ(json["files"], 3);
  EXPECT_EQ(json["bytes_total"], model_.manifest.total_size());
}

TEST_F(TorrentTest, WritesNothingElseToStandardOutput) {
  Ran ran = run({"-o", "-"});
  EXPECT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(ran.out, expected().bytes);
  EXPECT_EQ(run_json({"-o", "-"}).code, kExitUsage);
}

TEST_F(TorrentTest, NamesTheFileAfterTheReference) {
  std::filesystem::create_directory(dir_ / "folder");
  EXPECT_EQ(run_json({"-o", (dir_ / "folder").string()}).json()["file"],
            (dir_ / "folder/llama-8b-v1.torrent").string());
  // A folder that is not there yet shows by its slash.
  EXPECT_EQ(run_json({"-o", (dir_ / "new/").string()}).json()["file"],
            (dir_ / "new/llama-8b-v1.torrent").string());
  std::string hex(64, 'a');
  Ran ran = run({"--json", "-o", dir_.path().string()}, "llama/8b@sha256:" + hex);
  EXPECT_EQ(ran.json()["file"], (dir_ / "llama-8b-aaaaaaaaaaaa.torrent").string());
}

TEST_F(TorrentTest, ReplacesAnotherFileOnlyWhenTold) {
  dir_.write("x.torrent", "something else");
  Ran ran = run_json({"-o", out()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_EQ(ran.json()["error"]["code"], "conflict");
  EXPECT_THAT(ran.err, HasSubstr("--force"));
  EXPECT_EQ(dir_.read("x.torrent"), "something else");
  EXPECT_EQ(run_json({"-o", out(), "--force"}).json()["written"], true);
  EXPECT_EQ(dir_.read("x.torrent"), expected().bytes);
  // The same again is no conflict and no work.
  EXPECT_EQ(run_json({"-o", out()}).json()["written"], false);
}

TEST_F(TorrentTest, SaysWhatStandsInTheWay) {
  dir_.write("file", "x");
  Ran ran = run({"-o", (dir_ / "file/x.torrent").string()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr((dir_ / "file").string()));
}

TEST_F(TorrentTest, SaysThatATableIsMissingAndWhatToDo) {
  tables_.erase("/v1/tracker/tables/" + files_[2].digest.str());
  Ran ran = run_json({"-o", out()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_EQ(ran.json()["error"]["code"], "not_found");
  EXPECT_THAT(ran.err, AllOf(HasSubstr("weights/2.bin"), HasSubstr("shoal publish")));
  EXPECT_FALSE(std::filesystem::exists(out()));
}

TEST_F(TorrentTest, AsksAgainWhileTheTrackerIsBusy) {
  int busy = 2;
  custom_ = [&](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (!request.target.starts_with("/v1/tracker/tables/") || busy == 0) return std::nullopt;
    --busy;
    return refuse(503, "overloaded");
  };
  EXPECT_EQ(run({"-o", out()}).code, kExitOk);
  EXPECT_EQ(busy, 0);
}

TEST_F(TorrentTest, CtrlCEndsTheWaitingForABusyTracker) {
  custom_ = [&](FakeRequest& request) -> std::optional<FakeAnswer> {
    if (!request.target.starts_with("/v1/tracker/tables/")) return std::nullopt;
    command_.press_ctrl_c();
    return refuse(503, "overloaded");
  };
  EXPECT_EQ(run({"-o", out()}).code, kExitInterrupted);
}

TEST_F(TorrentTest, TrustsNoTableThatContradictsTheManifest) {
  auto first = tables_.find("/v1/tracker/tables/" + files_[1].digest.str());
  auto second = tables_.find("/v1/tracker/tables/" + files_[2].digest.str());
  ASSERT_TRUE(first != tables_.end() && second != tables_.end());
  std::swap(first->second, second->second);
  Ran ran = run_json({"-o", out()});
  EXPECT_EQ(ran.json()["error"]["code"], "corrupt");
  EXPECT_FALSE(std::filesystem::exists(out()));
}

TEST_F(TorrentTest, TrustsNoManifestWithAnotherDigest) {
  model_.manifest_json += ' ';
  EXPECT_EQ(run_json({"-o", out()}).json()["error"]["code"], "corrupt");
}

TEST_F(TorrentTest, SaysWhatCannotBeATorrent) {
  model_.manifest_json = R"({"schemaVersion":2})";
  model_.manifest_digest = content::digest_of(model_.manifest_json);
  Ran ran = run({"-o", out()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("torrents are made of models"));
  files_.clear();
  content::BlobHasher nothing{content::BlobLayout(0)};
  files_.push_back(
      {*content::RelativePath::parse("e"), nothing.finish()->digest, 0, std::nullopt, ""});
  publish();
  EXPECT_THAT(run({"-o", out()}).err, HasSubstr("the model has no bytes"));
}

TEST_F(TorrentTest, PassesOnWhatTheTrackerSays) {
  custom_ = [](FakeRequest&) { return refuse(404, "not_found"); };
  Ran ran = run_json({"-o", out()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_EQ(ran.json()["error"]["code"], "not_found");
  EXPECT_THAT(ran.err, HasSubstr("the tracker says so"));
  custom_ = [](FakeRequest&) { return refuse(502, "unavailable"); };
  EXPECT_EQ(run_json({"-o", out()}).json()["error"]["code"], "unavailable");
}

TEST_F(TorrentTest, MistakesInTheCommandReachNobody) {
  EXPECT_EQ(run({"-o", out()}, "UPPER:1").code, kExitUsage);
  EXPECT_EQ(run({"-o", out(), "--announce", "ftp://x"}).code, kExitUsage);
  EXPECT_EQ(command_.run({"torrent", "export"}).code, kExitUsage);
  EXPECT_EQ(command_.run({"torrent", "import", "m:1"}).code, kExitUsage);
  EXPECT_TRUE(server_.seen().empty());
}

}  // namespace
}  // namespace shoal::cli
