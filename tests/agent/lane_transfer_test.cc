// The lane's two ends against each other, plain and with TLS.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/agent/lane_fixture.h"
#include "tests/agent/test_cluster.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;
using swarm::Outcome;

class LaneTransfer : public ::testing::TestWithParam<bool> {
 protected:
  static TestCluster& ca() {
    static TestCluster one;
    return one;
  }
  std::shared_ptr<http::TlsContext> tls(const std::string& node) {
    return GetParam() ? ca().node(node) : nullptr;
  }
  ServerOptions server_options() { return {.tls = tls("server")}; }

  TempStore from_;
  TempStore to_;
};

TEST_P(LaneTransfer, MovesWholeBlobsOfEverySize) {
  SCOPED_TRACE("SHOAL_TEST_SEED=" + std::to_string(test_seed()));
  SeededRandom random(test_seed());
  ServerEnd server(*from_, server_options());
  ClientEnd client(tls("asker"));
  std::uint32_t id = 0;
  for (std::uint64_t size : {std::uint64_t{1}, 64 * kKiB, 64 * kKiB + 1, 5 * kMiB + 321}) {
    TestBlob blob = make_blob(size, random.next());
    from_.full(blob);
    std::shared_ptr<store::Blob> stored = to_.empty(blob);
    client.fetch(++id, stored, blob.layout().all_pieces(), server.peer());
    TransferEvent end = client.reports.end_of(id);
    EXPECT_EQ(end.outcome, Outcome::kFinished) << end.detail;
    EXPECT_EQ(client.reports.pieces_of(id), blob.layout().piece_count());
    EXPECT_TRUE(holds(*stored, blob));
  }
}

std::size_t open_sockets() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    count += std::filesystem::read_symlink(entry, gone).string().starts_with("socket:");
  }
  return count;
}

TEST_P(LaneTransfer, AFewPeersShareAllThreadsManyHaveOneEach) {
  const TestBlob blob = make_blob(12 * 64 * kKiB, 9);
  from_.full(blob);
  auto stored = to_.empty(blob);
  std::vector<std::unique_ptr<ServerEnd>> servers;
  for (int i = 0; i < 3; ++i) {
    servers.push_back(std::make_unique<ServerEnd>(*from_, server_options()));
  }
  ClientEnd client(tls("asker"), std::chrono::seconds(10), 3);
  EXPECT_EQ(client.pipeline(), 3u * 4);
  std::uint32_t id = 0;
  auto fetch_two = [&](const ServerEnd& server) {
    for (int i = 0; i < 2; ++i, ++id) {
      client.fetch(id, stored, {PieceIndex(id), 1}, server.peer());
    }
    for (std::uint32_t n = id - 2; n < id; ++n) {
      EXPECT_EQ(client.reports.end_of(n).outcome, Outcome::kFinished);
    }
  };
  const std::size_t before = open_sockets();
  fetch_two(*servers[0]);
  const std::size_t alone = open_sockets();
  fetch_two(*servers[1]);
  fetch_two(*servers[2]);
  const std::size_t all = open_sockets();
  // Both ends of each connection are ours.
  EXPECT_EQ(alone - before, 2u * 2);
  EXPECT_EQ(all - alone, 2u * 2);
}

TEST_P(LaneTransfer, ManySmallRequestsOfSeveralBlobsShareOneConnection) {
  ServerEnd server(*from_, server_options());
  ClientEnd client(tls("asker"));
  std::vector<TestBlob> blobs;
  std::vector<std::shared_ptr<store::Blob>> stored;
  for (std::uint64_t i = 0; i < 3; ++i) {
    blobs.push_back(make_blob(40 * 64 * kKiB + i * 1000, i));
    from_.full(blobs.back());
    stored.push_back(to_.empty(blobs.back()));
  }
  const std::size_t descriptors = open_descriptors();
  std::uint32_t id = 0;
  for (std::uint32_t piece = 0; piece < 40; ++piece) {
    for (std::size_t i = 0; i < 3; ++i) {
      client.fetch(++id, stored[i], {PieceIndex(piece), 1}, server.peer());
    }
  }
  for (std::uint32_t n = 1; n <= id; ++n) {
    EXPECT_EQ(client.reports.end_of(n).outcome, Outcome::kFinished);
  }
  // Both ends of one connection, and the data file that each open blob holds on either side.
  EXPECT_LE(open_descriptors(), descriptors + 2 + 2 * 3);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(stored[i]->has(PieceRange{PieceIndex(0), 40}));
    EXPECT_EQ(stored[i]->complete(), blobs[i].layout().piece_count() == 40);
  }
}

