#include "agent/lane/lane_server.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "tests/agent/lane_fixture.h"
#include "tests/agent/raw_client.h"
#include "tests/agent/test_cluster.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class LaneServerTest : public ::testing::Test {
 protected:
  LaneServerTest() : blob_(make_blob(5 * 64 * kKiB + 100, 7)), server_(*store_) {}

  std::string path() const { return "/v1/blobs/" + blob_.table.digest().str(); }
  std::uint16_t port() const { return server_.peer().lane.port; }

  TempStore store_;
  TestBlob blob_;
  ServerEnd server_;
};

TEST_F(LaneServerTest, SendsExactlyTheRangeAsked) {
  store_.full(blob_);
  RawClient client(port());
  for (ByteRange range : {ByteRange{0, 1}, ByteRange{5, 100'000}, ByteRange{5 * 64 * kKiB, 100}}) {
    RawAnswer answer = client.get(path(), "Range: bytes=" + std::to_string(range.offset) + "-" +
                                              std::to_string(range.end() - 1) + "\r\n");
    EXPECT_EQ(answer.status, 206);
    EXPECT_EQ(answer.header("Content-Range"), "bytes " + std::to_string(range.offset) + "-" +
                                                  std::to_string(range.end() - 1) + "/" +
                                                  std::to_string(blob_.bytes.size()));
    EXPECT_EQ(answer.body, text_of(blob_.range(range)));
  }
}

TEST_F(LaneServerTest, SendsTheWholeBlobWithoutARange) {
  store_.full(blob_);
  RawClient client(port());
  RawAnswer answer = client.get(path());
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, text_of(blob_.bytes));
}

TEST_F(LaneServerTest, SendsOfAnUnfinishedBlobOnlyWhatIsVerified) {
  store_.with(blob_, {PieceIndex(1), 2});
  RawClient client(port());
  RawAnswer held = client.get(path(), "Range: bytes=65536-196607\r\n");
  EXPECT_EQ(held.status, 206);
  EXPECT_EQ(held.body, text_of(blob_.range({65536, 131072})));
  for (const char* range : {"0-0", "65535-65536", "196607-196608", "0-"}) {
    RawAnswer answer = client.get(path(), std::string("Range: bytes=") + range + "\r\n");
    EXPECT_EQ(answer.status, 409) << range;
    EXPECT_NE(answer.body.find("\"error\""), std::string::npos);
    EXPECT_FALSE(answer.header("Shoal-Have-Version").empty());
  }
  EXPECT_EQ(client.get(path()).status, 409);
}

TEST_F(LaneServerTest, RefusesWhatItCannotAnswer) {
  store_.full(blob_);
  RawClient client(port());
  EXPECT_EQ(client.get("/v1/blobs/sha256:" + std::string(64, '0')).status, 404);
  EXPECT_EQ(client.get("/v1/blobs/md5:1234").status, 400);
  EXPECT_EQ(client.get("/v1/blobs/").status, 400);
  EXPECT_EQ(client.get("/v1/blobs/../../etc/passwd").status, 400);
  EXPECT_EQ(client.get("/etc/passwd").status, 404);
  RawAnswer outside = client.get(path(), "Range: bytes=99999999-\r\n");
  EXPECT_EQ(outside.status, 416);
  EXPECT_EQ(outside.header("Content-Range"), "bytes */" + std::to_string(blob_.bytes.size()));
  EXPECT_EQ(client.get(path(), "Range: bytes=0-1,5-6\r\n").status, 400);
  EXPECT_EQ(client.get(path(), "Range: bytes=6-5\r\n").status, 400);
  EXPECT_EQ(client.get(path(), "Range: pieces=1-2\r\n").status, 400);
  client.send("DELETE " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read().status, 405);
  // The connection is as good as new after all that.
  EXPECT_EQ(client.get(path(), "Range: bytes=0-9\r\n").body, text_of(blob_.range({0, 10})));
}

TEST_F(LaneServerTest, AnswersAHeadWithoutTheBytes) {
  store_.full(blob_);
  RawClient client(port());
  client.send("HEAD " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  RawAnswer answer = client.read(false);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Length"), std::to_string(blob_.bytes.size()));
  EXPECT_EQ(client.get(path(), "Range: bytes=0-9\r\n").status, 206);
}

TEST_F(LaneServerTest, SendsAnEmptyBlob) {
  TestBlob empty = make_blob(0, 0);
  store_.full(empty);
  RawClient client(port());
  RawAnswer answer = client.get("/v1/blobs/" + empty.table.digest().str());
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(client.get("/v1/blobs/" + empty.table.digest().str(), "Range: bytes=0-\r\n").status,
            416);
}

TEST_F(LaneServerTest, RefusesARangeOfMoreThan16MiB) {
  TestBlob large = make_blob(17 * kMiB, 3);
  store_.full(large);
  RawClient client(port());
  std::string target = "/v1/blobs/" + large.table.digest().str();
  EXPECT_EQ(client.get(target, "Range: bytes=0-16777216\r\n").status, 400);
  EXPECT_EQ(client.get(target, "Range: bytes=1-16777216\r\n").status, 206);
}

TEST_F(LaneServerTest, SendsOnePieceThatIsLongerThan16MiB) {
  const content::BlobLayout layout(kTiB + 1);
  ASSERT_EQ(layout.piece_length(), 32 * kMiB);
  std::vector<std::byte> bytes = random_bytes(32 * kMiB, 9);
  std::vector<content::Hash32> hashes(layout.piece_count());
  hashes[0] = content::piece_hash(layout, PieceIndex(0), bytes);
  auto table = content::PieceTable::make(content::digest_of("huge"), layout, std::move(hashes));
  auto stored = store_->create(*table, store::Reservation::kSparse);
  if (!stored && stored.error().code() == Errc::kNoSpace) {
    FAIL() << "the file system takes no sparse file of 1 TiB: " << stored.error().str();
  }
  ASSERT_TRUE((*stored)->commit(PieceIndex(0), bytes));
  RawClient client(port());
  RawAnswer answer =
      client.get("/v1/blobs/" + content::digest_of("huge").str(), "Range: bytes=0-33554431\r\n");
  EXPECT_EQ(answer.status, 206);
  EXPECT_EQ(answer.body, text_of(bytes));
}

TEST_F(LaneServerTest, SendsThePieceTable) {
  store_.with(blob_, {});
  RawClient client(port());
  RawAnswer answer = client.get(path() + "/table");
  EXPECT_EQ(answer.status, 200);
  auto table = content::PieceTable::parse(std::as_bytes(std::span(answer.body)));
  ASSERT_TRUE(table);
  EXPECT_EQ(table->pieces_root(), blob_.table.pieces_root());
  EXPECT_EQ(client.get("/v1/blobs/sha256:" + std::string(64, '0') + "/table").status, 404);
}

TEST_F(LaneServerTest, SaysWhoItIs) {
  RawClient client(port());
  RawAnswer answer = client.get("/v1/identity");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"node":"server","epoch":"1f"})");
}

