#include "tracker/fleet/verdicts.h"

#include <gtest/gtest.h>

namespace shoal::tracker {
namespace {

using Outcome = Verdicts::Outcome;

class VerdictsTest : public ::testing::Test {
 protected:
  Outcome say(const std::string& node, bool agrees, const std::string& signer = "liar") {
    last_ = verdicts_.say(blob_, "root", signer, node, agrees);
    return last_.outcome;
  }

  const content::Digest blob_ = content::digest_of(std::string_view("b"));
  Verdicts verdicts_;
  Verdicts::Decision last_;
};

TEST_F(VerdictsTest, TwoNodesWithdrawAndAreNamed) {
  EXPECT_EQ(say("n1", false), Outcome::kOpen);
  EXPECT_EQ(say("n1", false), Outcome::kOpen);  // once more is still one
  EXPECT_EQ(say("n2", false), Outcome::kWithdraw);
  EXPECT_EQ(last_.decided.against, (std::set<std::string>{"n1", "n2"}));
  EXPECT_EQ(last_.decided.signer, "liar");
  EXPECT_FALSE(verdicts_.any_open());
}

TEST_F(VerdictsTest, OthersAreAskedUntilTheyWereHeard) {
  EXPECT_TRUE(verdicts_.unheard("n2").empty());
  say("n1", false);
  EXPECT_TRUE(verdicts_.unheard("n1").empty());
  EXPECT_TRUE(verdicts_.unheard("liar").empty());
  EXPECT_EQ(verdicts_.unheard("n2"), std::vector<content::Digest>{blob_});
  say("n2", true);
  EXPECT_TRUE(verdicts_.unheard("n2").empty());
  EXPECT_EQ(verdicts_.unheard("n3"), std::vector<content::Digest>{blob_});
}

TEST_F(VerdictsTest, TheSignerHasNoVoice) {
  EXPECT_EQ(say("liar", false), Outcome::kNothing);
  say("n1", false);
  EXPECT_EQ(say("liar", false), Outcome::kOpen);
  EXPECT_EQ(say("liar", true), Outcome::kOpen);
  EXPECT_EQ(say("n2", true), Outcome::kOpen);
}

TEST_F(VerdictsTest, TwoInFavourRejectWhoSaidOtherwise) {
  say("broken", false);
  EXPECT_EQ(say("n1", true), Outcome::kOpen);
  EXPECT_EQ(say("n2", true), Outcome::kRejected);
  EXPECT_EQ(last_.decided.against, std::set<std::string>{"broken"});
  EXPECT_FALSE(verdicts_.any_open());
}

TEST_F(VerdictsTest, AgreementAloneIsNoCase) {
  EXPECT_EQ(say("n1", true), Outcome::kNothing);
  EXPECT_FALSE(verdicts_.any_open());
}

TEST_F(VerdictsTest, ANodeMayChangeItsMind) {
  say("n1", false);
  EXPECT_EQ(say("n1", true), Outcome::kOpen);
  EXPECT_EQ(say("n2", false), Outcome::kOpen);
  EXPECT_EQ(say("n3", false), Outcome::kWithdraw);
}

}  // namespace
}  // namespace shoal::tracker