TEST_P(LaneTransfer, UrgentOnesPassBulkOnConnectionsOfTheirOwn) {
  // Bulk crawls at this limit: it would take minutes.
  ServerOptions options = server_options();
  options.upload_limit = Rate(1'000'000);
  ServerEnd server(*from_, options);
  ClientEnd client(tls("asker"));
  TestBlob bulk = make_blob(64 * kMiB, 1);
  TestBlob urgent = make_blob(3 * 64 * kKiB, 2);
  from_.full(bulk);
  from_.full(urgent);
  auto bulk_stored = to_.empty(bulk);
  auto urgent_stored = to_.empty(urgent);
  for (std::uint32_t i = 0; i < 4; ++i) {
    client.fetch(100 + i, bulk_stored, {PieceIndex(i * 256), 256}, server.peer());
  }
  ASSERT_TRUE(client.reports.wait_for_pieces(100, 1));
  for (std::uint32_t i = 0; i < 3; ++i) {
    client.fetch(1 + i, urgent_stored, {PieceIndex(i), 1}, server.peer(), swarm::Class::kFault);
  }
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(client.reports.end_of(1 + i).outcome, Outcome::kFinished);
  }
  EXPECT_EQ(client.reports.ended(), 3u) << "no bulk transfer has ended";
  EXPECT_TRUE(holds(*urgent_stored, urgent));
}

TEST_P(LaneTransfer, SaysThatThePeerDoesNotHaveIt) {
  ServerEnd server(*from_, server_options());
  ClientEnd client(tls("asker"));
  TestBlob blob = make_blob(4 * 64 * kKiB, 1);
  auto stored = to_.empty(blob);
  client.fetch(1, stored, {PieceIndex(0), 4}, server.peer());
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kNotHave) << "404: the blob is unknown";
  from_.with(blob, {PieceIndex(0), 2});
  client.fetch(2, stored, {PieceIndex(0), 4}, server.peer());
  EXPECT_EQ(client.reports.end_of(2).outcome, Outcome::kNotHave) << "409: pieces are missing";
  client.fetch(3, stored, {PieceIndex(0), 2}, server.peer());
  EXPECT_EQ(client.reports.end_of(3).outcome, Outcome::kFinished) << "on the same connection";
}

TEST_P(LaneTransfer, SaysThatThePeerIsBusyAndForHowLong) {
  ServerOptions options = server_options();
  options.slots = {.bulk = 1, .urgent = 1, .per_peer = 1};
  ServerEnd server(*from_, options);
  ClientEnd client(tls("asker"));
  TestBlob blob = make_blob(64 * kKiB, 1);
  from_.full(blob);
  std::optional<UploadGate::Ticket> held;
  std::chrono::milliseconds unused{0};
  ASSERT_TRUE(server.gate().admit("another", swarm::Class::kPlan, held, unused));
  auto stored = to_.empty(blob);
  client.fetch(1, stored, {PieceIndex(0), 1}, server.peer());
  TransferEvent end = client.reports.end_of(1);
  EXPECT_EQ(end.outcome, Outcome::kBusy);
  EXPECT_GT(end.retry_after, std::chrono::milliseconds(0));
  held.reset();
  client.fetch(2, stored, {PieceIndex(0), 1}, server.peer());
  EXPECT_EQ(client.reports.end_of(2).outcome, Outcome::kFinished);
}

TEST_P(LaneTransfer, CancelsWhatWaitsWhatRunsAndNothingThatEnded) {
  ServerOptions options = server_options();
  options.upload_limit = Rate(20'000'000);
  ServerEnd server(*from_, options);
  ClientEnd client(tls("asker"));
  TestBlob blob = make_blob(128 * kMiB, 1);
  from_.full(blob);
  auto stored = to_.empty(blob);
  // Four are sent, the fifth waits in the client.
  for (std::uint32_t i = 0; i < 5; ++i) {
    client.fetch(i, stored, {PieceIndex(i * 256), 256}, server.peer());
  }
  ASSERT_TRUE(client.reports.wait_for_pieces(0, 1));
  client.cancel(4, server.peer());
  EXPECT_EQ(client.reports.end_of(4).outcome, Outcome::kCancelled) << "before it was sent";
  client.cancel(2, server.peer());
  client.cancel(3, server.peer());
  client.cancel(0, server.peer());
  EXPECT_EQ(client.reports.end_of(0).outcome, Outcome::kCancelled) << "while its bytes came";
  // The connection was replaced; the one nobody cancelled is asked again and goes on.
  ASSERT_TRUE(client.reports.wait_for_pieces(1, 2));
  client.cancel(1, server.peer());
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kCancelled);
  EXPECT_EQ(client.reports.end_of(2).outcome, Outcome::kCancelled) << "sent, not yet answered";
  EXPECT_EQ(client.reports.end_of(3).outcome, Outcome::kCancelled);
  client.cancel(3, server.peer());   // again
  client.cancel(77, server.peer());  // never heard of
  client.fetch(10, stored, {PieceIndex(2000), 1}, server.peer());
  EXPECT_EQ(client.reports.end_of(10).outcome, Outcome::kFinished);
}

