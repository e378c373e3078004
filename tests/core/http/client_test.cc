#include "core/http/client.h"

#include <gtest/gtest.h>

#include "core/http/wire.h"
#include "tests/core/http/stream_pair.h"

namespace shoal::http {
namespace {

using std::chrono::milliseconds;

constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// A server that follows a script: for each connection, the answers to its requests; after the last
// one it closes. "HANG" never answers.
struct Script {
  std::vector<std::vector<std::string>> connections;
  std::vector<std::string> seen;  // targets, in order
};

Task<void> play(Executor executor, Listener* listener, Script* script, Event* stop) {
  for (const std::vector<std::string>& answers : script->connections) {
    Result<UniqueFd> socket = co_await listener->accept();
    if (!socket) co_return;
    auto stream = Stream::plain(executor, std::move(*socket)).value();
    ReadBuffer buffer;
    for (const std::string& answer : answers) {
      Result<IncomingRequest> incoming =
          co_await read_request(stream.get(), &buffer, {}, soon(), std::chrono::seconds(30));
      if (!incoming || !incoming->request) co_return;
      script->seen.push_back(incoming->request->target());
      if (answer == "HANG") {
        co_await stop->wait(Deadline::never());
      } else if (!answer.empty()) {
        EXPECT_TRUE(co_await stream->write_all(answer, soon()));
      }
    }
  }
}

class ClientTest : public testing::Test {
 protected:
  ClientTest()
      : stop_(io_.get_executor()),
        group_(io_.get_executor(), "test"),
        listener_(Listener::open(io_.get_executor(), any_port()).value()) {}
  ~ClientTest() override {
    client_.reset();
    stop_.set();
    listener_->close();
    run_to_end(io_, group_.stop());
  }

  Client& start(std::vector<std::vector<std::string>> connections, std::string prefix = "/",
                std::size_t max_connections = 8) {
    script_.connections = std::move(connections);
    group_.spawn("script", play(io_.get_executor(), listener_.get(), &script_, &stop_));
    Client::Options options;
    options.server.endpoint = listener_->local();
    options.server.target = std::move(prefix);
    options.max_connections = max_connections;
    options.keep_idle = keep_idle_;
    options.limits = {.max_head = 1024, .max_body = 1000};
    client_ = std::make_unique<Client>(io_.get_executor(), options);
    return *client_;
  }

  Result<Response> ask(Request request, Deadline deadline = soon()) {
    return run_to_end(io_, client_->request(std::move(request), deadline));
  }

