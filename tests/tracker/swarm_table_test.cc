// Swarms in virtual time.
#include "tracker/bittorrent/swarm_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace shoal::tracker {
namespace {

using content::TruncatedInfoHash;
using Event = AnnounceQuery::Event;
using std::chrono::minutes;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr TruncatedInfoHash torrent(int number) {
  TruncatedInfoHash hash{};
  hash[0] = static_cast<std::byte>(number);
  return hash;
}

BtAddress v4(int host, std::uint16_t port = 6881) {
  return *BtAddress::parse("10.0." + std::to_string(host / 256) + "." + std::to_string(host % 256),
                           port);
}
BtAddress v6(int host) { return *BtAddress::parse("fd00::" + std::to_string(host), 6881); }

class SwarmTableTest : public ::testing::Test {
 protected:
  // A client is `id`; what it says about itself can be changed before announce().
  static AnnounceQuery client(int id, bool seed = false, Event event = Event::kNone) {
    AnnounceQuery query;
    query.info_hash = torrent(1);
    query.peer_id[0] = static_cast<std::byte>(id);
    query.peer_id[1] = static_cast<std::byte>(id / 256);
    query.seed = seed;
    query.event = event;
    return query;
  }

  SwarmTable& table() {
    if (!table_) table_.emplace(options_, 7);
    return *table_;
  }
  SwarmTable::Answer announce(const AnnounceQuery& query, const BtAddress& from) {
    return table().announce(query, from, now_);
  }
  SwarmCounts counts() { return table().counts(torrent(1)); }

