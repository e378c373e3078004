#include "core/daemon/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "core/base/random.h"

namespace shoal::daemon {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

struct Values {
  std::filesystem::path store;
  ByteCount capacity{kGiB};
  Rate upload;
  milliseconds grace{30'000};
  int lanes = 2;
  std::uint64_t seed = 0;
  bool insecure = false;
  bool scrub = true;
  std::string mode = "fast";
  std::optional<Address> listen;
  std::vector<std::string> origins{"a", "b"};
  KeyValues topology;
  std::string token;
};

class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest() : table_("prog", "Does something.") {
    table_.section("Storage");
    table_.add(values_.store, {.name = "store",
                               .doc = "Folder of the store.",
                               .example = "/var/lib/shoal",
                               .required = true});
    table_.add(values_.capacity, {.name = "store-capacity",
                                  .doc = "How much it may hold.",
                                  .example = "2TiB",
                                  .min = "1MiB",
                                  .max = "1PiB",
                                  .live = true});
    table_.section("Network");
    table_.add(
        values_.upload,
        {.name = "upload-limit", .doc = "Upload limit.", .example = "1Gbit/s", .live = true});
    table_.add(values_.grace, {.name = "grace", .doc = "How long.", .example = "1m30s"});
    table_.add(
        values_.lanes,
        {.name = "lane-threads", .doc = "Threads.", .example = "4", .min = "1", .max = "64"});
    table_.add(values_.seed, {.name = "seed", .doc = "Seed.", .example = "7"});
    table_.add(values_.insecure, {.name = "insecure", .doc = "Speak plain."});
    table_.add(values_.scrub, {.name = "scrub", .doc = "Scrub."});
    table_.add(values_.mode, {.name = "mode",
                              .doc = "How.",
                              .example = "slow",
                              .choices = {"fast", "slow"},
                              .short_flag = 'm'});
    table_.add(values_.listen,
               {.name = "listen", .doc = "Where.", .example = "0.0.0.0:1", .live = true});
    table_.add(values_.origins,
               {.name = "origins", .doc = "Origins.", .example = "a,b", .live = true});
    table_.add(values_.topology,
               {.name = "topology", .doc = "Topology.", .example = "region=R,rack=K"});
    table_.add(values_.token, {.name = "token", .doc = "Token.", .example = "abc", .secret = true});
    table_.rule([this]() -> std::optional<std::string> {
      if (values_.insecure && values_.listen && !is_loopback(*values_.listen)) {
        return "--insecure outside loopback";
      }
      return std::nullopt;
    });
    folder_ = std::filesystem::temp_directory_path() / ("shoal-settings-" + random_hex(8));
    std::filesystem::create_directories(folder_);
  }
  ~SettingsTest() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> load(std::vector<std::string> args, Environment environment = {}) {
    return table_.load(args, environment);
  }
  std::string file(std::string_view text) {
    std::filesystem::path path = folder_ / "conf.yaml";
    std::ofstream(path) << text;
    return path.string();
  }
  std::string effective(std::string_view name) {
    for (const auto& entry : table_.effective()) {
      if (entry.name == name) return entry.value + " from " + entry.source;
    }
    return "absent";
  }

