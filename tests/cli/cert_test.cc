#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/http/tls.h"
#include "tests/cli/command_run.h"
#include "tests/cli/temp_dir.h"

namespace shoal::cli {
namespace {

using ::testing::HasSubstr;

unsigned mode_of(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 0777;
}

TEST(Cert, MakesAPkiThatTheProgramsAccept) {
  TempDir dir;
  std::string out = (dir / "pki").string();
  CommandRun command;
  ASSERT_EQ(command.run({"cert", "ca", "--out", out}).code, kExitOk);
  ASSERT_EQ(command.run({"cert", "tracker", "--out", out, "--names", "localhost,127.0.0.1"}).code,
            kExitOk);
  Ran ran =
      command.run({"cert", "node", "gpu-17", "--ca", out, "--out", (dir / "n").string(), "--json"});
  ASSERT_EQ(ran.code, kExitOk) << ran.err;
  EXPECT_EQ(ran.json()["key"], (dir / "n/gpu-17.key").string());
  EXPECT_EQ(mode_of(dir / "pki/ca.key"), 0600u);
  EXPECT_EQ(mode_of(dir / "n/gpu-17.key"), 0600u);

  auto node = http::TlsContext::load(
      {(dir / "n/gpu-17.crt").string(), (dir / "n/gpu-17.key").string(), out + "/ca.crt"});
  ASSERT_TRUE(node) << node.error().str();
  EXPECT_TRUE((*node)->identity().is_node("gpu-17"));
  auto tracker =
      http::TlsContext::load({out + "/tracker.crt", out + "/tracker.key", out + "/ca.crt"});
  ASSERT_TRUE(tracker) << tracker.error().str();
  EXPECT_EQ((*tracker)->identity().kind, http::Identity::Kind::kTracker);
}

TEST(Cert, NeverOverwrites) {
  TempDir dir;
  std::string out = dir.path().string();
  CommandRun command;
  ASSERT_EQ(command.run({"cert", "ca", "--out", out}).code, kExitOk);
  std::string key = dir.read("ca.key");
  Ran again = command.run({"cert", "ca", "--out", out});
  EXPECT_EQ(again.code, kExitFailed);
  EXPECT_THAT(again.err, HasSubstr("not overwritten"));
  EXPECT_EQ(dir.read("ca.key"), key);
  // Half a pair from before: the other half must not be replaced either, nor a key be left behind.
  std::filesystem::remove(dir / "ca.key");
  EXPECT_EQ(command.run({"cert", "ca", "--out", out}).code, kExitFailed);
  EXPECT_FALSE(std::filesystem::exists(dir / "ca.key"));
}

TEST(Cert, SaysThatTheCaIsMissing) {
  TempDir dir;
  Ran ran = CommandRun().run({"cert", "node", "n", "--out", dir.path().string()});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("shoal cert ca"));
}

TEST(Cert, RefusesWrongWords) {
  EXPECT_EQ(CommandRun().run({"cert", "node"}).code, kExitUsage);
  EXPECT_EQ(CommandRun().run({"cert", "node", "../x"}).code, kExitUsage);
  EXPECT_EQ(CommandRun().run({"cert", "server"}).code, kExitUsage);
  EXPECT_EQ(CommandRun().run({"cert", "ca", "x"}).code, kExitUsage);
}

}  // namespace
}  // namespace shoal::cli
