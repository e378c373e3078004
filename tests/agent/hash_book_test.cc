#include "agent/swarm/hash_book.h"

#include <gtest/gtest.h>

#include "tests/agent/temp_store.h"
#include "tests/agent/test_cluster.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;

constexpr std::uint64_t kPiece = content::kMinPieceLength;

PieceRange pieces(std::uint32_t first, std::uint32_t count) { return {PieceIndex(first), count}; }

class HashBookTest : public ::testing::Test {
 protected:
  std::shared_ptr<store::Blob> unsettled(TempStore& store) {
    auto blob = store->create_unsettled(name_, blob_.bytes.size(), store::Reservation::kFull);
    EXPECT_TRUE(blob) << blob.error().str();
    return *blob;
  }
  void read(store::Blob& blob, std::uint32_t first, std::uint32_t count) {
    read_as(blob, blob_, first, count);
  }
  static void read_as(store::Blob& blob, const TestBlob& bytes, std::uint32_t first,
                      std::uint32_t count) {
    const PieceRange run = pieces(first, count);
    ASSERT_TRUE(blob.learn(run.first, bytes.table.piece_hashes().subspan(first, count)));
    ASSERT_TRUE(blob.commit(run.first, bytes.range(bytes.layout().range_of(run))));
  }
  std::shared_ptr<http::TlsContext> tls(const std::string& node) { return cluster_.node(node); }

  const TestBlob blob_ = make_blob(20 * kPiece + 5, 1);  // 21 pieces
  const content::Digest name_ = content::ingest_name("u", "v", blob_.bytes.size());
  const TestCluster cluster_;
  TempStore origin_store_, other_store_;
};

TEST_F(HashBookTest, WhatANodeHasReadOthersLearnFromItsWord) {
  auto here = unsettled(origin_store_), there = unsettled(other_store_);
  HashBook reader("a", tls("a")), asker("b", tls("b"));
  read(*here, 2, 6);
  auto message = reader.claims(name_, *here, pieces(0, 5));
  ASSERT_TRUE(message) << message.error().str();
  ASSERT_TRUE(asker.take(*there, *message));
  EXPECT_FALSE(there->knows_hashes(pieces(0, 1))) << "nobody has it";
  EXPECT_TRUE(there->knows_hashes(pieces(2, 3)));
  EXPECT_FALSE(there->knows_hashes(pieces(5, 1))) << "nobody asked for it";
  EXPECT_TRUE(there->commit(PieceIndex(2), blob_.range({2 * kPiece, 3 * kPiece})));
}

TEST_F(HashBookTest, AClaimIsPassedOnAsItsSignersAndNotAsOnesOwn) {
  auto here = unsettled(origin_store_), there = unsettled(other_store_);
  TempStore third_store;
  auto third = unsettled(third_store);
  HashBook a("a", tls("a")), b("b", tls("b")), c("c", tls("c"));
  read(*here, 0, 4);
  ASSERT_TRUE(b.take(*there, *a.claims(name_, *here, pieces(0, 4))));
  ASSERT_TRUE(there->commit(PieceIndex(0), blob_.range({0, 4 * kPiece})));
  read(*there, 10, 2);
  auto message = b.claims(name_, *there, pieces(0, 21));
  ASSERT_TRUE(c.take(*third, *message));
  std::map<std::string, std::uint32_t> by_node;
  for (const HashBook::Read& one : c.readers(name_)) by_node[one.node] += one.pieces.count;
  EXPECT_EQ(by_node, (std::map<std::string, std::uint32_t>{{"a", 4}, {"b", 2}}));
  EXPECT_EQ(b.claims(name_, *there, pieces(0, 21)).value(), *message) << "nothing is signed twice";
}

