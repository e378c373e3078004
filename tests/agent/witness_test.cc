#include "agent/model/witness.h"

#include <gtest/gtest.h>

#include "agent/model/statement.h"
#include "core/base/random.h"
#include "tests/agent/temp_store.h"
#include "tests/fakes/test_certificates.h"

namespace shoal::agent {
namespace {

content::PieceTable table_of(std::string_view bytes) {
  content::BlobHasher hasher(content::BlobLayout(bytes.size()));
  EXPECT_TRUE(hasher.update(std::as_bytes(std::span(bytes))));
  return content::PieceTable::make(std::move(*hasher.finish()));
}

Statement sample(bool with_signature) {
  content::PieceTable table = table_of("some bytes");
  Statement statement{.node = "gpu-1",
                      .blob = table.digest(),
                      .size = table.layout().size(),
                      .pieces_root = *table.pieces_root()};
  if (with_signature) {
    statement.certificate = std::string("\0\x30\xff", 3);
    statement.signature = "sig";
  }
  return statement;
}

TEST(StatementText, ComesBack) {
  for (bool with_signature : {false, true}) {
    const Statement statement = sample(with_signature);
    auto parsed = parse_statement(statement_text(statement));
    ASSERT_TRUE(parsed) << parsed.error().str();
    EXPECT_EQ(*parsed, statement);
  }
}

TEST(StatementText, IsRefusedWhenCutAnywhere) {
  const std::string whole = statement_text(sample(true));
  const std::size_t unsigned_size = statement_text(sample(false)).size();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    // Without its signature it is an unsigned statement, which nobody with a CA believes.
    EXPECT_EQ(parse_statement(std::string_view(whole).substr(0, length)).has_value(),
              length == unsigned_size)
        << length;
  }
}

TEST(StatementText, HasOneSpelling) {
  const std::string text = statement_text(sample(true));
  auto with = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return changed.replace(at, from.size(), to);
  };
  EXPECT_FALSE(parse_statement(with("size 10", "size 010")));
  EXPECT_FALSE(parse_statement(with("size 10", "size +10")));
  EXPECT_FALSE(parse_statement(with("size 10", "size 0")));
  EXPECT_FALSE(parse_statement(with("node gpu-1", "node ../x")));
  EXPECT_FALSE(parse_statement(with("statement 1", "statement 2")));
  EXPECT_FALSE(parse_statement(with("certificate 0030ff", "certificate 0030FF")));
  EXPECT_FALSE(parse_statement(text + "\n"));
  EXPECT_FALSE(parse_statement(text + std::string(kMaxStatement, 'x')));
}

class WitnessTest : public ::testing::Test {
 protected:
  Witness witness(const std::string& node, const http::TestCa& ca) {
    return {node, ca.context(http::node_identity(node))};
  }
  std::string refusal(const Witness& by, const api::Statement& said) {
    auto node = by.vouched_by(table_, {said});
    return node ? "believed" : node.error().message();
  }
  static bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  }

  const http::TestCa ca_;
  const content::PieceTable table_ = table_of("some bytes");
};

TEST_F(WitnessTest, BelievesANodeOfTheClusterThatSigned) {
  auto text = witness("gpu-1", ca_).sign(table_);
  ASSERT_TRUE(text) << text.error().str();
  EXPECT_LE(text->size(), api::kMaxStatementText);
  auto node = witness("gpu-2", ca_).vouched_by(table_, {{"gpu-1", *text}});
  ASSERT_TRUE(node) << node.error().str();
  EXPECT_EQ(*node, "gpu-1");
}

TEST_F(WitnessTest, DoesNotBelieveOtherStatements) {
  const Witness me = witness("gpu-2", ca_);
  EXPECT_TRUE(has(refusal(me, {"gpu-1", *Witness("gpu-1", nullptr).sign(table_)}), "not signed"));
  const http::TestCa other("another");
  EXPECT_TRUE(has(refusal(me, {"gpu-1", *witness("gpu-1", other).sign(table_)}), "CA"));
  EXPECT_TRUE(has(refusal(me, {"gpu-1", *witness("gpu-3", ca_).sign(table_)}), "gpu-3"));
  // A node that says what it may not say for another one.
  Statement forged = *parse_statement(*witness("gpu-3", ca_).sign(table_));
  forged.node = "gpu-1";
  EXPECT_TRUE(has(refusal(me, {"gpu-1", statement_text(forged)}), "not of this text"));
  EXPECT_TRUE(
      has(refusal(me, {"gpu-1", *witness("gpu-1", ca_).sign(table_of("others"))}), "not believed"));
  EXPECT_TRUE(has(refusal(me, {"gpu-1", "junk"}), "not a statement"));
  auto none = me.vouched_by(table_, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Errc::kNotFound);
}

TEST_F(WitnessTest, OneGoodStatementAmongBadOnesIsEnough) {
  auto node =
      witness("gpu-2", ca_)
          .vouched_by(table_, {{"gpu-0", "junk"}, {"gpu-1", *witness("gpu-1", ca_).sign(table_)}});
  ASSERT_TRUE(node);
  EXPECT_EQ(*node, "gpu-1");
}

TEST_F(WitnessTest, WithoutCertificatesUnsignedStatementsAreBelieved) {
  const Witness me("gpu-2", nullptr);
  auto node = me.vouched_by(table_, {{"gpu-1", *Witness("gpu-1", nullptr).sign(table_)}});
  ASSERT_TRUE(node);
  EXPECT_EQ(*node, "gpu-1");
}

TEST_F(WitnessTest, AWithdrawalEndsTheTableAndItsSigner) {
  Witness me = witness("gpu-2", ca_);
  const api::Statement by_one{"gpu-1", *witness("gpu-1", ca_).sign(table_)};
  EXPECT_TRUE(me.withdraw(table_.digest(), *table_.pieces_root(), "gpu-1"));
  EXPECT_FALSE(me.withdraw(table_.digest(), *table_.pieces_root(), "gpu-1"));
  EXPECT_TRUE(has(refusal(me, by_one), "withdrawn"));
  EXPECT_TRUE(has(refusal(me, {"gpu-3", *witness("gpu-3", ca_).sign(table_)}), "withdrawn"));
  // What the signer says of others is not believed either.
  const content::PieceTable other = table_of("other bytes");
  EXPECT_FALSE(me.vouched_by(other, {{"gpu-1", *witness("gpu-1", ca_).sign(other)}}));
  EXPECT_TRUE(me.vouched_by(other, {{"gpu-3", *witness("gpu-3", ca_).sign(other)}}));
}

TEST_F(WitnessTest, SaysNothingAboutAnEmptyBlob) {
  EXPECT_EQ(witness("gpu-1", ca_).sign(table_of("")).error().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace shoal::agent
