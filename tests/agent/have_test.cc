// The have long poll: the board that answers, over the lane's server, and the poller that asks.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <future>
#include <iterator>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/swarm/have_board.h"
#include "agent/swarm/have_poller.h"
#include "tests/agent/lane_fixture.h"
#include "tests/agent/raw_client.h"
#include "tests/agent/test_cluster.h"
#include "tests/fakes/scripted_server.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;
using swarm::HaveEntry;
using swarm::HaveKind;

const content::BlobLayout kLayout(10 * 64 * kKiB);
const content::Digest kBlob = content::digest_of("a");
const content::Digest kOther = content::digest_of("b");

std::string item(const content::Digest& blob, std::uint64_t version) {
  return blob.hex().substr(0, 16) + "." + std::to_string(version);
}

std::size_t open_descriptors() {
  std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

PieceSet set_of(PieceRange pieces) {
  PieceSet set(kLayout.piece_count());
  set.set_range(pieces);
  return set;
}

class HaveBoardTest : public ::testing::Test {
 protected:
  RawAnswer ask(RawClient& client, const std::string& blobs, int wait_ms = 0) {
    return client.get("/v1/have?wait=" + std::to_string(wait_ms) + "&blobs=" + blobs);
  }
  std::vector<HaveEntry> entries(const RawAnswer& answer) {
    EXPECT_EQ(answer.status, 200) << answer.body;
    auto decoded = swarm::decode_have(std::as_bytes(std::span(answer.body)));
    EXPECT_TRUE(decoded);
    return decoded ? *decoded : std::vector<HaveEntry>();
  }
  std::uint16_t port() const { return server_.peer().lane.port; }
  void set(const content::Digest& blob, PieceRange pieces) {
    server_.on_board([&](HaveBoard& board) { board.set(blob, kLayout, set_of(pieces)); });
  }

  TempStore store_;
  ServerEnd server_{*store_};
};

TEST_F(HaveBoardTest, TellsEverythingFirstAndThenOnlyWhatIsNew) {
  set(kBlob, {PieceIndex(2), 3});
  RawClient client(port());
  auto first = entries(ask(client, item(kBlob, 0)));
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].blob, swarm::blob_key(kBlob));
  EXPECT_EQ(first[0].kind, HaveKind::kBitmap);
  EXPECT_EQ(first[0].pieces, set_of({PieceIndex(2), 3}));
  EXPECT_NE(first[0].version, 0u);
  EXPECT_TRUE(entries(ask(client, item(kBlob, first[0].version))).empty());

  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(6), 1}); });
  auto news = entries(ask(client, item(kBlob, first[0].version)));
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].kind, HaveKind::kDelta);
  EXPECT_EQ(news[0].added, (std::vector<PieceRange>{{PieceIndex(6), 1}}));
}

TEST_F(HaveBoardTest, TellsOfTheBlobsAskedForOnly) {
  set(kBlob, {PieceIndex(0), 10});
  set(kOther, {PieceIndex(0), 1});
  RawClient client(port());
  auto one = entries(ask(client, item(kBlob, 0)));
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].kind, HaveKind::kComplete);
  EXPECT_EQ(entries(ask(client, item(kBlob, 0) + "," + item(kOther, 0))).size(), 2u);
  EXPECT_TRUE(entries(ask(client, item(content::digest_of("unknown"), 0))).empty());
  EXPECT_TRUE(entries(ask(client, "")).empty());
}

