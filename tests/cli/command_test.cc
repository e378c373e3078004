#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/command_run.h"
#include "tests/fakes/fake_agent.h"

namespace shoal::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Command, WithoutAVerbSaysWhatToDo) {
  Ran ran = CommandRun().run({});
  EXPECT_EQ(ran.code, kExitUsage);
  EXPECT_THAT(ran.err, HasSubstr("shoal --help"));
}

TEST(Command, SuggestsTheVerbThatWasMeant) {
  Ran ran = CommandRun().run({"--json", "pulish", "x"});
  EXPECT_EQ(ran.code, kExitUsage);
  EXPECT_THAT(ran.err, HasSubstr("did you mean publish?"));
}

TEST(Command, HelpNamesEveryVerbAndEachVerbHasExamples) {
  Ran ran = CommandRun().run({"--help"});
  EXPECT_EQ(ran.code, kExitOk);
  for (const VerbInfo& verb : verbs()) {
    EXPECT_THAT(ran.out, HasSubstr("\n  " + std::string(verb.name) + " "));
    Ran help = CommandRun().run({std::string(verb.name), "--help"});
    EXPECT_EQ(help.code, kExitOk);
    EXPECT_THAT(help.out, AllOf(HasSubstr("Usage: shoal " + std::string(verb.name)),
                                HasSubstr("Examples"), HasSubstr("--agent")));
  }
}

TEST(Command, WrongFlagsAreUsageErrorsAlsoInJson) {
  Ran ran = CommandRun().run({"nodes", "--json", "--wat"});
  EXPECT_EQ(ran.code, kExitUsage);
  // --json was understood although another flag was not.
  EXPECT_EQ(ran.json()["ok"], false);
  EXPECT_EQ(ran.json()["error"]["code"], "invalid");
  EXPECT_THAT(ran.err, HasSubstr("--wat: unknown flag"));
}

TEST(Command, SaysWhatToDoWhenTheAgentIsNotThere) {
  Ran ran = CommandRun().run({"--agent", "/nonexistent/a.sock", "--json", "status"});
  EXPECT_EQ(ran.code, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr("is shoal-agent running?"));
  EXPECT_EQ(ran.json()["error"]["code"], "unavailable");
}

TEST(Command, TakesTheSocketFromTheEnvironmentAndTheFlagBeatsIt) {
  fakes::FakeAgent agent(
      [](fakes::FakeRequest&) { return fakes::FakeAnswer{.body = R"({"node":"gpu-1"})"}; });
  CommandRun command;
  Ran ran = command.run({"status"}, {{"SHOAL_AGENT", agent.socket().string()}});
  EXPECT_EQ(ran.code, kExitOk);
  EXPECT_THAT(ran.out, HasSubstr("gpu-1"));
  ran = command.run({"status", "--agent=/nonexistent"}, {{"SHOAL_AGENT", agent.socket().string()}});
  EXPECT_EQ(ran.code, kExitFailed);
}

TEST(Command, RefusesAPlainTrackerElsewhereAndTlsWithoutCertificates) {
  EXPECT_THAT(CommandRun().run({"--tracker", "http://10.0.0.1:6969", "nodes"}).err,
              HasSubstr("--insecure"));
  EXPECT_THAT(CommandRun().run({"--tracker", "https://10.0.0.1:6969", "nodes"}).err,
              HasSubstr("--tls-cert"));
  EXPECT_THAT(CommandRun().run({"--tracker", "ftp://x", "nodes"}).err, HasSubstr("--tracker"));
}

TEST(Command, CompletesInThreeShells) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    Ran ran = CommandRun().run({"completion", shell});
    EXPECT_EQ(ran.code, kExitOk);
    EXPECT_THAT(ran.out, AllOf(HasSubstr("prefetch"), HasSubstr("in-place"))) << shell;
  }
  EXPECT_EQ(CommandRun().run({"completion", "tcsh"}).code, kExitUsage);
}

TEST(Command, DocumentsItselfWithEveryVerb) {
  Ran ran = CommandRun().run({"--print-settings-doc"});
  EXPECT_EQ(ran.code, kExitOk);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("## shoal\n"), HasSubstr("## shoal publish"),
                             HasSubstr("| `no-store` switch |")));
}

TEST(Command, VersionSaysWhatDoesNotAnswer) {
  Ran ran = CommandRun().run({"version", "--agent", "/nonexistent"});
  EXPECT_EQ(ran.code, kExitOk);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("shoal    0."), HasSubstr("agent    no answer")));
}

}  // namespace
}  // namespace shoal::cli