  SwarmTable::Options options_;
  swarm::Time now_ = swarm::Time(std::chrono::hours(1));
  std::optional<SwarmTable> table_;
};

TEST_F(SwarmTableTest, IntroducesClientsToOneAnother) {
  EXPECT_THAT(announce(client(1, true), v4(1)).peers, IsEmpty());
  SwarmTable::Answer second = announce(client(2), v4(2));
  EXPECT_THAT(second.peers, ElementsAre(v4(1)));
  EXPECT_EQ(second.counts, (SwarmCounts{1, 1, 0}));
  EXPECT_THAT(announce(client(3), v4(3)).peers, UnorderedElementsAre(v4(1), v4(2)));
  // Nobody hears of itself, and another torrent is another swarm.
  EXPECT_THAT(announce(client(1, true), v4(1)).peers, UnorderedElementsAre(v4(2), v4(3)));
  AnnounceQuery other = client(4);
  other.info_hash = torrent(2);
  EXPECT_THAT(announce(other, v4(4)).peers, IsEmpty());
  EXPECT_EQ(table().torrents(), 2u);
  EXPECT_EQ(table().clients(), 4u);
  EXPECT_EQ(table().seeds(), 1u);
}

TEST_F(SwarmTableTest, SeedsHaveNoUseForSeeds) {
  announce(client(1, true), v4(1));
  announce(client(2), v4(2));
  EXPECT_THAT(announce(client(3, true), v4(3)).peers, ElementsAre(v4(2)));
}

TEST_F(SwarmTableTest, GivesAsManyAsAreWantedAndOtherOnesEachTime) {
  options_.default_peers = 5;
  options_.max_peers = 20;
  for (int i = 0; i < 100; ++i) announce(client(i), v4(i));
  AnnounceQuery asking = client(500);
  EXPECT_EQ(announce(asking, v4(500)).peers.size(), 5u);
  asking.numwant = 0;
  EXPECT_THAT(announce(asking, v4(500)).peers, IsEmpty());
  asking.numwant = 1'000'000;
  std::set<BtAddress> all;
  for (int i = 0; i < 60; ++i) {
    std::vector<BtAddress> peers = announce(asking, v4(500)).peers;
    std::set<BtAddress> different(peers.begin(), peers.end());
    EXPECT_EQ(different.size(), 20u);
    all.merge(different);
  }
  EXPECT_EQ(all.size(), 100u);
  EXPECT_FALSE(all.contains(v4(500)));
}

TEST_F(SwarmTableTest, PeersOfTheSameFamilyComeFirst) {
  for (int i = 0; i < 10; ++i) {
    announce(client(i), v4(i));
    announce(client(100 + i), v6(i));
  }
  AnnounceQuery asking = client(200);
  asking.numwant = 12;
  std::vector<BtAddress> peers = announce(asking, v6(99)).peers;
  ASSERT_EQ(peers.size(), 12u);
  for (std::size_t i = 0; i < peers.size(); ++i) EXPECT_EQ(peers[i].is_v4(), i >= 10);
}

TEST_F(SwarmTableTest, CountsDownloadsOnce) {
  announce(client(1), v4(1));
  EXPECT_EQ(announce(client(1, true, Event::kCompleted), v4(1)).counts, (SwarmCounts{1, 0, 1}));
  EXPECT_EQ(announce(client(1, true, Event::kCompleted), v4(1)).counts, (SwarmCounts{1, 0, 1}));
  // The next client at that address has its own download.
  announce(client(2), v4(1));
  EXPECT_EQ(announce(client(2, true, Event::kCompleted), v4(1)).counts, (SwarmCounts{1, 0, 2}));
  // What was counted stays when nobody is left.
  announce(client(2, true, Event::kStopped), v4(1));
  EXPECT_EQ(counts(), (SwarmCounts{0, 0, 2}));
}

TEST_F(SwarmTableTest, ForgetsWhoStops) {
  announce(client(1, true), v4(1));
  announce(client(2), v4(2));
  SwarmTable::Answer stopped = announce(client(1, true, Event::kStopped), v4(1));
  EXPECT_THAT(stopped.peers, IsEmpty());
  EXPECT_EQ(stopped.counts, (SwarmCounts{0, 1, 0}));
  EXPECT_THAT(announce(client(3), v4(3)).peers, ElementsAre(v4(2)));
  announce(client(2, false, Event::kStopped), v4(2));
  announce(client(3, false, Event::kStopped), v4(3));
  EXPECT_EQ(table().torrents(), 0u);
  EXPECT_EQ(table().clients(), 0u);
  EXPECT_EQ(table().seeds(), 0u);
  // A stop of somebody unknown makes nothing.
  announce(client(9, false, Event::kStopped), v4(9));
  EXPECT_EQ(table().torrents(), 0u);
}

TEST_F(SwarmTableTest, NobodyStopsAnother) {
  announce(client(1), v4(1));
  announce(client(1, false, Event::kStopped), v4(2));  // from elsewhere
  EXPECT_EQ(counts().leeches, 1u);
  announce(client(2), v4(1));  // started again at the same port
  announce(client(1, false, Event::kStopped), v4(1));
  EXPECT_EQ(counts().leeches, 1u);
  announce(client(2, false, Event::kStopped), v4(1));
  EXPECT_EQ(counts().leeches, 0u);
}

TEST_F(SwarmTableTest, AClientThatMovesProvesItByItsKey) {
  AnnounceQuery mover = client(1);
  mover.key = "secret";
  announce(mover, v4(1));
  AnnounceQuery thief = client(1);
  thief.key = "guess";
  announce(thief, v4(66));
  EXPECT_EQ(counts().leeches, 2u);  // has not taken the other's place
  announce(mover, v4(2));
  EXPECT_EQ(counts().leeches, 2u);
  EXPECT_THAT(announce(client(3), v4(3)).peers, UnorderedElementsAre(v4(2), v4(66)));
  // With both families it is there twice.
  announce(mover, v6(1));
  EXPECT_EQ(counts().leeches, 4u);
  // Without a key nobody moves.
  announce(client(3), v4(4));
  EXPECT_EQ(counts().leeches, 5u);
}

TEST_F(SwarmTableTest, ForgetsWhoIsSilent) {
  announce(client(1, true), v4(1));
  announce(client(2), v4(2));
  now_ += options_.lifetime - minutes(1);
  announce(client(2), v4(2));
  table().expire(now_);
  EXPECT_EQ(counts(), (SwarmCounts{1, 1, 0}));
  now_ += minutes(1);
  table().expire(now_);
  EXPECT_EQ(counts(), (SwarmCounts{0, 1, 0}));
  EXPECT_EQ(table().seeds(), 0u);
  now_ += options_.lifetime;
  table().expire(now_);
  EXPECT_EQ(table().torrents(), 0u);
  EXPECT_EQ(table().clients(), 0u);
}

TEST_F(SwarmTableTest, ForgetsTorrentsThatAreNotKept) {
  for (int i = 1; i <= 3; ++i) {
    AnnounceQuery query = client(i, true);
    query.info_hash = torrent(i);
    announce(query, v4(i));
  }
  table().retain([](const TruncatedInfoHash& hash) { return hash == torrent(2); });
  EXPECT_EQ(table().torrents(), 1u);
  EXPECT_EQ(table().clients(), 1u);
  EXPECT_EQ(table().seeds(), 1u);
  EXPECT_EQ(table().counts(torrent(2)).seeds, 1u);
}

TEST_F(SwarmTableTest, WhoDoesNotFitIsAnsweredButNotRecorded) {
  options_.max_clients_per_torrent = 3;
  options_.max_clients = 5;
  for (int i = 1; i <= 3; ++i) EXPECT_TRUE(announce(client(i), v4(i)).recorded);
  SwarmTable::Answer late = announce(client(4), v4(4));
  EXPECT_FALSE(late.recorded);
  EXPECT_EQ(late.peers.size(), 3u);
  EXPECT_EQ(counts().leeches, 3u);
  EXPECT_TRUE(announce(client(3), v4(3)).recorded);  // is in already
  for (int i = 10; i < 20; ++i) {
    AnnounceQuery query = client(i);
    query.info_hash = torrent(i);
    EXPECT_EQ(announce(query, v4(i)).recorded, i < 12) << i;
  }
  EXPECT_EQ(table().clients(), 5u);
  EXPECT_EQ(table().torrents(), 3u);  // none without a client
  announce(client(1, false, Event::kStopped), v4(1));
  EXPECT_TRUE(announce(client(4), v4(4)).recorded);
}

TEST_F(SwarmTableTest, OneMachineDoesNotFillASwarm) {
  options_.max_clients_per_ip = 4;
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(announce(client(i), v4(1, static_cast<std::uint16_t>(1000 + i))).recorded);
  }
  EXPECT_FALSE(announce(client(9), v4(1, 2000)).recorded);
  EXPECT_TRUE(announce(client(9), v4(2, 2000)).recorded);
  EXPECT_TRUE(announce(client(3), v4(1, 1003)).recorded);
}

// Many random announces: what is counted is what is there.
TEST_F(SwarmTableTest, NumbersStayRight) {
  SeededRandom random(3);
  std::set<std::pair<int, std::uint16_t>> alive;
  for (int i = 0; i < 20'000; ++i) {
    int host = static_cast<int>(random.below(40));
    auto port = static_cast<std::uint16_t>(1 + random.below(3));
    Event event = random.below(3) == 0 ? Event::kStopped : Event::kNone;
    announce(client(host, random.below(2) == 0, event), v4(host, port));
    if (event == Event::kStopped) {
      alive.erase({host, port});
    } else {
      alive.insert({host, port});
    }
    ASSERT_EQ(table().clients(), alive.size());
    ASSERT_EQ(counts().seeds + counts().leeches, alive.size());
    ASSERT_EQ(counts().seeds, table().seeds());
  }
}

}  // namespace
}  // namespace shoal::tracker
