#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "core/content/digest.h"
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
using ::testing::HasSubstr;

UniqueFd memory_file(std::string_view text) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return fd;
}

class PullTest : public ::testing::Test {
 protected:
  void add(const std::string& path, const std::string& text) {
    std::string digest = content::digest_of(std::string_view(text)).str();
    contents_[digest] = text;
    files_.push_back(
        {{"path", path}, {"digest", digest}, {"size", text.size()}, {"bytes_done", text.size()}});
  }

  Ran pull(std::vector<std::string> more = {}) {
    std::vector<std::string> args{"--agent", server_.socket().string(), "--json", "pull", "m:1",
                                  "-o",      (dir_ / "out").string()};
    args.insert(args.end(), more.begin(), more.end());
    return command_.run(args);
  }

  FakeAnswer handle(FakeRequest& request) {
    std::string manifest = "sha256:" + std::string(64, 'e');
    if (request.target == "/v1/pulls") {
      return {.status = 202, .body = Json{{"pull", "p"}, {"manifest", manifest}}.dump()};
    }
    if (request.method == "DELETE") return {.status = 204};
    if (request.target.starts_with("/v1/pulls/p")) {
      ++polls_;
      if (on_poll_) on_poll_();
      Json progress{
          {"version", polls_},    {"state", polls_ <= running_polls_ ? "running" : final_state_},
          {"manifest", manifest}, {"reference", "m:1"},
          {"bytes_total", 10},    {"bytes_done", 10},
          {"bytes_peers", 7},     {"bytes_origin", 3},
          {"files", files_}};
      if (final_state_ == "failed") {
        progress["error"] = {{"code", "not_found"}, {"message", "no source left"}};
      }
      return {.body = progress.dump()};
    }
    if (request.target == "/v1/open") {
      ++opens_[request.connection];
      std::string digest = Json::parse(request.body)["digest"];
      if (contents_.at(digest).empty()) return {.status = 404};  // no store holds nothing
      data_ = memory_file(contents_.at(digest));
      ready_ = memory_file("ready");
      return {.body = Json{{"size", contents_.at(digest).size() + size_error_},
                           {"piece_length", 65536},
                           {"state", blob_state_}}
                          .dump(),
              .fds = {data_.get(), ready_.get()}};
    }
    return {.status = 404};
  }

  TempDir dir_;
  Json files_ = Json::array();
  std::map<std::string, std::string> contents_;
  std::map<int, int> opens_;  // by connection
  int polls_ = 0;
  int running_polls_ = 0;
  std::string final_state_ = "complete";
  std::string blob_state_ = "complete";
  std::size_t size_error_ = 0;
  std::function<void()> on_poll_;
  UniqueFd data_;
  UniqueFd ready_;
  CommandRun command_;  // outlives the server, whose thread presses its Ctrl-C
  FakeAgent server_{[this](FakeRequest& request) { return handle(request); }};
};

TEST_F(PullTest, WritesTheFilesOfTheModel) {
  add("config.json", "{}");
  add("sub/model.safetensors", "weights");
  add("empty", "");
  running_polls_ = 1;
  Ran ran = pull();
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(dir_.read("out/config.json"), "{}");
  EXPECT_EQ(dir_.read("out/sub/model.safetensors"), "weights");
  EXPECT_TRUE(std::filesystem::exists(dir_ / "out/empty"));
  EXPECT_EQ(ran.json()["bytes_peers"], 7);
  EXPECT_EQ(ran.json()["files"], 3);
}

TEST_F(PullTest, KeepsWhatIsTheSame) {
  add("a", "same");
  add("b", "new");
  dir_.write("out/a", "same");
  auto before = std::filesystem::last_write_time(dir_ / "out/a");
  Ran ran = pull();
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(ran.json()["kept"], 1);
  EXPECT_EQ(std::filesystem::last_write_time(dir_ / "out/a"), before);
  EXPECT_EQ(dir_.read("out/b"), "new");
}

TEST_F(PullTest, AConflictLeavesTheDirectoryUntouchedUnlessForced) {
  add("a", "ours");
  add("b", "new");
  dir_.write("out/a", "theirs");
  Ran ran = pull();
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("already: a"), HasSubstr("--force")));
  EXPECT_EQ(dir_.read("out/a"), "theirs");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out/b"));
  polls_ = 0;
  EXPECT_EQ(pull({"--force"}).code, kExitOk);
  EXPECT_EQ(dir_.read("out/a"), "ours");
}

TEST_F(PullTest, NamesThatLeadOutAreRefused) {
  for (const char* name : {"../evil", "/etc/evil", "a/../../evil", "new\nline", ""}) {
    files_ = Json::array();
    polls_ = 0;
    add(name, "x");
    Ran ran = pull();
    EXPECT_EQ(ran.code, kExitFailed) << name;
    EXPECT_FALSE(std::filesystem::exists(dir_ / "evil"));
  }
}

TEST_F(PullTest, ABlobThatIsNotWholeIsNotWritten) {
  add("a", "text");
  blob_state_ = "live";
  EXPECT_THAT(pull().err, HasSubstr("a: is not complete in the store"));
  blob_state_ = "complete";
  size_error_ = 1;
  polls_ = 0;
  EXPECT_EQ(pull().code, kExitFailed);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out/a"));
}

TEST_F(PullTest, ManyFilesDoNotStayOpenInTheAgent) {
  for (int i = 0; i < 120; ++i) add("f" + std::to_string(i), std::to_string(i));
  Ran ran = pull();
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  int opens = 0;
  for (auto& [connection, count] : opens_) {
    EXPECT_LE(count, 100) << "connection " << connection;
    opens += count;
  }
  EXPECT_EQ(opens, 240) << "looked at, then written";
}

TEST_F(PullTest, AFailedPullSaysWhy) {
  final_state_ = "failed";
  Ran ran = pull();
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("no source left"));
  EXPECT_EQ(ran.json()["error"]["code"], "not_found");
}

TEST_F(PullTest, CtrlCEndsThePull) {
  add("a", "x");
  running_polls_ = 1'000'000;
  on_poll_ = [this] { command_.press_ctrl_c(); };
  Ran ran = pull();
  EXPECT_EQ(ran.code, kExitInterrupted);
  EXPECT_THAT(server_.seen(), Contains("DELETE /v1/pulls/p"));
}

}  // namespace
}  // namespace shoal::cli