  Values values_;
  Settings table_;
  std::filesystem::path folder_;
};

TEST_F(SettingsTest, KeepsDefaultsAndReadsEveryTypeFromFlags) {
  EXPECT_THAT(load({"--store",
                    "/s",
                    "--store-capacity=2GiB",
                    "--upload-limit",
                    "1Gbit/s",
                    "--grace",
                    "1m",
                    "--lane-threads=8",
                    "--seed",
                    "18446744073709551615",
                    "--insecure",
                    "--no-scrub",
                    "-m",
                    "slow",
                    "--listen",
                    "[::1]:5",
                    "--origins",
                    "x,y",
                    "--origins=z",
                    "--topology",
                    "region=R,rack=K"}),
              IsEmpty());
  EXPECT_EQ(values_.store, "/s");
  EXPECT_EQ(values_.capacity, ByteCount(2 * kGiB));
  EXPECT_EQ(values_.upload.bytes_per_second(), 125'000'000u);
  EXPECT_EQ(values_.grace, milliseconds(60'000));
  EXPECT_EQ(values_.lanes, 8);
  EXPECT_EQ(values_.seed, 18446744073709551615u);
  EXPECT_TRUE(values_.insecure);
  EXPECT_FALSE(values_.scrub);
  EXPECT_EQ(values_.mode, "slow");
  EXPECT_EQ(values_.listen, (Address{"::1", 5}));
  EXPECT_THAT(values_.origins, ElementsAre("x", "y", "z"));
  EXPECT_EQ(values_.topology, (KeyValues{{"region", "R"}, {"rack", "K"}}));
}

TEST_F(SettingsTest, FlagsBeatEnvironmentBeatsFileBeatsDefault) {
  std::string path = file("store: /file\nlane-threads: 3\ngrace: 5s\nscrub: no\n");
  EXPECT_THAT(load({"--config", path, "--store=/flag"},
                   {{"SHOAL_STORE", "/env"}, {"SHOAL_LANE_THREADS", "4"}, {"SHOAL_SEED", ""}}),
              IsEmpty());
  EXPECT_EQ(effective("store"), "/flag from flag");
  EXPECT_EQ(effective("lane-threads"), "4 from environment");
  EXPECT_EQ(effective("grace"), "5s from file");
  EXPECT_EQ(effective("scrub"), "false from file");
  EXPECT_EQ(effective("seed"), "0 from default");
  EXPECT_EQ(values_.store, "/flag");
  EXPECT_EQ(table_.config_file(), path);
}

TEST_F(SettingsTest, ReadsListsAndMapsFromYamlInBothForms) {
  std::string path =
      file("store: /s\norigins:\n  - one\n  - two, with comma\ntopology: {region: R, zone: Z}\n");
  EXPECT_THAT(load({"--config=" + path}), IsEmpty());
  EXPECT_THAT(values_.origins, ElementsAre("one", "two, with comma"));
  EXPECT_EQ(values_.topology, (KeyValues{{"region", "R"}, {"zone", "Z"}}));
}

TEST_F(SettingsTest, ReportsAllProblemsAtOnceWithTheirPlace) {
  std::string path = file("store: /s\nlane-threads: 65\nlane-thread: 3\nmode: [a]\nmode: slow\n");
  std::vector<std::string> problems = load({"--config", path, "--store-capacty", "1GiB",
                                            "--grace=30", "stray", "--seed", "1", "--seed", "2"},
                                           {{"SHOAL_UPLOAD_LIMIT", "fast"}});
  using Matcher = ::testing::Matcher<std::string>;
  EXPECT_THAT(
      problems,
      ::testing::IsSupersetOf(std::vector<Matcher>{
          AllOf(HasSubstr("--store-capacty"), HasSubstr("did you mean --store-capacity?")),
          AllOf(HasSubstr("conf.yaml:2: lane-threads"), HasSubstr("between 1 and 64")),
          AllOf(HasSubstr("conf.yaml:3: 'lane-thread'"), HasSubstr("did you mean lane-threads?")),
          HasSubstr("conf.yaml:4: mode"),
          AllOf(HasSubstr("--grace"), HasSubstr("not a duration")),
          AllOf(HasSubstr("SHOAL_UPLOAD_LIMIT"), HasSubstr("not a rate")),
          HasSubstr("--seed is given twice"),
          HasSubstr("'1GiB'"),
      }));
}

TEST_F(SettingsTest, RefusesAKeyThatStandsTwiceInTheFile) {
  EXPECT_THAT(load({"--config", file("store: /a\nstore: /b\n")}),
              ElementsAre(HasSubstr("conf.yaml:2: store is given twice")));
}

TEST_F(SettingsTest, RefusesAFileThatIsNoMapOrNoYamlOrMissing) {
  EXPECT_THAT(load({"--config", file("- a\n- b\n"), "--store=/s"}), SizeIs(1));
}

TEST_F(SettingsTest, NamesTheLineOfBrokenYaml) {
  EXPECT_THAT(load({"--config", file("store: /s\nmode: \"slow\n"), "--store=/s"}),
              ElementsAre(HasSubstr("conf.yaml:")));
}

TEST_F(SettingsTest, SaysThatAMissingFileCannotBeRead) {
  EXPECT_THAT(load({"--config", (folder_ / "none").string(), "--store=/s"}),
              ElementsAre(HasSubstr("cannot be read")));
}

TEST_F(SettingsTest, SaysWhichRequiredSettingIsMissingAndHowToGiveIt) {
  EXPECT_THAT(load({}), ElementsAre(AllOf(HasSubstr("--store PATH"), HasSubstr("SHOAL_STORE"))));
}

TEST_F(SettingsTest, ANullInTheFileIsNotSilentlyADefault) {
  EXPECT_THAT(load({"--config", file("store: /s\nmode:\n")}),
              ElementsAre(HasSubstr("mode: has no value")));
}

TEST_F(SettingsTest, RulesOverSeveralSettingsAreAsked) {
  EXPECT_THAT(load({"--store=/s", "--insecure", "--listen=0.0.0.0:1"}),
              ElementsAre("--insecure outside loopback"));
}

TEST_F(SettingsTest, AChoiceOutsideTheListNamesTheList) {
  EXPECT_THAT(load({"--store=/s", "--mode=quick"}), ElementsAre(HasSubstr("one of fast, slow")));
}

TEST_F(SettingsTest, AFlagWithoutItsValueDoesNotEatTheNextFlag) {
  EXPECT_THAT(load({"--store", "--insecure"}),
              ElementsAre(HasSubstr("--store needs a value"), HasSubstr("store is required")));
}

TEST_F(SettingsTest, SecretsHaveNoFlagAndAreMaskedEverywhere) {
  EXPECT_THAT(load({"--store=/s", "--token", "hunter2"}), SizeIs(::testing::Ge(1u)));
  EXPECT_THAT(table_.help(), Not(HasSubstr("--token")));
  EXPECT_THAT(table_.markdown(), HasSubstr("only from file or environment"));
}

TEST_F(SettingsTest, ASecretFromTheEnvironmentIsMasked) {
  EXPECT_THAT(load({"--store=/s"}, {{"SHOAL_TOKEN", "hunter2"}}), IsEmpty());
  EXPECT_EQ(values_.token, "hunter2");
  EXPECT_EQ(effective("token"), "*** from environment");
}

TEST_F(SettingsTest, WarnsOfAMisspeltVariableButNotOfForeignOnes) {
  EXPECT_THAT(load({"--store=/s"}, {{"SHOAL_STROE", "/x"},
                                    {"SHOAL_TRACKER_PORT_6969_TCP", "tcp://10.0.0.1:6969"},
                                    {"PATH", "/bin"}}),
              IsEmpty());
  EXPECT_THAT(table_.warnings(), ElementsAre(HasSubstr("did you mean SHOAL_STORE?")));
}

TEST_F(SettingsTest, ReloadAppliesLiveSettingsAndNamesTheOthers) {
  std::string path = file("store: /s\nupload-limit: 1Mbit/s\norigins: [x]\nlisten: 127.0.0.1:1\n");
  ASSERT_THAT(load({"--config", path, "--store-capacity=3GiB"}), IsEmpty());
  file("store: /elsewhere\nupload-limit: 2Mbit/s\nstore-capacity: 9GiB\n");
  Settings::Reloaded reloaded = table_.reload();
  EXPECT_THAT(reloaded.problems, IsEmpty());
  EXPECT_THAT(reloaded.changed, ElementsAre("upload-limit", "listen", "origins"));
  EXPECT_THAT(reloaded.needs_restart, ElementsAre("store"));
  EXPECT_EQ(values_.upload.bytes_per_second(), 250'000u);
  EXPECT_EQ(values_.store, "/s");
  EXPECT_EQ(values_.capacity, ByteCount(3 * kGiB)) << "a flag still beats the file";
  EXPECT_EQ(values_.listen, std::nullopt) << "a removed line means the default again";
  EXPECT_THAT(values_.origins, ElementsAre("a", "b"));
  EXPECT_EQ(effective("listen"), " from default");
}

TEST_F(SettingsTest, ReloadOfABadFileChangesNothing) {
  std::string path = file("store: /s\nupload-limit: 1Mbit/s\n");
  ASSERT_THAT(load({"--config", path}), IsEmpty());
  file("store: /s\nupload-limit: 2Mbit/s\nstore-capacity: 1B\n");
  EXPECT_THAT(table_.reload().problems, ElementsAre(HasSubstr("store-capacity")));
  EXPECT_EQ(values_.upload.bytes_per_second(), 125'000u);
}

TEST_F(SettingsTest, ReloadThatBreaksARuleChangesNothing) {
  std::string path = file("store: /s\ninsecure: true\nlisten: 127.0.0.1:1\n");
  ASSERT_THAT(load({"--config", path}), IsEmpty());
  file("store: /s\ninsecure: true\nlisten: 0.0.0.0:1\n");
  EXPECT_THAT(table_.reload().problems, ElementsAre(HasSubstr("outside loopback")));
  EXPECT_EQ(values_.listen, (Address{"127.0.0.1", 1}));
}

TEST_F(SettingsTest, HelpAndMarkdownNameEverySetting) {
  std::string help = table_.help();
  std::string markdown = table_.markdown();
  for (const char* name : {"store", "store-capacity", "upload-limit", "grace", "lane-threads",
                           "insecure", "mode", "listen", "origins", "topology", "token"}) {
    EXPECT_THAT(help, HasSubstr(name));
    EXPECT_THAT(markdown, HasSubstr("`" + std::string(name) + "`"));
  }
  EXPECT_THAT(help, HasSubstr("Default: 1GiB"));
  EXPECT_THAT(markdown, HasSubstr("Allowed: 1MiB to 1PiB."));
}

TEST_F(SettingsTest, FindsTheVerbBehindFlagsAndTheirValues) {
  std::vector<std::string> args{"--store", "publish", "--insecure", "-m", "slow", "pull", "x"};
  EXPECT_EQ(table_.first_positional(args), 5u);
  EXPECT_EQ(table_.first_positional(std::vector<std::string>{"--insecure"}), std::nullopt);
}

TEST(Settings, CountsPositionals) {
  for (std::size_t given : {0u, 1u, 2u, 3u}) {
    std::vector<std::string> words;
    Settings table("prog", "Does.");
    table.positionals(words, "NAME [DIR]", 1, 2);
    std::vector<std::string> args(given, "w");
    EXPECT_EQ(table.load(args, {}).empty(), given == 1 || given == 2) << given;
  }
}

TEST(Settings, WordsBehindADoubleDashAreNoFlags) {
  std::vector<std::string> words;
  Settings table("prog", "Does.");
  table.positionals(words, "NAME", 1, 1);
  EXPECT_THAT(table.load(std::vector<std::string>{"--", "--name"}, {}), IsEmpty());
  EXPECT_THAT(words, ElementsAre("--name"));
}

TEST(Settings, FlagOnlyOptionsIgnoreTheEnvironmentAndTheFile) {
  bool wait = false;
  Settings table("prog", "Does.");
  table.add(wait, {.name = "wait", .doc = "Wait.", .flag_only = true});
  EXPECT_THAT(table.load({}, {{"SHOAL_WAIT", "true"}}), IsEmpty());
  EXPECT_FALSE(wait);
}

TEST(SettingsDeathTest, WrongDeclarationsAbort) {
  std::string a;
  int n = 99;
  EXPECT_DEATH(
      {
        Settings table("prog", "Does.");
        table.add(a, {.name = "same", .doc = "A.", .example = "x"});
        table.add(a, {.name = "same", .doc = "A.", .example = "x"});
      },
      "declared twice");
  EXPECT_DEATH(
      {
        Settings table("prog", "Does.");
        table.add(n, {.name = "n", .doc = "N.", .example = "1", .max = "10"});
      },
      "default of setting n");
}

TEST(DidYouMean, SuggestsOnlyWhatIsClose) {
  std::vector<std::string> words{"store", "listen", "lane-listen"};
  EXPECT_EQ(did_you_mean("lissten", words), "listen");
  EXPECT_EQ(did_you_mean("lane-listn", words), "lane-listen");
  EXPECT_EQ(did_you_mean("elephant", words), std::nullopt);
}

}  // namespace
}  // namespace shoal::daemon