TEST_P(LaneTransfer, DroppingAPeerEndsItsTransfersAsDisconnected) {
  ServerOptions options = server_options();
  options.upload_limit = Rate(1'000'000);
  ServerEnd server(*from_, options);
  ClientEnd client(tls("asker"));
  TestBlob blob = make_blob(96 * kMiB, 1);
  from_.full(blob);
  auto stored = to_.empty(blob);
  for (std::uint32_t i = 0; i < 6; ++i) {
    client.fetch(i, stored, {PieceIndex(i * 256), 256}, server.peer());
  }
  ASSERT_TRUE(client.reports.wait_for_pieces(0, 1));
  client.drop_peer(server.peer());
  for (std::uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(client.reports.end_of(i).outcome, Outcome::kDisconnected);
  }
  client.fetch(10, stored, {PieceIndex(1500), 1}, server.peer());
  EXPECT_EQ(client.reports.end_of(10).outcome, Outcome::kFinished) << "a new connection is made";
}

TEST_P(LaneTransfer, EitherEndStopsUnderLoadAndLeaksNothing) {
  TestBlob blob = make_blob(48 * kMiB, 1);
  from_.full(blob);
  auto stored = to_.empty(blob);
  auto tls_server = tls("server");
  auto tls_asker = tls("asker");
  std::size_t descriptors = 0;
  // The first round opens what stays open: the blobs' files.
  for (int round = 0; round < 5; ++round) {
    ServerOptions options;
    options.tls = tls_server;
    options.upload_limit = Rate(4'000'000);
    {
      ServerEnd server(*from_, options);
      ClientEnd client(tls_asker);
      for (std::uint32_t i = 0; i < 3; ++i) {
        client.fetch(i, stored, {PieceIndex(i * 256), 256}, server.peer());
        client.fetch(10 + i, stored, {PieceIndex(767 - i), 1}, server.peer(), swarm::Class::kFault);
      }
      if (round > 0) {
        EXPECT_EQ(client.reports.end_of(10).outcome, Outcome::kFinished);
      }
      if (round % 2 == 0) {
        server.stop();
        // Every order ends, with whatever became of it.
        for (std::uint32_t i = 0; i < 3; ++i) {
          client.reports.end_of(i);
          client.reports.end_of(10 + i);
        }
      }
      client.stop();
    }
    if (round == 0) descriptors = open_descriptors();
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST_P(LaneTransfer, APeerThatIsGoneIsDisconnected) {
  PeerAddress gone;
  {
    ServerEnd server(*from_, server_options());
    gone = server.peer();
  }
  ClientEnd client(tls("asker"));
  TestBlob blob = make_blob(64 * kKiB, 1);
  client.fetch(1, to_.empty(blob), {PieceIndex(0), 1}, gone);
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kDisconnected);
}

TEST_P(LaneTransfer, AKeptConnectionThatThePeerClosedIsReplacedUnnoticed) {
  TestBlob blob = make_blob(4 * 64 * kKiB, 1);
  from_.full(blob);
  auto stored = to_.empty(blob);
  ClientEnd client(tls("asker"));
  auto tls_server = tls("server");
  auto server = std::make_unique<ServerEnd>(*from_, ServerOptions{.tls = tls_server});
  client.fetch(1, stored, {PieceIndex(0), 1}, server->peer());
  ASSERT_EQ(client.reports.end_of(1).outcome, Outcome::kFinished);
  PeerAddress first = server->peer();
  server.reset();
  // Another server at the same address, if the port can be had again.
  client.fetch(2, stored, {PieceIndex(1), 1}, first);
  EXPECT_EQ(client.reports.end_of(2).outcome, Outcome::kDisconnected) << "nobody listens now";
}

INSTANTIATE_TEST_SUITE_P(, LaneTransfer, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Tls" : "Plain"; });

TEST(LaneTls, APeerWithAnotherNameIsRefused) {
  TestCluster ca;
  TempStore from;
  TempStore to;
  ServerEnd server(*from, {.tls = ca.node("impostor")});
  ClientEnd client(ca.node("asker"));
  TestBlob blob = make_blob(64 * kKiB, 1);
  from.full(blob);
  auto stored = to.empty(blob);
  client.fetch(1, stored, {PieceIndex(0), 1}, server.peer());
  TransferEvent end = client.reports.end_of(1);
  EXPECT_EQ(end.outcome, Outcome::kRefused);
  EXPECT_NE(end.detail.find("impostor"), std::string::npos) << end.detail;
  EXPECT_EQ(stored->have_count(), 0u);
}

TEST(LaneTls, ACertificateOfAnotherClusterIsRefused) {
  TestCluster ours;
  TestCluster theirs;
  TempStore from;
  TempStore to;
  ServerEnd server(*from, {.tls = ours.node("server")});
  ClientEnd client(theirs.node("asker"));
  TestBlob blob = make_blob(64 * kKiB, 1);
  from.full(blob);
  client.fetch(1, to.empty(blob), {PieceIndex(0), 1}, server.peer());
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kRefused);
}

}  // namespace
}  // namespace shoal::agent
