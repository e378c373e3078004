#include "core/content/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <unordered_set>

#include "core/base/hex.h"

namespace shoal::content {
namespace {

constexpr std::string_view kAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// FIPS 180-4 examples (NIST "SHA256.pdf" and "SHA2_Additional.pdf").
TEST(Digest, GivesTheNistVectors) {
  EXPECT_EQ(digest_of("").hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of("abc").hex(), kAbc);
  EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                      "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu")
                .hex(),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(digest_of(std::string(1'000'000, '\0')).hex(),
            "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025");
}

TEST(Sha256, DoesNotDependOnThePortionsAndStartsAgain) {
  std::string text(1000, 'x');
  auto bytes = std::as_bytes(std::span(text));
  Sha256 hasher;
  for (std::size_t portion : {1u, 63u, 64u, 65u, 999u}) {
    for (std::size_t at = 0; at < bytes.size(); at += portion) {
      hasher.update(bytes.subspan(at, std::min(portion, bytes.size() - at)));
    }
    EXPECT_EQ(Digest(hasher.finish()), digest_of(bytes)) << portion;
  }
  EXPECT_EQ(Digest(hasher.finish()), digest_of(""));
}

TEST(Digest, ReadsWhatItWrites) {
  Digest digest = digest_of("abc");
  EXPECT_EQ(digest.str(), "sha256:" + std::string(kAbc));
  ASSERT_TRUE(Digest::parse(digest.str()));
  EXPECT_EQ(*Digest::parse(digest.str()), digest);
  ASSERT_TRUE(Digest::from_hex(kAbc));
  EXPECT_EQ(*Digest::from_hex(kAbc), digest);
}

TEST(Digest, IsAnIngestNameOnlyWhereOneMayStand) {
  const Digest name = ingest_name("https://models.example/a.bin", "\"v1\"", 7);
  EXPECT_TRUE(name.is_ingest());
  EXPECT_EQ(name.str(), "ingest:" + name.hex());
  EXPECT_EQ(Digest::parse_name(name.str()).value(), name);
  EXPECT_FALSE(Digest::parse(name.str()));
  EXPECT_FALSE(Digest::parse_name("ingest:" + name.hex().substr(1)));
  EXPECT_FALSE(Digest::parse_name("INGEST:" + name.hex()));
  const Digest digest = digest_of("abc");
  EXPECT_FALSE(digest.is_ingest());
  EXPECT_EQ(Digest::parse_name(digest.str()).value(), digest);
  EXPECT_NE(Digest(name.bytes()), name) << "a name is not the digest with the same digits";
}

TEST(IngestName, IsAnotherForAnotherFile) {
  const Digest name = ingest_name("u", "v", 7);
  EXPECT_EQ(ingest_name("u", "v", 7), name);
  EXPECT_NE(ingest_name("u", "v", 8), name);
  EXPECT_NE(ingest_name("u", "w", 7), name);
  EXPECT_NE(ingest_name("w", "v", 7), name);
  EXPECT_NE(ingest_name("u\n1 v", "", 7), ingest_name("u", "v\n0 ", 7));
  EXPECT_NE(ingest_name("uv", "", 7), ingest_name("u", "v", 7));
}

TEST(Digest, RefusesEveryOtherSpelling) {
  std::string good = digest_of("abc").str();
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Digest::parse(good.substr(0, length))) << length;
  }
  for (std::string bad : {good + "0", " " + good, "SHA256:" + std::string(kAbc),
                          "sha512:" + std::string(kAbc), "sha256-" + std::string(kAbc),
                          "sha256:" + std::string(64, 'A'), "sha256:" + std::string(64, 'g')}) {
    Result<Digest> parsed = Digest::parse(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
  }
  EXPECT_FALSE(Digest::from_hex(std::string(kAbc) + "00"));
}

TEST(Digest, QuotesForeignTextHarmlessly) {
  Result<Digest> parsed = Digest::parse("\x1b[31m" + std::string(10'000, 'x') + "\n");
  ASSERT_FALSE(parsed);
  EXPECT_LT(parsed.error().message().size(), 300u);
  EXPECT_EQ(parsed.error().message().find('\x1b'), std::string::npos);
}

TEST(Digest, OrdersAndHashesByItsBytes) {
  std::unordered_set<Digest> set{digest_of("a"), digest_of("b"), digest_of("a")};
  EXPECT_EQ(set.size(), 2u);
  EXPECT_LT(Digest(), digest_of("a"));
}

// RFC 4231, test cases 1, 2 and 6.
TEST(Hmac, OfTheStandardsExamples) {
  EXPECT_EQ(to_hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(std::string(131, '\xaa'),
                               "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

}  // namespace
}  // namespace shoal::content