TEST_F(HashBookTest, WhatIsNotSignedByWhoItSaysIsNotBelieved) {
  auto here = unsettled(origin_store_), there = unsettled(other_store_);
  read(*here, 0, 2);
  HashBook asker("b", tls("b"));
  HashBook unsigned_reader("a", nullptr);
  EXPECT_EQ(asker.take(*there, *unsigned_reader.claims(name_, *here, pieces(0, 2))).error().code(),
            Errc::kDenied);
  HashBook somebody_else("a", tls("c"));
  Status refused = asker.take(*there, *somebody_else.claims(name_, *here, pieces(0, 2)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::kDenied);
  HashBook reader("a", tls("a"));
  std::string message = *reader.claims(name_, *here, pieces(0, 2));
  message[message.find("size ") + 5] ^= 1;
  EXPECT_FALSE(asker.take(*there, message));
  EXPECT_TRUE(there->learnt_hashes() == std::vector<content::Hash32>(21));
  auto other = other_store_->create_unsettled(content::ingest_name("x", "v", blob_.bytes.size()),
                                              blob_.bytes.size(), store::Reservation::kFull);
  EXPECT_EQ(asker.take(**other, *reader.claims(name_, *here, pieces(0, 2))).error().code(),
            Errc::kDenied)
      << "a claim about another blob";
}

TEST_F(HashBookTest, WhatContradictsBytesThatAreHereIsRefusedAndWhatContradictsNoneReplaces) {
  auto here = unsettled(origin_store_), there = unsettled(other_store_);
  const TestBlob wrong = make_blob(blob_.bytes.size(), 2);
  HashBook liar("a", nullptr), asker("b", nullptr);
  read_as(*here, wrong, 0, 2);
  read(*there, 1, 1);
  Status refused = asker.take(*there, *liar.claims(name_, *here, pieces(0, 2)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::kConflict);
  EXPECT_NE(refused.error().message().find("what a says it read"), std::string::npos);
  EXPECT_FALSE(there->knows_hashes(pieces(0, 1)));
  HashBook again("a", nullptr);
  ASSERT_TRUE(asker.take(*there, *again.claims(name_, *here, pieces(0, 1))));
  EXPECT_EQ(there->piece_hash(PieceIndex(0)), wrong.table.hash(PieceIndex(0)));
  // The origin's own bytes refute it, and from then on nobody is told of it.
  read(*there, 0, 1);
  std::string message = *asker.claims(name_, *there, pieces(0, 2));
  auto told = parse_claims(message);
  ASSERT_TRUE(told);
  EXPECT_FALSE(told->empty());
  for (const HashClaimWithHashes& one : *told) EXPECT_EQ(one.claim.node, "b");
}

TEST_F(HashBookTest, ASettledBlobIsStillToldOfByTheNameThatOthersKnow) {
  auto here = unsettled(origin_store_), there = unsettled(other_store_);
  read(*here, 0, 21);
  here.reset();
  auto settled = origin_store_->settle(name_, blob_.table);
  ASSERT_TRUE(settled) << settled.error().str();
  HashBook reader("a", nullptr), asker("b", nullptr);
  ASSERT_TRUE(asker.take(*there, *reader.claims(name_, **settled, pieces(3, 4))));
  EXPECT_TRUE(there->knows_hashes(pieces(3, 4)));
}

TEST_F(HashBookTest, AnswersOnTheLaneAndRefusesOtherQuestions) {
  auto here = unsettled(origin_store_);
  read(*here, 0, 2);
  BlobCache blobs(*origin_store_);
  HashBook book("a", nullptr);
  auto ask = [&](std::string first, std::string count, std::string name) {
    http::Request request = http::Request::get("/v1/blobs/" + name + "/hashes");
    request.query["first"] = first;
    request.query["count"] = count;
    return book.answer(blobs, request);
  };
  const std::string name = name_.str();
  http::Response good = ask("0", "21", name);
  EXPECT_EQ(good.status, 200);
  EXPECT_EQ(parse_claims(good.body)->size(), 1u);
  for (auto [first, count] : {std::pair("21", "1"),
                              {"0", "22"},
                              {"0", "0"},
                              {"-1", "1"},
                              {"", "1"},
                              {"0", "4294967296"},
                              {"20", "4294967295"}}) {
    EXPECT_EQ(ask(first, count, name).status, 400) << first << " " << count;
  }
  EXPECT_EQ(ask("0", "1", "ingest:12").status, 400);
  EXPECT_EQ(ask("0", "1", content::ingest_name("x", "y", 1).str()).status, 404);
}

class HashClaims : public ::testing::Test {
 protected:
  HashClaims() {
    const auto hashes = blob_.table.piece_hashes().first(3);
    claim_ = {.node = "n1",
              .blob = blob_.table.digest(),
              .size = blob_.bytes.size(),
              .pieces = pieces(0, 3),
              .hashes = digest_of_hashes(hashes),
              .certificate = "cert",
              .signature = "sig"};
    append_claim(message_, claim_, hashes);
  }
  std::string changed(std::string_view from, std::string_view to) const {
    std::string text = message_;
    EXPECT_NE(text.find(from), std::string::npos) << from;
    return text.replace(text.find(from), from.size(), to);
  }

  const TestBlob blob_ = make_blob(4 * kPiece, 3);
  HashClaim claim_;
  std::string message_;
};

TEST_F(HashClaims, AreReadAsTheyWereWritten) {
  auto read = parse_claims(message_ + message_);
  ASSERT_TRUE(read) << read.error().str();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].claim, claim_);
  EXPECT_EQ((*read)[1], (*read)[0]);
  EXPECT_TRUE(parse_claims("")->empty());
}

TEST_F(HashClaims, CutAnywhereTheyAreRefused) {
  for (std::size_t length = 1; length < message_.size(); ++length) {
    EXPECT_FALSE(parse_claims(std::string_view(message_).substr(0, length))) << length;
  }
}

TEST_F(HashClaims, AreRefusedInAnyOtherSpelling) {
  for (auto [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"claim 1", "claim 2"},
                                                        {"node n1", "node n 1"},
                                                        {"blob sha256", "blob sha512"},
                                                        {"first 0", "first 4"},
                                                        {"first 0", "first 00"},
                                                        {"first 0", "first 2"},
                                                        {"count 3", "count 5"},
                                                        {"count 3", "count 0"},
                                                        {"count 3", "count +3"},
                                                        {"size 262144", "size 0"},
                                                        {"size 262144", "size 1"},
                                                        {"hashes sha256:", "hashes sha1:"},
                                                        {"certificate 63", "certificate 6"},
                                                        {"certificate", "Certificate"},
                                                        {"signature 73", "signature 7"}}) {
    EXPECT_FALSE(parse_claims(changed(from, to))) << from << " -> " << to;
  }
  std::string other = message_;
  other.back() = static_cast<char>(other.back() ^ 1);
  EXPECT_FALSE(parse_claims(other)) << "other hashes";
  std::string many;
  for (std::size_t i = 0; i <= kMaxClaims; ++i) many += message_;
  EXPECT_FALSE(parse_claims(many));
}

}  // namespace
}  // namespace shoal::agent
