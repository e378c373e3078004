#include "tracker/bittorrent/announce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace shoal::tracker {
namespace {

using content::TruncatedInfoHash;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kHash = "%00%01%02%ff%FFabcdefghijklmno";  // 20 bytes
const std::string kId = "-XX0001-abcdefghijkl";
const std::string kQuery = "info_hash=" + kHash + "&peer_id=" + kId +
                           "&port=6881&uploaded=0&downloaded=0&left=5&compact=1";

TruncatedInfoHash hash_of(std::string_view text) {
  TruncatedInfoHash hash{};
  std::transform(text.begin(), text.end(), hash.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return hash;
}

BtAddress address(const std::string& ip, std::uint16_t port) { return *BtAddress::parse(ip, port); }

void expect_invalid(const std::string& query, std::string_view because) {
  Result<AnnounceQuery> parsed = parse_announce(query);
  ASSERT_FALSE(parsed) << query;
  EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
  EXPECT_THAT(parsed.error().message(), HasSubstr(std::string(because))) << query;
}

TEST(ParseAnnounce, ReadsWhatAClientSends) {
  Result<AnnounceQuery> query =
      parse_announce(kQuery + "&event=started&numwant=30&key=1A2B%21&supportcrypto=1&ip=1.2.3.4");
  ASSERT_TRUE(query) << query.error().str();
  EXPECT_EQ(query->info_hash, hash_of(std::string_view("\0\x01\x02\xff\xff"
                                                       "abcdefghijklmno",
                                                       20)));
  EXPECT_TRUE(std::equal(kId.begin(), kId.end(), query->peer_id.begin(), query->peer_id.end(),
                         [](char a, std::byte b) { return static_cast<std::byte>(a) == b; }));
  EXPECT_EQ(query->port, 6881);
  EXPECT_FALSE(query->seed);
  EXPECT_EQ(query->event, AnnounceQuery::Event::kStarted);
  EXPECT_EQ(query->numwant, 30u);
  EXPECT_EQ(query->key, "1A2B!");
}

TEST(ParseAnnounce, KnowsSeedsAndEvents) {
  using Event = AnnounceQuery::Event;
  EXPECT_TRUE(parse_announce(kQuery + "&left=0")->seed);
  // What is no number may be anything; it is not taken for a seed.
  for (std::string left : {"", "-1", "0x", "99999999999999999999999"}) {
    EXPECT_FALSE(parse_announce(kQuery + "&left=" + left)->seed) << left;
  }
  EXPECT_EQ(parse_announce(kQuery)->event, Event::kNone);
  EXPECT_EQ(parse_announce(kQuery + "&event=")->event, Event::kNone);
  EXPECT_EQ(parse_announce(kQuery + "&event=paused")->event, Event::kNone);
  EXPECT_EQ(parse_announce(kQuery + "&event=stopped")->event, Event::kStopped);
  EXPECT_EQ(parse_announce(kQuery + "&event=completed")->event, Event::kCompleted);
}

TEST(ParseAnnounce, MistakesInWhatItCanDoWithoutAreNone) {
  EXPECT_FALSE(parse_announce(kQuery)->numwant);
  EXPECT_FALSE(parse_announce(kQuery + "&numwant=-1")->numwant);
  EXPECT_EQ(parse_announce(kQuery + "&key=" + std::string(65, 'k'))->key, "");
  EXPECT_EQ(parse_announce(kQuery + "&key=%zz")->key, "");
  EXPECT_TRUE(parse_announce("&&" + kQuery + "&&flag&=&%zz=%zz&"));
}

TEST(ParseAnnounce, TakesASpaceInEitherSpelling) {
  const std::string rest = "&peer_id=" + kId + "&port=1";
  Result<AnnounceQuery> plus = parse_announce("info_hash=+bcdefghijklmnopqrst" + rest);
  ASSERT_TRUE(plus);
  EXPECT_EQ(*plus, *parse_announce("info_hash=%20bcdefghijklmnopqrst" + rest));
}

TEST(ParseAnnounce, SaysWhatIsWrong) {
  auto without = [](std::string_view name) {
    std::string query = kQuery;
    return query.replace(query.find(name), name.size(), "x");
  };
  expect_invalid("", "info_hash is missing");
  expect_invalid(without("info_hash"), "info_hash is missing");
  expect_invalid(without("peer_id"), "peer_id is missing");
  expect_invalid(without("port"), "port is missing");
  expect_invalid(kQuery + "&info_hash=" + kHash, "twice");
  expect_invalid("info_hash=abc&" + kQuery, "info_hash must be 20 bytes");
  // The whole hash, which trackers do not take.
  expect_invalid("info_hash=" + std::string(32, 'a'), "info_hash must be 20 bytes");
  expect_invalid("info_hash=%0", "info_hash must be 20 bytes");
  expect_invalid(kQuery + "&peer_id=x", "peer_id must be 20 bytes");
  for (std::string port : {"0", "65536", "-1", "", "80x", "0x50"}) {
    expect_invalid(kQuery + "&port=" + port, "port must be");
  }
}

TEST(ParseAnnounce, HasLimits) {
  expect_invalid(kQuery + "&" + std::string(kMaxBtQuery, 'x'), "too long");
  std::string many = kQuery;
  for (std::size_t i = 0; i < kMaxBtParameters; ++i) many += "&x";
  expect_invalid(many, "too many parameters");
}

// Every shorter query is either refused or means what the whole one means, but for what is not
// there yet.
TEST(ParseAnnounce, CanBeCutOffAnywhere) {
  for (std::size_t size = 0; size < kQuery.size(); ++size) {
    Result<AnnounceQuery> parsed = parse_announce(std::string_view(kQuery).substr(0, size));
    if (!parsed) {
      EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
      continue;
    }
    EXPECT_GE(size, kQuery.find("&port=") + 7);
    EXPECT_EQ(parsed->info_hash, parse_announce(kQuery)->info_hash);
    EXPECT_EQ(parsed->peer_id, parse_announce(kQuery)->peer_id);
  }
}

TEST(ParseScrape, ReadsEachHashOnce) {
  Result<std::vector<TruncatedInfoHash>> hashes = parse_scrape(
      "info_hash=bbbbbbbbbbbbbbbbbbbb&info_hash=%61aaaaaaaaaaaaaaaaaaa&x=1"
      "&info_hash=bbbbbbbbbbbbbbbbbbbb");
  ASSERT_TRUE(hashes) << hashes.error().str();
  EXPECT_THAT(*hashes, ElementsAre(hash_of(std::string(20, 'a')), hash_of(std::string(20, 'b'))));
}

TEST(ParseScrape, SaysWhatIsWrong) {
  for (std::string query : {"", "x=1", "info_hash=abc", "info_hash=%6", "info_hash"}) {
    EXPECT_EQ(parse_scrape(query).error().code(), Errc::kInvalid) << query;
  }
  std::string many;
  for (std::size_t i = 0; i < kMaxScrapeHashes; ++i) many += "&info_hash=" + kHash;
  EXPECT_EQ(parse_scrape(many)->size(), 1u);
  EXPECT_THAT(parse_scrape(many + "&info_hash=" + kHash).error().message(), HasSubstr("at most"));
}

TEST(BtAddress, HasOneSpelling) {
  EXPECT_EQ(address("1.2.3.4", 5), address("::ffff:1.2.3.4", 5));
  EXPECT_TRUE(address("1.2.3.4", 5).is_v4());
  EXPECT_FALSE(address("2001:db8::1", 5).is_v4());
  EXPECT_NE(address("1.2.3.4", 5), address("1.2.3.4", 6));
  for (std::string text : {"", "host", "1.2.3", "fe80::1%eth0", "[::1]"}) {
    EXPECT_EQ(BtAddress::parse(text, 1).error().code(), Errc::kInvalid) << text;
  }
}

TEST(AnnounceAnswer, IsWhatClientsExpect) {
  EXPECT_EQ(announce_answer({2, 3, 4}, {}, seconds(300), seconds(60)),
            "d8:completei2e10:incompletei3e8:intervali300e12:min intervali60e5:peers0:6:peers60:e");
  constexpr char kExpected[] =
      "d8:completei0e10:incompletei0e8:intervali1e12:min intervali1e"
      "5:peers12:\x01\x02\x03\x04\x1a\xe1\xff\x00\x00\x09\x00\x01"
      "6:peers618:\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
      "\x01\xff\xff"
      "e";
  const std::vector<BtAddress> peers{address("1.2.3.4", 0x1ae1), address("2001:db8::1", 0xffff),
                                     address("255.0.0.9", 1)};
  EXPECT_EQ(announce_answer({}, peers, seconds(1), seconds(1)),
            std::string(kExpected, sizeof kExpected - 1));
}

TEST(ScrapeAnswer, IsWhatClientsExpect) {
  EXPECT_EQ(scrape_answer({}), "d5:filesdee");
  EXPECT_EQ(scrape_answer({{hash_of(std::string(20, 'a')), {1, 2, 3}},
                           {hash_of(std::string(20, '\xff')), {}}}),
            "d5:filesd20:" + std::string(20, 'a') +
                "d8:completei1e10:downloadedi3e10:incompletei2ee20:" + std::string(20, '\xff') +
                "d8:completei0e10:downloadedi0e10:incompletei0eeee");
}

TEST(FailureAnswer, CarriesTheReason) {
  EXPECT_EQ(failure_answer("no"), "d14:failure reason2:noe");
}

}  // namespace
}  // namespace shoal::tracker