TEST_F(HaveBoardTest, AWaitingPollIsAnsweredByNewsAndGathersThem) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  std::thread news([&] {
    for (std::uint32_t i = 1; i < 5; ++i) {
      server_.on_board([&](HaveBoard& board) {
        board.add(kOther, {PieceIndex(i), 1});  // not on the board: nobody is woken
        board.add(kBlob, {PieceIndex(i), 1});
      });
    }
  });
  PieceSet seen = set_of({PieceIndex(0), 1});
  int answers = 0;
  while (seen.count() < 5) {
    auto got = entries(ask(client, item(kBlob, version), 30'000));
    ASSERT_EQ(got.size(), 1u);
    ++answers;
    version = got[0].version;
    for (PieceRange range : got[0].added) seen.set_range(range);
  }
  news.join();
  EXPECT_EQ(seen, set_of({PieceIndex(0), 5}));
  EXPECT_LE(answers, 4) << "no answer without news";
}

// `asked` counts the polls that wait on the board as soon as its thread is free again.
Task<void> poll_board(HaveBoard* board, http::Request request, std::latch* asked,
                      std::promise<std::string>* answer) {
  asked->count_down();
  auto response = co_await board->have(std::move(request), std::make_shared<LaneAsker>());
  answer->set_value(std::move(response.body));
}

http::Request gathering(const std::string& milliseconds, const std::string& blobs) {
  return http::Request::get("/v1/have",
                            {{"wait", "30000"}, {"gather", milliseconds}, {"blobs", blobs}});
}

TEST_F(HaveBoardTest, TheAskerSaysHowLongNewsGather) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  std::promise<std::string> patient;
  std::promise<std::string> hasty;
  std::latch asked(2);
  std::unique_ptr<TaskGroup> polls;
  server_.on_board([&](HaveBoard& board) {
    polls = std::make_unique<TaskGroup>(server_.control().executor(), "polls");
    auto poll = [&](const char* name, const char* gather, std::promise<std::string>* answer) {
      polls->spawn(name,
                   poll_board(&board, gathering(gather, item(kBlob, version)), &asked, answer));
    };
    poll("patient", "1000", &patient);
    poll("hasty", "0", &hasty);
  });
  asked.wait();
  auto added = [](std::promise<std::string>& answer) {
    std::string body = answer.get_future().get();
    auto told = swarm::decode_have(std::as_bytes(std::span(body)));
    return told && told->size() == 1 ? (*told)[0].added : std::vector<PieceRange>();
  };
  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(1), 1}); });
  EXPECT_EQ(added(hasty), (std::vector<PieceRange>{{PieceIndex(1), 1}}));
  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(2), 1}); });
  EXPECT_EQ(added(patient), (std::vector<PieceRange>{{PieceIndex(1), 2}}));
  server_.control().run(polls->join());
  server_.on_board([&](HaveBoard&) { polls.reset(); });
}

TEST_F(HaveBoardTest, APollWithoutNewsEndsEmptyAfterItsTime) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  auto before = std::chrono::steady_clock::now();
  EXPECT_TRUE(entries(ask(client, item(kBlob, version), 50)).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(50));
}

TEST_F(HaveBoardTest, ABlobThatIsGoneIsToldOnceToThoseWhoKnewIt) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  server_.on_board([](HaveBoard& board) { board.remove(kBlob); });
  auto gone = entries(ask(client, item(kBlob, version), 30'000));
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].kind, HaveKind::kGone);
  EXPECT_TRUE(entries(ask(client, item(kBlob, gone[0].version))).empty());
  EXPECT_TRUE(entries(ask(client, item(kBlob, 0))).empty()) << "who never knew it need not know";
  // And it may come back.
  set(kBlob, {PieceIndex(4), 1});
  auto back = entries(ask(client, item(kBlob, gone[0].version)));
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].pieces, set_of({PieceIndex(4), 1}));
}

TEST_F(HaveBoardTest, LostPiecesMakeItTellEverythingAnew) {
  set(kBlob, {PieceIndex(0), 5});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  server_.on_board([](HaveBoard& board) {
    board.remove_pieces(kBlob, set_of({PieceIndex(1), 1}));
  });
  auto news = entries(ask(client, item(kBlob, version)));
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].kind, HaveKind::kBitmap);
  PieceSet left = set_of({PieceIndex(0), 5});
  left.reset(PieceIndex(1));
  EXPECT_EQ(news[0].pieces, left);
}

TEST_F(HaveBoardTest, RefusesMalformedQueries) {
  RawClient client(port());
  std::string name = kBlob.hex().substr(0, 16);
  std::string many = item(kBlob, 1);
  for (const std::string& blobs :
       {name, name + ".", name + ".x", name + ".-1", "." + name, name.substr(1) + ".1",
        name + "0.1", std::string("zzzzzzzzzzzzzzzz.1"), name + ".99999999999999999999999",
        name + ".1,,", std::string(",")}) {
    EXPECT_EQ(ask(client, blobs).status, 400) << blobs;
  }
  EXPECT_EQ(client.get("/v1/have?wait=soon&blobs=" + many).status, 400);
  EXPECT_EQ(client.get("/v1/have?wait=5s&blobs=" + many).status, 400);
  EXPECT_EQ(client.get("/v1/have?gather=soon&blobs=" + many).status, 400);
  EXPECT_EQ(client.get("/v1/have?wait=-5&blobs=" + many).status, 200);
}

TEST_F(HaveBoardTest, ClosingEndsTheWaitingPolls) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  client.send("GET /v1/have?wait=30000&blobs=" + item(kBlob, version) +
              " HTTP/1.1\r\nHost: x\r\n\r\n");
  server_.on_board([](HaveBoard& board) { board.close(); });
  EXPECT_TRUE(entries(client.read()).empty());
}

