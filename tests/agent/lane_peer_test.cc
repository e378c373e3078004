// The lane's client against peers that do not behave.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "tests/agent/lane_fixture.h"
#include "tests/fakes/scripted_server.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;
using fakes::http_answer;
using fakes::ScriptedServer;
using swarm::Outcome;

constexpr std::uint32_t kPieces = 4;

class LanePeer : public ::testing::Test {
 protected:
  LanePeer() : blob_(make_blob(kPieces * 64 * kKiB, 11)), stored_(to_.empty(blob_)) {}

  static PeerAddress address(const ScriptedServer& server) {
    return {"bad", {"127.0.0.1", server.port()}};
  }

  // What a good peer answers to a request head.
  std::string good(const std::string& head) const {
    auto at = head.find("Range: bytes=");
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    EXPECT_EQ(std::sscanf(head.c_str() + at, "Range: bytes=%lu-%lu", &first, &last), 2);
    auto bytes = blob_.range({first, last - first + 1});
    return http_answer("206 Partial Content",
                       "Content-Range: bytes " + std::to_string(first) + "-" +
                           std::to_string(last) + "/" + std::to_string(blob_.bytes.size()) + "\r\n",
                       {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  // Fetches everything from a peer that gives this answer, and says what became of it.
  TransferEvent outcome_of(ScriptedServer::Script script) {
    ScriptedServer server(std::move(script));
    ClientEnd client(nullptr, std::chrono::milliseconds(200));
    client.fetch(1, stored_, blob_.layout().all_pieces(), address(server));
    TransferEvent end = client.reports.end_of(1);
    pieces_reported_ = client.reports.pieces_of(1);
    connections_ = server.connections();
    return end;
  }
  TransferEvent outcome_of(const std::string& bytes, bool close) {
    return outcome_of([=](const std::string&) { return ScriptedServer::Answer{bytes, close}; });
  }

  TempStore to_;
  TestBlob blob_;
  std::shared_ptr<store::Blob> stored_;
  std::uint32_t pieces_reported_ = 0;
  int connections_ = 0;
};

TEST_F(LanePeer, WrongBytesAreCorruptAndNotStored) {
  TransferEvent end = outcome_of([this](const std::string& head) {
    ScriptedServer::Answer answer{good(head)};
    answer.bytes[answer.bytes.size() - 2 * 64 * kKiB - 5] ^= 1;  // in the second piece
    return answer;
  });
  EXPECT_EQ(end.outcome, Outcome::kCorrupt);
  EXPECT_TRUE(stored_->has(PieceIndex(0)));
  EXPECT_EQ(stored_->have_count(), 1u);
  EXPECT_EQ(pieces_reported_, 1u) << "the good piece before it is told";
}

TEST_F(LanePeer, AShortBodyIsShortAndItsWholePiecesAreKept) {
  TransferEvent end = outcome_of([this](const std::string& head) {
    ScriptedServer::Answer answer{good(head), true};
    answer.bytes.resize(answer.bytes.size() - 64 * kKiB - 1);
    return answer;
  });
  EXPECT_EQ(end.outcome, Outcome::kShort);
  EXPECT_LE(stored_->have_count(), 2u);
  EXPECT_EQ(pieces_reported_, stored_->have_count());
}

TEST_F(LanePeer, GarbageIsRefused) {
  EXPECT_EQ(outcome_of("\x01\x02 this is not http\r\n\r\n", true).outcome, Outcome::kRefused);
  EXPECT_EQ(
      outcome_of("HTTP/1.1 206 P\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", true).outcome,
      Outcome::kRefused);
  EXPECT_EQ(stored_->have_count(), 0u);
}

TEST_F(LanePeer, AHeadWithoutEndIsRefused) {
  EXPECT_EQ(outcome_of("HTTP/1.1 206 P\r\nX: " + std::string(100'000, 'a'), false).outcome,
            Outcome::kRefused);
}

TEST_F(LanePeer, SilenceTimesOut) {
  TransferEvent end = outcome_of([](const std::string&) {
    return ScriptedServer::Answer{"", false, true};
  });
  EXPECT_EQ(end.outcome, Outcome::kTimeout);
}

TEST_F(LanePeer, SilenceInTheMiddleOfABodyTimesOutAndKeepsWhatCame) {
  TransferEvent end = outcome_of([this](const std::string& head) {
    std::string bytes = good(head);
    bytes.resize(bytes.size() - 64 * kKiB);
    return ScriptedServer::Answer{bytes, false, true};
  });
  EXPECT_EQ(end.outcome, Outcome::kTimeout);
  EXPECT_EQ(pieces_reported_, stored_->have_count());
}

TEST_F(LanePeer, A200ToARangeIsRefused) {
  std::string whole(reinterpret_cast<const char*>(blob_.bytes.data()), blob_.bytes.size());
  EXPECT_EQ(outcome_of(http_answer("200 OK", "", whole), false).outcome, Outcome::kRefused);
  EXPECT_EQ(stored_->have_count(), 0u);
}

TEST_F(LanePeer, AnotherRangeThanAskedIsRefused) {
  std::string size = std::to_string(blob_.bytes.size());
  std::string body(blob_.bytes.size(), 'x');
  for (const std::string& range : {"bytes 1-" + size + "/*", "bytes 0-10/" + size,
                                   std::string("bytes */5"), std::string("x"), std::string()}) {
    std::string field = range.empty() ? "" : "Content-Range: " + range + "\r\n";
    EXPECT_EQ(outcome_of(http_answer("206 Partial Content", field, body), false).outcome,
              Outcome::kRefused)
        << range;
  }
  // The right range, but not as many bytes as it has.
  std::string head =
      "Content-Range: bytes 0-" + std::to_string(blob_.bytes.size() - 1) + "/" + size + "\r\n";
  EXPECT_EQ(outcome_of(http_answer("206 Partial Content", head, "short"), false).outcome,
            Outcome::kRefused);
  EXPECT_EQ(stored_->have_count(), 0u);
}

TEST_F(LanePeer, AnErrorEndsTheTransferAndTheConnectionStays) {
  std::atomic<int> count{0};
  ScriptedServer server([&](const std::string& head) {
    if (++count == 1) return ScriptedServer::Answer{http_answer("500 Oops", "", "sorry")};
    if (count == 2) {
      return ScriptedServer::Answer{
          http_answer("503 Busy", "Retry-After: 2\r\nShoal-Retry-After-Ms: 1500\r\n", "")};
    }
    return ScriptedServer::Answer{good(head)};
  });
  ClientEnd client;
  client.fetch(1, stored_, {PieceIndex(0), 1}, address(server));
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kRefused);
  client.fetch(2, stored_, {PieceIndex(0), 1}, address(server));
  TransferEvent busy = client.reports.end_of(2);
  EXPECT_EQ(busy.outcome, Outcome::kBusy);
  EXPECT_EQ(busy.retry_after, std::chrono::milliseconds(1500));
  client.fetch(3, stored_, {PieceIndex(0), 1}, address(server));
  EXPECT_EQ(client.reports.end_of(3).outcome, Outcome::kFinished);
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(LanePeer, AnOversizeErrorBodyIsNotRead) {
  EXPECT_EQ(outcome_of("HTTP/1.1 404 None\r\nContent-Length: 999999999999\r\n\r\n", false).outcome,
            Outcome::kRefused);
}

TEST_F(LanePeer, AKeptConnectionClosedJustWhenItIsUsedAgainIsNoFailure) {
  // Each connection answers one request as if it would be kept, and closes.
  ScriptedServer server([this](const std::string& head) {
    return ScriptedServer::Answer{good(head), true};
  });
  ClientEnd client;
  for (std::uint32_t i = 0; i < kPieces; ++i) {
    client.fetch(i, stored_, {PieceIndex(i), 1}, address(server));
    TransferEvent end = client.reports.end_of(i);
    EXPECT_EQ(end.outcome, Outcome::kFinished) << end.detail;
  }
  EXPECT_TRUE(holds(*stored_, blob_));
  EXPECT_EQ(server.connections(), static_cast<int>(kPieces));
}

TEST_F(LanePeer, ANewConnectionThatIsClosedWithoutAnAnswerIsAFailure) {
  EXPECT_EQ(outcome_of("", true).outcome, Outcome::kDisconnected);
  EXPECT_EQ(connections_, 1) << "no endless attempts";
}

TEST_F(LanePeer, WhatOneTransferSufferedIsNotBlamedOnTheOthers) {
  ScriptedServer server([this](const std::string& head) {
    ScriptedServer::Answer answer{good(head)};
    answer.bytes.back() ^= 1;
    return answer;
  });
  ClientEnd client;
  for (std::uint32_t i = 0; i < kPieces; ++i) {
    client.fetch(i, stored_, {PieceIndex(i), 1}, address(server));
  }
  EXPECT_EQ(client.reports.end_of(0).outcome, Outcome::kCorrupt);
  // The others were on their way at most: each is corrupt itself or ended with the connection.
  for (std::uint32_t i = 1; i < kPieces; ++i) {
    Outcome outcome = client.reports.end_of(i).outcome;
    EXPECT_TRUE(outcome == Outcome::kDisconnected || outcome == Outcome::kCorrupt);
  }
  EXPECT_EQ(stored_->have_count(), 0u);
}

TEST_F(LanePeer, ALittleUnwantedRestIsReadAndTheConnectionKept) {
  ScriptedServer server(
      [this](const std::string& head) { return ScriptedServer::Answer{good(head)}; });
  ClientEnd client;
  client.fetch(1, stored_, {PieceIndex(0), 2}, address(server));
  client.cancel(1, address(server));
  Outcome outcome = client.reports.end_of(1).outcome;
  EXPECT_TRUE(outcome == Outcome::kCancelled || outcome == Outcome::kFinished);
  client.fetch(2, stored_, {PieceIndex(2), 2}, address(server));
  EXPECT_EQ(client.reports.end_of(2).outcome, Outcome::kFinished);
  EXPECT_LE(server.connections(), 1);
}

TEST_F(LanePeer, BadPeersLeakNoDescriptor) {
  outcome_of("", true);  // opens what stays open
  std::size_t before = open_descriptors();
  outcome_of("garbage\r\n\r\n", true);
  outcome_of([](const std::string&) { return ScriptedServer::Answer{"", false, true}; });
  outcome_of("HTTP/1.1 404 None\r\nContent-Length: 999999999999\r\n\r\n", false);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(LanePeer, AStoreThatCannotTakeTheBytesIsNotThePeersFault) {
  ScriptedServer server(
      [this](const std::string& head) { return ScriptedServer::Answer{good(head)}; });
  ClientEnd client;
  stored_->withdraw("test");
  client.fetch(1, stored_, {PieceIndex(0), 1}, address(server));
  EXPECT_EQ(client.reports.end_of(1).outcome, Outcome::kLocal);
}

TEST_F(LanePeer, StoppingDoesNotWaitForAConnectionThatIsNotMade) {
  // A listener whose queue is full: the kernel leaves further attempts unanswered.
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof any;
  auto* generic = reinterpret_cast<sockaddr*>(&any);
  ASSERT_EQ(::bind(listener.get(), generic, length), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &length), 0);
  std::vector<UniqueFd> queue;
  for (int i = 0; i < 8; ++i) {
    queue.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // In progress is as good as connected here.
    const int connected = ::connect(queue.back().get(), generic, length);
    ASSERT_TRUE(connected == 0 || errno == EINPROGRESS);
  }
  ClientEnd client;
  client.fetch(1, stored_, {PieceIndex(0), 1}, {"slow", {"127.0.0.1", ntohs(any.sin_port)}});
  auto before = std::chrono::steady_clock::now();
  client.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4));
}

}  // namespace
}  // namespace shoal::agent
