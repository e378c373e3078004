#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "core/base/hex.h"
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

// The ingest half of an agent: reads what it is handed and answers with the real hashes.
class IngestingAgent {
 public:
  FakeAnswer handle(FakeRequest& request) {
    if (request.target == "/v1/ingests") return start(request);
    if (request.target == "/v1/listings") {
      listed.push_back(Json::parse(request.body));
      return {.body = listing};
    }
    if (request.target == "/v1/publications") {
      publication = Json::parse(request.body);
      return {.status = 202, .body = R"({"publication":"p1"})"};
    }
    if (request.method == "GET" && request.target.starts_with("/v1/publications/p1")) {
      if (on_poll) on_poll("p1");
      return {.body = publication_state()};
    }
    if (request.target == "/v1/publish") {
      published = Json::parse(request.body);
      content::Digest digest =
          content::digest_of(std::string_view(published["manifest"].get_ref<std::string&>()));
      return {.body = Json{{"manifest", digest.str()}}.dump()};
    }
    if (request.method == "DELETE") {
      cancelled.push_back(request.target);
      return {.status = 204};
    }
    std::string job = request.target.substr(std::string_view("/v1/ingests/").size());
    job = job.substr(0, job.find('?'));
    if (on_poll) on_poll(job);
    if (never_done) return {.body = R"({"state":"running","bytes_done":1,"bytes_total":2})"};
    return {.body = jobs.at(job)};
  }

  Json published;
  Json publication;
  std::vector<Json> listed;
  std::string listing;
  std::vector<Json> started;
  std::vector<std::string> cancelled;
  std::map<std::string, std::string> jobs;
  std::function<void(const std::string&)> on_poll;
  bool never_done = false;
  int refuse_starts = 0;
  std::string failure;