TEST_F(HaveBoardTest, APollWhoseAskerHasGoneEndsAtOnceAndTheOthersWaitOn) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient stays(port());
  std::uint64_t version = entries(ask(stays, item(kBlob, 0)))[0].version;
  std::string poll =
      "GET /v1/have?wait=30000&blobs=" + item(kBlob, version) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  stays.send(poll);
  RawClient probe(port());
  EXPECT_EQ(probe.get("/v1/identity").status, 200);
  std::size_t before = open_descriptors();
  std::vector<std::unique_ptr<RawClient>> leave;
  for (int i = 0; i < 20; ++i) {
    leave.push_back(std::make_unique<RawClient>(port()));
    EXPECT_EQ(leave.back()->get("/v1/identity").status, 200);  // accepted, so counted
    leave.back()->send(poll);
  }
  EXPECT_GE(open_descriptors(), before + 40);
  before += 4;  // a lane thread opens what it waits with when its first connection comes
  leave.clear();
  auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (open_descriptors() > before && std::chrono::steady_clock::now() < limit) {
    EXPECT_EQ(probe.get("/v1/identity").status, 200);
  }
  EXPECT_LE(open_descriptors(), before);
  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(1), 1}); });
  EXPECT_EQ(entries(stays.read()).size(), 1u);
}

TEST_F(HaveBoardTest, ARequestSentBehindAWaitingPollIsAnsweredAfterIt) {
  set(kBlob, {PieceIndex(0), 1});
  RawClient client(port());
  std::uint64_t version = entries(ask(client, item(kBlob, 0)))[0].version;
  std::string poll =
      "GET /v1/have?wait=30000&blobs=" + item(kBlob, version) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(poll);
  EXPECT_EQ(RawClient(port()).get("/v1/identity").status, 200);
  client.send("GET /v1/identity HTTP/1.1\r\nHost: x\r\n\r\n");
  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(1), 1}); });
  EXPECT_EQ(entries(client.read()).size(), 1u);
  EXPECT_EQ(client.read().status, 200);
}

// What a poller told, and what it is to be interested in.
class Neighbour final : public HavePoller::Listener {
 public:
  struct Told {
    std::string what;  // "answers", "news", "silent"
    std::vector<HaveEntry> entries;
  };

  std::chrono::milliseconds gather() override { return std::chrono::milliseconds(20); }
  std::vector<std::uint64_t> interest() override {
    std::lock_guard lock(mutex_);
    return interest_;
  }
  void peer_answers(const PeerAddress&) override { tell({"answers", {}}); }
  void peer_news(const PeerAddress&, std::vector<HaveEntry> entries) override {
    tell({"news", std::move(entries)});
  }
  void peer_silent(const PeerAddress&, const Error&) override { tell({"silent", {}}); }

  void set_interest(std::vector<std::uint64_t> blobs) {
    std::lock_guard lock(mutex_);
    interest_ = std::move(blobs);
  }
  // The next thing told; waits for it.
  Told next() {
    std::unique_lock lock(mutex_);
    bool there = changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !told_.empty(); });
    if (!there) return {"nothing", {}};
    Told told = std::move(told_.front());
    told_.pop_front();
    return told;
  }

 private:
  void tell(Told told) {
    std::lock_guard lock(mutex_);
    told_.push_back(std::move(told));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> interest_;
  std::deque<Told> told_;
};

// A poller on a thread of its own.
class Polling {
 public:
  Polling(const PeerAddress& peer, Neighbour& neighbour,
          std::shared_ptr<http::TlsContext> tls = nullptr) {
    call_on(thread_, [&] {
      poller_ = std::make_unique<HavePoller>(thread_.executor(),
                                             HavePoller::Options{peer, "asker", tls}, neighbour);
      tasks_ = std::make_unique<TaskGroup>(thread_.executor(), "test");
      tasks_->spawn("poll", poller_->run(), [this] { poller_->close(); });
    });
  }
  ~Polling() {
    thread_.run(tasks_->stop());
    call_on(thread_, [this] {
      tasks_.reset();
      poller_.reset();
    });
  }

  void call(const std::function<void(HavePoller&)>& fn) {
    call_on(thread_, [&] { fn(*poller_); });
  }

 private:
  IoThread thread_{"poller"};
  std::unique_ptr<HavePoller> poller_;
  std::unique_ptr<TaskGroup> tasks_;
};

TEST_F(HaveBoardTest, APollerHearsEverythingAndThenTheNews) {
  set(kBlob, {PieceIndex(0), 1});
  Neighbour neighbour;
  neighbour.set_interest({swarm::blob_key(kBlob)});
  Polling polling(server_.peer(), neighbour);
  EXPECT_EQ(neighbour.next().what, "answers");
  auto first = neighbour.next();
  ASSERT_EQ(first.entries.size(), 1u);
  EXPECT_EQ(first.entries[0].pieces, set_of({PieceIndex(0), 1}));
  server_.on_board([](HaveBoard& board) { board.add(kBlob, {PieceIndex(7), 1}); });
  auto news = neighbour.next();
  ASSERT_EQ(news.entries.size(), 1u);
  EXPECT_EQ(news.entries[0].added, (std::vector<PieceRange>{{PieceIndex(7), 1}}));
}