TEST_F(LaneServerTest, AnswersPipelinedRequestsInOrder) {
  store_.full(blob_);
  RawClient client(port());
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests += "GET " + path() + " HTTP/1.1\r\nHost: x\r\nRange: bytes=" + std::to_string(i) +
                "-" + std::to_string(i + 10) + "\r\n\r\n";
  }
  client.send(requests);
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(client.read().body, text_of(blob_.range({i, 11})));
  }
}

TEST_F(LaneServerTest, RefusesGarbageAndOversizeHeads) {
  for (const std::string& bytes :
       {std::string("\x16\x03\x01 no http\r\n\r\n"), "GET /" + std::string(20'000, 'a')}) {
    RawClient client(port());
    client.send(bytes);
    RawAnswer answer = client.read();
    EXPECT_GE(answer.status, 400);
    EXPECT_LT(answer.status, 500);
    EXPECT_TRUE(client.closed_by_peer());
  }
}

TEST(LaneServer, SaysBusyWhenTheUploadSlotsAreTaken) {
  TempStore store;
  TestBlob blob = make_blob(32 * kMiB, 5);
  store.full(blob);
  ServerEnd server(*store, {.slots = {.bulk = 1, .urgent = 1, .per_peer = 1}});
  std::string target = "/v1/blobs/" + blob.table.digest().str();
  RawClient holder(server.peer().lane.port);
  // Reads the head only: the slot stays taken while the body does not fit the socket buffers.
  holder.send("GET " + target + " HTTP/1.1\r\nHost: x\r\nShoal-Node: a\r\n\r\n");
  ASSERT_EQ(holder.read(false).status, 200);
  RawClient other(server.peer().lane.port);
  RawAnswer busy = other.get(target, "Range: bytes=0-9\r\nShoal-Node: b\r\n");
  EXPECT_EQ(busy.status, 503);
  EXPECT_GE(std::stoi(busy.header("Retry-After")), 1);
  EXPECT_GE(std::stoi(busy.header("Shoal-Retry-After-Ms")), 1);
  // Urgent ones are served all the same.
  EXPECT_EQ(other.get(target, "Range: bytes=0-9\r\nShoal-Node: b\r\nShoal-Class: fault\r\n").status,
            206);
}

TEST(LaneServer, StopsWhileAPeerDoesNotFinishItsHandshake) {
  TempStore store;
  TestCluster ca;
  ServerEnd server(*store, {.tls = ca.node("server")});
  RawClient silent(server.peer().lane.port);
  silent.send("\x16");
  // Served by the same thread, or by the other: what is in its handshake has surely been taken.
  RawClient second(server.peer().lane.port);
  RawClient third(server.peer().lane.port);
  third.send("no TLS at all, which is answered at once");
  EXPECT_TRUE(third.closed_by_peer() || third.closed_by_peer());
  auto before = std::chrono::steady_clock::now();
  server.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(8));
}

TEST(LaneServer, GoesOnAcceptingAfterItRanOutOfDescriptors) {
  TempStore store;
  TestBlob blob = make_blob(1000, 5);
  store.full(blob);
  ServerEnd server(*store);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  RawClient first(server.peer().lane.port);
  ASSERT_EQ(first.get("/v1/identity").status, 200);
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Not one descriptor more than are open now.
  std::vector<UniqueFd> filler;
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(socket.get()) + 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  for (int fd = 0; (fd = ::dup(socket.get())) >= 0;) filler.emplace_back(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.peer().lane.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // The kernel connects; the server has no descriptor to take it with.
  ASSERT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(first.get("/v1/identity").status, 200) << "others are served meanwhile";
  filler.clear();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  const std::string request = "GET /v1/identity HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_GT(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
  char answer[16] = {};
  EXPECT_GT(::recv(socket.get(), answer, sizeof answer - 1, 0), 0);
  EXPECT_EQ(std::string(answer).substr(0, 12), "HTTP/1.1 200");
}

TEST(LaneServer, CutsOffWhoeverIsBeingServedWhenItStops) {
  TempStore store;
  TestBlob blob = make_blob(32 * kMiB, 5);
  store.full(blob);
  std::size_t descriptors = 0;
  { ServerEnd warm_up(*store); }
  descriptors = open_descriptors();
  {
    ServerEnd server(*store);
    RawClient held(server.peer().lane.port);
    held.send("GET /v1/blobs/" + blob.table.digest().str() + " HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_EQ(held.read(false).status, 200);
    server.stop();
    EXPECT_EQ(server.gate().in_use(), 0u);
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

}  // namespace
}  // namespace shoal::agent