 private:
  // As an agent would that has read nothing but zeros.
  std::string publication_state() const {
    if (!failure.empty()) return failure;
    Json files = Json::array();
    for (const Json& file : publication["files"]) {
      const std::vector<std::byte> bytes(file["size"].get<std::size_t>());
      files.push_back({{"path", file["path"]},
                       {"size", file["size"]},
                       {"bytes_done", never_done ? Json(0) : file["size"]},
                       {"digest", content::digest_of(bytes).str()},
                       {"how", "copy"}});
    }
    return Json{{"state", never_done ? "running" : "complete"},
                {"bytes_total", 100'002},
                {"bytes_done", never_done ? 0 : 100'002},
                {"manifest", content::digest_of("its manifest").str()},
                {"files", files}}
        .dump();
  }

  FakeAnswer start(FakeRequest& request) {
    if (refuse_starts-- > 0) {
      return {.status = 503, .body = R"({"error":{"code":"overloaded","message":"busy"}})"};
    }
    started.push_back(Json::parse(request.body));
    std::string job = std::to_string(started.size());
    jobs[job] = !failure.empty() ? failure
                : request.fds.empty()
                    ? hash(std::vector<std::byte>(started.back()["size"].get<std::size_t>()))
                    : hash(request.fds.at(0).get());
    return {.status = 202, .body = Json{{"job", job}}.dump()};
  }

  static std::string hash(int fd) {
    struct stat status {};
    EXPECT_EQ(::fstat(fd, &status), 0);
    std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
    EXPECT_EQ(::pread(fd, bytes.data(), bytes.size(), 0), status.st_size);
    return hash(bytes);
  }

  static std::string hash(const std::vector<std::byte>& bytes) {
    content::BlobHasher hasher{content::BlobLayout(bytes.size())};
    EXPECT_TRUE(hasher.update(bytes));
    content::BlobHashes hashes = *hasher.finish();
    Json done{{"state", "done"}, {"digest", hashes.digest.str()}, {"size", bytes.size()},
              {"how", "copy"},   {"bytes_done", bytes.size()},    {"bytes_total", bytes.size()}};
    if (hashes.pieces_root) done["pieces_root"] = to_hex(*hashes.pieces_root);
    return done.dump();
  }
};

class PublishTest : public ::testing::Test {
 protected:
  Ran publish(std::vector<std::string> more) {
    std::vector<std::string> args{"--agent", server_.socket().string(),
                                  "publish", (dir_ / "model").string(),
                                  "--as",    "team/m:1",
                                  "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return command_.run(args);
  }

  Ran publish_url(std::vector<std::string> more) {
    std::vector<std::string> args{
        "--agent", server_.socket().string(), "publish", "--as", "team/m:1", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return command_.run(args);
  }

  TempDir dir_;
  IngestingAgent agent_;
  CommandRun command_;  // outlives the server, whose thread presses its Ctrl-C
  FakeAgent server_{[this](FakeRequest& request) { return agent_.handle(request); }};
};

TEST_F(PublishTest, GivesTheAgentEveryFileAndTheManifestOfThem) {
  dir_.write("model/model.safetensors", std::string(100'000, 'w'));
  dir_.write("model/sub/config.json", "{}");
  dir_.write("model/empty", "");
  Ran ran = publish({});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(agent_.started.size(), 3u);
  EXPECT_THAT(agent_.started,
              Contains(Json{{"mode", "copy"},
                            {"path", std::filesystem::canonical(dir_ / "model/empty").string()}}));
  EXPECT_EQ(agent_.published["reference"], "team/m:1");
  EXPECT_EQ(agent_.published["origins"], Json::array());
  auto manifest = content::ModelManifest::parse(
      std::string_view(agent_.published["manifest"].get_ref<std::string&>()));
  ASSERT_TRUE(manifest) << manifest.error().str();
  EXPECT_EQ(manifest->title, "m");
  ASSERT_EQ(manifest->files.size(), 3u);
  EXPECT_EQ(manifest->files[0].path.str(), "empty");
  EXPECT_EQ(manifest->files[2].path.str(), "sub/config.json");
  EXPECT_EQ(manifest->files[2].digest, content::digest_of(std::string_view("{}")));
  EXPECT_EQ(ran.json()["ok"], true);
  EXPECT_EQ(ran.json()["bytes_total"], 100'002);
  EXPECT_EQ(ran.json()["files"].size(), 3u);
}

TEST_F(PublishTest, AnOriginNamesEachFileByItsEncodedPath) {
  dir_.write("model/a b", "x");
  Ran ran = publish({"--origin", "https://models.example/m", "--no-store"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(agent_.started[0]["mode"], "hash");
  EXPECT_EQ(agent_.published["origins"],
            (Json::array({{{"blob", content::digest_of(std::string_view("x")).str()},
                           {"url", "https://models.example/m/a%20b"}}})));
}

TEST_F(PublishTest, AnOriginInAFolderIsAFileUrlAndStaysOutOfTheManifest) {
  dir_.write("model/a b", "x");
  for (const char* folder : {"dir:/srv/my models", "file:///srv/my%20models/"}) {
    Ran ran = publish({"--origin", folder, "--no-store"});
    ASSERT_EQ(ran.code, kExitOk) << ran.err;
    EXPECT_EQ(agent_.published["origins"],
              (Json::array({{{"blob", content::digest_of(std::string_view("x")).str()},
                             {"url", "file:///srv/my%20models/a%20b"}}})));
    EXPECT_EQ(agent_.published["manifest"].get<std::string>().find("/srv"), std::string::npos);
  }
}

TEST_F(PublishTest, InPlaceSaysSo) {
  dir_.write("model/a", "x");
  ASSERT_EQ(publish({"--in-place"}).code, kExitOk);
  EXPECT_EQ(agent_.started[0]["mode"], "in-place");
}

TEST_F(PublishTest, ComesBackLaterWhenTheAgentIsBusy) {
  for (int i = 0; i < 6; ++i) dir_.write("model/" + std::to_string(i), "x");
  agent_.refuse_starts = 1;
  ASSERT_EQ(publish({}).code, kExitOk);
  EXPECT_EQ(agent_.started.size(), 6u);
}

TEST_F(PublishTest, AFileThatChangesMeanwhileIsNamed) {
  dir_.write("model/a", "x");
  agent_.on_poll = [this](const std::string&) { dir_.write("model/a", "xy"); };
  Ran ran = publish({});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("'a' changed while it was being published"));
  EXPECT_EQ(ran.json()["error"]["code"], "conflict");
  EXPECT_TRUE(agent_.published.is_null());
}

TEST_F(PublishTest, AFailedFileIsNamedAndEndsTheOthers) {
  for (int i = 0; i < 3; ++i) dir_.write("model/" + std::to_string(i), "x");
  agent_.failure = R"({"state":"failed","error":{"code":"no_space","message":"store full"}})";
  Ran ran = publish({});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("0: store full"), HasSubstr("shoal gc")));
  EXPECT_THAT(agent_.cancelled, ElementsAre("/v1/ingests/2", "/v1/ingests/3"));
  EXPECT_TRUE(agent_.published.is_null());
}

TEST_F(PublishTest, WhatWasReadBeforeAFailureIsTakenBack) {
  for (int i = 0; i < 3; ++i) dir_.write("model/" + std::to_string(i), "x" + std::to_string(i));
  agent_.on_poll = [this](const std::string& job) {
    if (job == "3") agent_.jobs["3"] = R"({"state":"failed","error":{"code":"denied"}})";
  };
  EXPECT_EQ(publish({}).code, kExitFailed);
  EXPECT_THAT(agent_.cancelled, ElementsAre("/v1/ingests/1", "/v1/ingests/2"));
  EXPECT_TRUE(agent_.published.is_null());
}

TEST_F(PublishTest, CtrlCCancelsTheAgentsJobs) {
  dir_.write("model/a", "x");
  agent_.never_done = true;
  agent_.on_poll = [this](const std::string&) { command_.press_ctrl_c(); };
  Ran ran = publish({});
  EXPECT_EQ(ran.code, kExitInterrupted);
  EXPECT_THAT(agent_.cancelled, ElementsAre("/v1/ingests/1"));
  EXPECT_EQ(ran.json()["error"]["code"], "cancelled");
}

TEST_F(PublishTest, BadTreesReachNoAgent) {
  std::filesystem::create_directories(dir_ / "model");
  EXPECT_THAT(publish({}).err, HasSubstr("has no files"));
  dir_.write("model/bad\nname", "x");
  Ran ran = publish({});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("bad\\x0aname"), Not(HasSubstr("bad\nname"))));
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(PublishTest, ContradictionsAreUsageErrors) {
  dir_.write("model/a", "x");
  EXPECT_EQ(publish({"--no-store"}).code, kExitUsage);
  EXPECT_EQ(publish({"--no-store", "--in-place", "--origin=http://x/"}).code, kExitUsage);
  EXPECT_EQ(publish({"--origin=http://x/?q=1"}).code, kExitUsage);
  EXPECT_EQ(publish({"--origin=/local"}).code, kExitUsage);
  EXPECT_EQ(publish({"--origin=dir:local"}).code, kExitUsage);
  EXPECT_EQ(publish({"--origin=dir:/a/../b"}).code, kExitUsage);
  EXPECT_EQ(publish({"--origin=file://host/a"}).code, kExitUsage);
  EXPECT_EQ(command_.run({"publish", "x"}).code, kExitUsage);
  EXPECT_EQ(command_.run({"publish", "x", "--as", "UPPER:1"}).code, kExitUsage);
  EXPECT_EQ(command_.run({"publish", "x", "--as", "m@sha256:" + std::string(64, 'a')}).code,
            kExitUsage);
  EXPECT_TRUE(server_.seen().empty());
}

constexpr const char* kListing =
    R"({"source":"hf://org/m@0123","annotations":{"org.opencontainers.image.revision":"0123"},)"
    R"("files":[{"path":"z.bin","url":"hf://org/m@0123/z.bin","size":100000,"version":"v"},)"
    R"({"path":"a/b.json","url":"hf://org/m@0123/a/b.json","size":2,"version":"w"}]})";

TEST_F(PublishTest, LetsTheAgentPublishWhatAUrlNames) {
  agent_.listing = kListing;
  Ran ran = publish_url({"hf://org/m", "--include", "*.bin,*.json", "--exclude=x*"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(agent_.listed.at(0)["source"], "hf://org/m");
  EXPECT_EQ(agent_.listed.at(0)["include"], (Json{"*.bin", "*.json"}));
  EXPECT_EQ(agent_.listed.at(0)["exclude"], (Json{"x*"}));
  EXPECT_TRUE(agent_.started.empty());
  const Json& sent = agent_.publication;
  ASSERT_EQ(sent["files"].size(), 2u);
  EXPECT_EQ(sent["files"][0]["path"], "z.bin");
  EXPECT_EQ(sent["files"][0]["url"], "hf://org/m@0123/z.bin");
  EXPECT_EQ(sent["files"][0]["version"], "v");
  EXPECT_EQ(sent["origin_nodes"], "publisher");
  EXPECT_EQ(sent["annotations"]["org.opencontainers.image.revision"], "0123");
  EXPECT_THAT(ran.out, AllOf(HasSubstr("\"sources\":[\"hf://org/m@0123\"]"),
                             HasSubstr(content::digest_of("its manifest").str()),
                             HasSubstr("\"bytes_by_way\":{\"copy\":100002}")));
}

TEST_F(PublishTest, WithoutAStoredCopyItIsOnlyHashed) {
  agent_.listing = kListing;
  ASSERT_EQ(publish_url({"hf://org/m", "--no-store"}).code, kExitOk);
  ASSERT_EQ(agent_.started.size(), 2u);
  EXPECT_EQ(agent_.started[0]["url"], "hf://org/m@0123/a/b.json");
  EXPECT_EQ(agent_.started[0]["mode"], "hash");
  EXPECT_EQ(agent_.started[1]["version"], "v");
  ASSERT_EQ(agent_.published["origins"].size(), 2u);
  EXPECT_EQ(agent_.published["origins"][1]["url"], "hf://org/m@0123/z.bin");
  EXPECT_EQ(agent_.published["origins"][1]["version"], "v");
}

TEST_F(PublishTest, AFailedPublicationIsToldWithTheAgentsReason) {
  agent_.listing = kListing;
  agent_.failure = R"({"state":"failed","error":{"code":"denied","message":"z.bin: no access"}})";
  Ran ran = publish_url({"hf://org/m"});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("z.bin: no access"));
}

TEST_F(PublishTest, CtrlCCancelsAPublication) {
  agent_.listing = kListing;
  agent_.never_done = true;
  agent_.on_poll = [this](const std::string&) { command_.press_ctrl_c(); };
  EXPECT_EQ(publish_url({"hf://org/m"}).code, kExitInterrupted);
  EXPECT_THAT(agent_.cancelled, Contains("/v1/publications/p1"));
}

TEST_F(PublishTest, SaysWhoCanReadTheOrigin) {
  agent_.listing = kListing;
  ASSERT_EQ(publish_url({"hf://org/m", "--no-store", "--origin-nodes", "pool=a"}).code, kExitOk);
  EXPECT_EQ(agent_.published["origin_nodes"], (Json{{"pool", "a"}}));
  ASSERT_EQ(publish_url({"hf://org/m", "--origin-nodes", "n1,n2"}).code, kExitOk);
  EXPECT_EQ(agent_.publication["origin_nodes"], (Json{"n1", "n2"}));
  ASSERT_EQ(publish_url({"hf://org/m", "--origin-nodes", "all"}).code, kExitOk);
  EXPECT_EQ(agent_.publication["origin_nodes"], "all");
  dir_.write("model/a", "x");
  ASSERT_EQ(publish({"--origin", "https://h/m"}).code, kExitOk);
  EXPECT_EQ(agent_.published["origin_nodes"], "all");
}

TEST_F(PublishTest, SeveralUrlsAreOneModel) {
  agent_.listing =
      R"({"source":"https://h/a.bin","files":[{"path":"a.bin","url":"https://h/a.bin","size":1}]})";
  Ran same = publish_url({"https://h/a.bin", "https://h/x/a.bin"});
  EXPECT_NE(same.code, kExitOk);
  EXPECT_THAT(same.err, HasSubstr("a.bin"));
  EXPECT_TRUE(agent_.publication.is_null());
}

TEST_F(PublishTest, NamesThatCannotBeFilesAreRefused) {
  agent_.listing = R"({"source":"s3://b/p","files":[{"path":"../x","url":"s3://b/x","size":1}]})";
  Ran ran = publish_url({"s3://bucket/p"});
  EXPECT_NE(ran.code, kExitOk);
  EXPECT_TRUE(agent_.publication.is_null());
}

TEST_F(PublishTest, WhatDoesNotGoTogetherIsSaid) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"hf://org/m", "--in-place"},
                                             {"hf://org/m", "--origin", "https://h/m"},
                                             {"hf://org/m", "/a/folder"},
                                             {"/a", "/b"},
                                             {"/a", "--include", "*"},
                                             {"/a", "--origin-nodes", "all"},
                                             {"ftp://host/file"},
                                             {"hf://org/m", "--origin-nodes", "a,b=c"}}) {
    EXPECT_EQ(publish_url(words).code, kExitUsage) << words.back();
  }
}

}  // namespace
}  // namespace shoal::cli