TEST_F(HaveBoardTest, APollerWaitsForInterestAndReplacesItsPollWhenThereIsMore) {
  set(kBlob, {PieceIndex(0), 1});
  set(kOther, {PieceIndex(0), 2});
  Neighbour neighbour;
  Polling polling(server_.peer(), neighbour);
  neighbour.set_interest({swarm::blob_key(kBlob)});
  polling.call([](HavePoller& poller) { poller.interest_changed(); });
  EXPECT_EQ(neighbour.next().what, "answers");
  EXPECT_EQ(neighbour.next().entries.at(0).blob, swarm::blob_key(kBlob));
  // Its next poll would wait for 25 s.
  neighbour.set_interest({swarm::blob_key(kBlob), swarm::blob_key(kOther)});
  polling.call([](HavePoller& poller) { poller.interest_changed(); });
  auto told = neighbour.next();
  EXPECT_EQ(told.what, "news") << "and not that the peer is silent";
  ASSERT_EQ(told.entries.size(), 1u);
  EXPECT_EQ(told.entries[0].blob, swarm::blob_key(kOther));
}

TEST_F(HaveBoardTest, APollerHearsEverythingAgainOfABlobItForgot) {
  set(kBlob, {PieceIndex(3), 2});
  Neighbour neighbour;
  neighbour.set_interest({swarm::blob_key(kBlob)});
  Polling polling(server_.peer(), neighbour);
  EXPECT_EQ(neighbour.next().what, "answers");
  EXPECT_EQ(neighbour.next().entries.size(), 1u);
  // Fetched, gone, and wanted again while the peer has nothing new.
  polling.call([](HavePoller& poller) {
    poller.forget(swarm::blob_key(kBlob));
    poller.interest_changed();
  });
  auto again = neighbour.next();
  EXPECT_EQ(again.what, "news");
  ASSERT_EQ(again.entries.size(), 1u);
  EXPECT_EQ(again.entries[0].kind, HaveKind::kBitmap);
  EXPECT_EQ(again.entries[0].pieces, set_of({PieceIndex(3), 2}));
}

TEST_F(HaveBoardTest, APollerSaysThatThePeerIsSilentAndComesBack) {
  Neighbour neighbour;
  neighbour.set_interest({swarm::blob_key(kBlob)});
  std::atomic<int> count{0};
  std::vector<std::byte> nothing = swarm::encode_have({});
  std::string empty(reinterpret_cast<const char*>(nothing.data()), nothing.size());
  fakes::ScriptedServer peer([&](const std::string&) {
    switch (++count) {
      case 1:
        return fakes::ScriptedServer::Answer{fakes::http_answer("200 OK", "", empty)};
      case 2:
        return fakes::ScriptedServer::Answer{fakes::http_answer("200 OK", "", "not a message")};
      default:
        return fakes::ScriptedServer::Answer{fakes::http_answer("200 OK", "", empty)};
    }
  });
  Polling polling({"peer", {"127.0.0.1", peer.port()}}, neighbour);
  EXPECT_EQ(neighbour.next().what, "answers");
  EXPECT_EQ(neighbour.next().what, "silent");
  EXPECT_EQ(neighbour.next().what, "answers");
}

TEST_F(HaveBoardTest, APollerSaysThatNobodyListens) {
  Neighbour neighbour;
  neighbour.set_interest({swarm::blob_key(kBlob)});
  server_.stop();
  Polling polling(server_.peer(), neighbour);
  EXPECT_EQ(neighbour.next().what, "silent");
}

TEST(HavePollerTls, AsksThePeerWithItsCertificate) {
  TestCluster ca;
  TempStore store;
  ServerEnd server(*store, {.tls = ca.node("server")});
  server.on_board([](HaveBoard& board) { board.set(kBlob, kLayout, set_of({PieceIndex(0), 10})); });
  Neighbour neighbour;
  neighbour.set_interest({swarm::blob_key(kBlob)});
  Polling polling(server.peer(), neighbour, ca.node("asker"));
  EXPECT_EQ(neighbour.next().what, "answers");
  EXPECT_EQ(neighbour.next().entries.at(0).kind, HaveKind::kComplete);
  PeerAddress misnamed{"somebody", server.peer().lane};
  Neighbour second;
  second.set_interest({swarm::blob_key(kBlob)});
  Polling refused(misnamed, second, ca.node("asker"));
  EXPECT_EQ(second.next().what, "silent");
}

}  // namespace
}  // namespace shoal::agent