  std::chrono::milliseconds keep_idle_{30'000};
  asio::io_context io_;
  Event stop_;
  TaskGroup group_;
  Script script_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, RepeatsOnceOnANewConnectionWhenTheKeptOneIsStale) {
  start({{kOk, ""}, {kOk}});
  ASSERT_TRUE(ask(Request::get("/1")));
  ASSERT_TRUE(ask(Request::get("/2")));
  EXPECT_EQ(script_.seen, (std::vector<std::string>{"/1", "/2", "/2"}));
}

TEST_F(ClientTest, AnIdleConnectionIsClosedWhenItsTimeIsOver) {
  keep_idle_ = std::chrono::milliseconds(20);
  start({{kOk, "never sent"}});
  ASSERT_TRUE(ask(Request::get("/1")));
  // The server waits half a minute for a second request, unless the connection ends.
  const Deadline limit = Deadline::after(std::chrono::seconds(10));
  run_to_end(io_, group_.join());
  EXPECT_FALSE(limit.expired());
  EXPECT_EQ(script_.seen.size(), 1u);
}

TEST_F(ClientTest, DoesNotRepeatAPost) {
  start({{kOk, ""}, {kOk}});
  ASSERT_TRUE(ask(Request::get("/1")));
  EXPECT_EQ(ask(Request::post_json("/2", "{}")).error().code(), Errc::kUnavailable);
  EXPECT_EQ(script_.seen.size(), 2u);
}

TEST_F(ClientTest, DoesNotRepeatOnAFreshConnection) {
  start({{""}, {kOk}});
  EXPECT_EQ(ask(Request::get("/1")).error().code(), Errc::kUnavailable);
  EXPECT_EQ(script_.seen.size(), 1u);
}

TEST_F(ClientTest, APeerThatNeverAnswersTimesOut) {
  start({{"HANG"}});
  EXPECT_EQ(ask(Request::get("/"), short_time()).error().code(), Errc::kTimedOut);
}

TEST_F(ClientTest, RefusesGarbageLargeHeadsAndLargeBodies) {
  start({{"SSH-2.0-OpenSSH_9.2\r\n"},
         {"HTTP/1.1 200 OK\r\nA: " + std::string(2000, 'a') + "\r\n\r\n"},
         {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"},
         {"HTTP/1.1 200 OK\r\n\r\nuntil the end"}});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ask(Request::get("/")).error().code(), Errc::kCorrupt) << i;
  }
}

TEST_F(ClientTest, ABodyThatIsCutOffIsUnavailable) {
  start({{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"}});
  EXPECT_EQ(ask(Request::get("/")).error().code(), Errc::kUnavailable);
}

TEST_F(ClientTest, DropsAConnectionOnWhichTheServerSaysMoreThanAsked) {
  start({{std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"}, {kOk}});
  EXPECT_EQ(ask(Request::get("/1")).value().body, "ok");
  EXPECT_EQ(ask(Request::get("/2")).value().body, "ok");
}

TEST_F(ClientTest, SkipsInterimAnswersButNotForEver) {
  const std::string interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
  std::string many;
  for (int i = 0; i < 20; ++i) many += interim;
  start({{interim + kOk, many}});
  EXPECT_EQ(ask(Request::get("/1")).value().body, "ok");
  EXPECT_EQ(ask(Request::get("/2")).error().code(), Errc::kCorrupt);
}

TEST_F(ClientTest, PutsThePrefixOfTheUrlBeforeThePath) {
  start({{kOk}}, "/base/");
  ASSERT_TRUE(ask(Request::get("/v1/x", {{"a", "b"}})));
  EXPECT_EQ(script_.seen, (std::vector<std::string>{"/base/v1/x?a=b"}));
}

TEST_F(ClientTest, WaitsForAFreeConnectionUntilTheDeadline) {
  start({{"HANG"}}, "/", 1);
  Result<Response> first = fail(Errc::kInternal, "not run");
  struct Steps {
    static Task<void> ask(Client* client, Result<Response>* out) {
      *out = co_await client->request(Request::get("/"), Deadline::never());
    }
  };
  group_.spawn("first", Steps::ask(client_.get(), &first));
  while (script_.seen.empty()) io_.run_one();
  EXPECT_EQ(ask(Request::get("/"), short_time()).error().code(), Errc::kTimedOut);
  client_->close();
  while (!first && first.error().code() == Errc::kInternal) io_.run_one();
  EXPECT_EQ(first.error().code(), Errc::kCancelled);
  EXPECT_EQ(ask(Request::get("/")).error().code(), Errc::kCancelled);
}

TEST_F(ClientTest, NobodyThereIsUnavailable) {
  start({});
  listener_->close();
  listener_.reset(Listener::open(io_.get_executor(), any_port()).value().release());
  EXPECT_EQ(ask(Request::get("/")).error().code(), Errc::kUnavailable);
}

TEST_F(ClientTest, HttpsWithoutCertificatesIsInvalid) {
  Client client(io_.get_executor(), {.server = parse_url("https://127.0.0.1:1/").value()});
  EXPECT_EQ(run_to_end(io_, client.request(Request::get("/"), soon())).error().code(),
            Errc::kInvalid);
}

TEST(ConnectSocket, ResolvesNamesAndReportsUnknownOnes) {
  asio::io_context io;
  auto listener = Listener::open(io.get_executor(), any_port()).value();
  Endpoint local = listener->local();
  local.tcp.host = "localhost";
  EXPECT_TRUE(run_to_end(io, connect_socket(io.get_executor(), local, soon())));
  local.tcp.host = "no-such-host.invalid";
  EXPECT_EQ(run_to_end(io, connect_socket(io.get_executor(), local, soon())).error().code(),
            Errc::kUnavailable);
}

TEST(Listener, AnAddressInUseIsAConflict) {
  asio::io_context io;
  auto listener = Listener::open(io.get_executor(), any_port()).value();
  EXPECT_EQ(Listener::open(io.get_executor(), listener->local()).error().code(), Errc::kConflict);
  EXPECT_EQ(
      Listener::open(io.get_executor(), {.tcp = {"192.0.2.1", 0}, .unix_path = {}}).error().code(),
      Errc::kInvalid);
}

}  // namespace
}  // namespace shoal::http
