#include "core/http/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <map>
#include <stdexcept>

#include "core/http/client.h"
#include "tests/core/http/stream_pair.h"

namespace shoal::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ServerTest : public testing::TestWithParam<Kind> {
 protected:
  ServerTest() : release_(io_.get_executor()) {
    Server::Options options;
    options.endpoint = any_port();
    if (GetParam() == Kind::kUnix) options.endpoint.unix_path = dir_.file("socket");
    if (GetParam() == Kind::kTls) {
      options.tls = ca_.context(tracker_identity(), {"127.0.0.1"});
      client_tls_ = ca_.context(node_identity("client"));
    }
    options.limits = {.max_head = 2048, .max_body = 100'000};
    options.max_connections = 8;
    options.read_timeout = milliseconds(200);
    server_ = std::make_unique<Server>(io_.get_executor(), options);
    server_->route("GET", "/echo/{word}", [this](Request r) { return echo(std::move(r)); });
    server_->route("POST", "/echo/{word}", [this](Request r) { return echo(std::move(r)); });
    server_->route("GET", "/echo/special", [](Request) { return fixed("special"); });
    server_->route("*", "/tree/{rest...}", [](Request r) { return rest(std::move(r)); });
    server_->route("GET", "/fail", [](Request) { return fails(); });
    server_->route("GET", "/throw", [](Request) { return throws(); });
    server_->route("GET", "/wait", [this](Request r) {
      waiter_ = r.peer.connection;
      return waits();
    });
    server_->route("GET", "/stream", [this](Request) { return streams(); });
    server_->on_connection_closed([this](std::uint64_t id) { ++closed_[id]; });
    EXPECT_TRUE(server_->start());
  }

  ~ServerTest() override {
    release_.set();
    run_to_end(io_, server_->stop(soon()));
  }

  std::unique_ptr<Client> client(std::size_t max_connections = 8) {
    Client::Options options;
    options.server.endpoint = server_->local();
    options.server.scheme = GetParam() == Kind::kTls    ? Url::Scheme::kHttps
                            : GetParam() == Kind::kUnix ? Url::Scheme::kUnix
                                                        : Url::Scheme::kHttp;
    options.server.target = "/";
    options.tls = client_tls_;
    options.expected = ExpectedPeer::tracker("127.0.0.1");
    options.max_connections = max_connections;
    return std::make_unique<Client>(io_.get_executor(), options);
  }

  Result<Response> get(Client& client, std::string path, Query query = {}) {
    return run_to_end(io_,
                      client.exchange(Request::get(std::move(path), std::move(query)), soon()));
  }

  // A bare connection of the suite's kind.
  std::unique_ptr<Stream> dial() {
    return run_to_end(io_, connect_stream(io_.get_executor(), server_->local(), client_tls_,
                                          ExpectedPeer::member(), soon()))
        .value();
  }

  // Sends `text`, gives the answers until the server closes.
  std::string talk(std::string text) {
    std::unique_ptr<Stream> stream = dial();
    return run_to_end(io_, talk_on(stream.get(), std::move(text)));
  }

  static Task<std::string> talk_on(Stream* stream, std::string text) {
    EXPECT_TRUE(co_await stream->write_all(text, soon()));
    std::string all;
    std::string part(4096, '\0');
    for (;;) {
      Result<std::size_t> n =
          co_await stream->read_some(std::as_writable_bytes(std::span(part)), soon());
      if (!n || *n == 0) co_return all;
      all.append(part, 0, *n);
    }
  }

  Task<Response> echo(Request request) {
    peers_.push_back(request.peer);
    std::string text(request.method + " " + std::string(request.param("word")));
    for (const auto& [key, value] : request.query) text += " " + key + "=" + value;
    if (!request.pull_id().empty()) text += " pull=" + std::string(request.pull_id());
    if (!request.body.empty()) text += " body=" + request.body;
    for (const UniqueFd& fd : request.fds) {
      std::array<char, 16> content{};
      const ssize_t n = ::pread(fd.get(), content.data(), content.size(), 0);
      text += " fd=" + std::string(content.data(), static_cast<std::size_t>(n));
    }
    Response response = Response::text(std::move(text));
    response.fds = std::move(request.fds);
    co_return response;
  }
  static Task<Response> fixed(std::string text) { co_return Response::text(std::move(text)); }
  static Task<Response> rest(Request request) {
    co_return Response::text(request.method + " " + std::string(request.param("rest")));
  }
  static Task<Response> fails() {
    co_return Response::error(Error(Errc::kOverloaded, "busy"), milliseconds(1234));
  }
  static Task<Response> throws() {
    throw std::runtime_error("boom");
    co_return Response();
  }
  Task<Response> waits() {
    ++waiting_;
    co_await release_.wait(Deadline::never());
    co_return Response::text("released");
  }
  Task<Response> streams() {
    Response response;
    file_ = UniqueFd(::open(dir_.write("file", "0123456789").c_str(), O_RDONLY | O_CLOEXEC));
    response.stream_length = 4;
    const int fd = file_.get();
    response.stream_body = [fd](Stream* stream) { return stream->send_file(fd, 3, 4, soon()); };
    co_return response;
  }

  TestCa ca_;
  TempDir dir_;
  asio::io_context io_;
  std::shared_ptr<TlsContext> client_tls_;
  Event release_;
  int waiting_ = 0;
  std::uint64_t waiter_ = 0;  // the connection of the last one
  UniqueFd file_;
  std::vector<Peer> peers_;
  std::map<std::uint64_t, int> closed_;
  std::unique_ptr<Server> server_;
};

INSTANTIATE_TEST_SUITE_P(AllKinds, ServerTest,
                         testing::Values(Kind::kPlain, Kind::kTls, Kind::kUnix),
                         [](const auto& kind) { return kind_name(kind.param); });

TEST_P(ServerTest, AnswersByRouteAndKeepsTheConnection) {
  auto c = client();
  EXPECT_EQ(get(*c, "/echo/a", {{"x", "1"}}).value().body, "GET a x=1");
  EXPECT_EQ(get(*c, "/echo/two words").value().body, "GET two words");
  EXPECT_EQ(get(*c, "/echo/special").value().body, "special");
  Request post = Request::post_json("/echo/b", "{}");
  post.headers.set(kPullIdHeader, "p7");
  EXPECT_EQ(run_to_end(io_, c->exchange(std::move(post), soon())).value().body,
            "POST b pull=p7 body={}");
  EXPECT_EQ(server_->connections(), 1u);
  ASSERT_EQ(peers_.size(), 3u);
  EXPECT_EQ(peers_[0].connection, peers_[2].connection);
}

TEST_P(ServerTest, KnowsWhoAsks) {
  auto c = client();
  ASSERT_TRUE(get(*c, "/echo/a"));
  const Peer& peer = peers_.at(0);
  EXPECT_EQ(peer.identity.is_node("client"), GetParam() == Kind::kTls);
  EXPECT_EQ(peer.unix_peer.has_value(), GetParam() == Kind::kUnix);
}

TEST_P(ServerTest, AnEncodedSlashStaysInsideItsSegment) {
  auto c = client();
  Request request = Request::get("");
  request.raw_path = "/echo/org%2Fname";
  EXPECT_EQ(run_to_end(io_, c->exchange(std::move(request), soon())).value().body, "GET org/name");
  Request deep;
  deep.method = "DELETE";
  deep.raw_path = "/tree/a%2Fb/c";
  EXPECT_EQ(run_to_end(io_, c->exchange(std::move(deep), soon())).value().body, "DELETE a%2Fb/c");
}

TEST_P(ServerTest, RefusesWithTheErrorBody) {
  auto c = client();
  const Response missing = get(*c, "/nothing").value();
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(response_error(missing).code(), Errc::kNotFound);
  Request put;
  put.method = "PUT";
  put.path = "/echo/a";
  const Response wrong = run_to_end(io_, c->exchange(std::move(put), soon())).value();
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.value("Allow"), "GET, POST");
  Result<Response> failed = run_to_end(io_, c->request(Request::get("/fail"), soon()));
  EXPECT_EQ(failed.error(), Error(Errc::kOverloaded, "busy"));
  EXPECT_EQ(retry_after(get(*c, "/fail").value().headers), milliseconds(1234));
}

TEST_P(ServerTest, AHandlerThatThrowsIsA500) {
  auto c = client();
  testing::internal::CaptureStderr();
  const Response response = get(*c, "/throw").value();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("boom"), std::string::npos);
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(get(*c, "/echo/a").value().body, "GET a");
}

TEST_P(ServerTest, StreamsABody) {
  auto c = client();
  EXPECT_EQ(get(*c, "/stream").value().body, "3456");
  Request head = Request::get("/stream");
  head.method = "HEAD";
  const Response response = run_to_end(io_, c->exchange(std::move(head), soon())).value();
  EXPECT_EQ(response.headers.value("Content-Length"), "4");
  EXPECT_EQ(response.body, "");
  EXPECT_EQ(get(*c, "/stream").value().body, "3456");
  EXPECT_EQ(server_->connections(), 1u);
}

TEST_P(ServerTest, AnswersPipelinedRequestsInOrder) {
  const std::string answers = talk(
      "GET /echo/1 HTTP/1.1\r\n\r\nGET /echo/2 HTTP/1.1\r\n\r\n"
      "GET /echo/3 HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::size_t one = answers.find("GET 1");
  const std::size_t two = answers.find("GET 2");
  const std::size_t three = answers.find("GET 3");
  ASSERT_NE(three, std::string::npos) << answers;
  EXPECT_LT(one, two);
  EXPECT_LT(two, three);
}

TEST_P(ServerTest, RefusesGarbageAndWhatIsTooLarge) {
  EXPECT_EQ(talk("\x01\x02 nonsense\r\n\r\n").rfind("HTTP/1.1 400 ", 0), 0u);
  EXPECT_EQ(
      talk("GET / HTTP/1.1\r\nA: " + std::string(5000, 'a') + "\r\n\r\n").rfind("HTTP/1.1 431 ", 0),
      0u);
  EXPECT_EQ(
      talk("POST /echo/a HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + std::string(200'000, 'a'))
          .rfind("HTTP/1.1 413 ", 0),
      0u);
  auto c = client();
  EXPECT_EQ(
      run_to_end(io_, c->exchange(Request::post_json("/echo/a", std::string(200'000, 'a')), soon()))
          .value()
          .status,
      413);
}

TEST_P(ServerTest, ARequestThatNeverEndsIsA408) {
  EXPECT_EQ(talk("GET /echo/a HTTP/1.1\r\nHost:").rfind("HTTP/1.1 408 ", 0), 0u);
}

TEST_P(ServerTest, TellsThatTheBodyMayCome) {
  const std::string answers = talk(
      "POST /echo/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: "
      "close\r\n\r\nok");
  EXPECT_NE(answers.find("POST a body=ok"), std::string::npos) << answers;
}

TEST_P(ServerTest, TellsWhenAConnectionEnded) {
  {
    auto c = client();
    ASSERT_TRUE(get(*c, "/echo/a"));
    EXPECT_TRUE(closed_.empty());
  }
  auto other = client();
  while (closed_.empty()) ASSERT_TRUE(get(*other, "/echo/b"));
  EXPECT_EQ(closed_, (std::map<std::uint64_t, int>{{peers_[0].connection, 1}}));
}

TEST_P(ServerTest, SeesThatAnAskerHasLeft) {
  std::unique_ptr<Stream> stream = dial();
  ASSERT_TRUE(run_to_end(io_, stream->write_all("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n", soon())));
  while (waiting_ == 0) io_.run_one();
  EXPECT_FALSE(server_->asker_left(waiter_));
  // What it sends after its request says that it is still there.
  ASSERT_TRUE(run_to_end(io_, stream->write_all("GET ", soon())));
  EXPECT_FALSE(server_->asker_left(waiter_));
  stream.reset();
  while (!server_->asker_left(waiter_)) io_.poll_one();
  release_.set();
  while (closed_.empty()) io_.run_one();
  EXPECT_TRUE(server_->asker_left(waiter_));
}

Task<void> ask(Client* client, std::string path, Result<Response>* out) {
  *out = co_await client->exchange(Request::get(std::move(path)), soon());
}

TEST_P(ServerTest, StopLetsRunningRequestsEnd) {
  auto c = client();
  TaskGroup group(io_.get_executor(), "test");
  Result<Response> answer = fail(Errc::kInternal, "not run");
  group.spawn("asker", ask(c.get(), "/wait", &answer));
  while (waiting_ == 0) io_.run_one();
  struct Steps {
    static Task<void> stop(Server* server) { co_await server->stop(soon()); }
  };
  group.spawn("stop", Steps::stop(server_.get()));
  Event never(io_.get_executor());
  run_to_end(io_, sleep_until(short_time(), &never));
  EXPECT_EQ(group.size(), 2u);
  auto late = client();
  EXPECT_FALSE(get(*late, "/echo/a"));
  release_.set();
  run_to_end(io_, group.join());
  ASSERT_TRUE(answer) << answer.error().str();
  EXPECT_EQ(answer->body, "released");
  EXPECT_EQ(answer->headers.value("Connection"), "close");
}

TEST_P(ServerTest, StopClosesWhatDoesNotEndInTime) {
  auto c = client();
  TaskGroup group(io_.get_executor(), "test");
  Result<Response> answer = fail(Errc::kInternal, "not run");
  group.spawn("asker", ask(c.get(), "/wait", &answer));
  while (waiting_ == 0) io_.run_one();
  struct Steps {
    static Task<void> stop(Server* server) { co_await server->stop(short_time()); }
  };
  group.spawn("stop", Steps::stop(server_.get()));
  while (!answer && answer.error().code() == Errc::kInternal) io_.run_one();
  EXPECT_EQ(answer.error().code(), Errc::kUnavailable);
  release_.set();
  run_to_end(io_, group.join());
  EXPECT_EQ(server_->connections(), 0u);
}

TEST_P(ServerTest, MoreConnectionsThanAllowedAreTurnedAway) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(dial());
    ASSERT_TRUE(run_to_end(io_, streams.back()->write_all("GET /echo/x HTTP/1.1\r\n\r\n", soon())));
    ReadBuffer buffer;
    ASSERT_TRUE(run_to_end(io_, read_response(streams.back().get(), &buffer, {}, false, soon())));
  }
  auto c = client();
  Result<Response> answer = run_to_end(io_, c->request(Request::get("/echo/a"), soon()));
  ASSERT_FALSE(answer);
  EXPECT_TRUE(answer.error().code() == Errc::kOverloaded ||
              answer.error().code() == Errc::kUnavailable)
      << answer.error().str();
  streams.clear();
  while (server_->connections() > 0) io_.run_one();
  EXPECT_TRUE(get(*c, "/echo/a"));
}

TEST(ServerDeathTest, TwoRoutesForTheSameRequestsAreABug) {
  EXPECT_DEATH(
      {
        asio::io_context io;
        Server server(io.get_executor(), {});
        server.route("GET", "/a/{x}", {});
        server.route("GET", "/a/{y}", {});
      },
      "two routes");
}

using UnixServerTest = ServerTest;
INSTANTIATE_TEST_SUITE_P(Unix, UnixServerTest, testing::Values(Kind::kUnix));

TEST_P(UnixServerTest, PassesDescriptorsBothWays) {
  auto c = client();
  Request request = Request::post_json("/echo/fd", "");
  request.fds.emplace_back(::open(dir_.write("f", "content").c_str(), O_RDONLY | O_CLOEXEC));
  Response response = run_to_end(io_, c->exchange(std::move(request), soon())).value();
  EXPECT_EQ(response.body, "POST fd fd=content");
  ASSERT_EQ(response.fds.size(), 1u);
  std::array<char, 7> content{};
  EXPECT_EQ(::pread(response.fds[0].get(), content.data(), content.size(), 0), 7);
  EXPECT_EQ(std::string(content.data(), 7), "content");
}

TEST_P(UnixServerTest, ReplacesADeadSocketFileOnly) {
  Endpoint endpoint = server_->local();
  Server second(io_.get_executor(), {.endpoint = endpoint});
  EXPECT_EQ(second.start().error().code(), Errc::kConflict);
  endpoint.unix_path = dir_.write("plain-file", "x");
  Server third(io_.get_executor(), {.endpoint = endpoint});
  EXPECT_EQ(third.start().error().code(), Errc::kConflict);

  endpoint.unix_path = dir_.file("dead");
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    endpoint.unix_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  Server fourth(io_.get_executor(), {.endpoint = endpoint, .unix_mode = 0600});
  ASSERT_TRUE(fourth.start());
  EXPECT_EQ(std::filesystem::status(endpoint.unix_path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  run_to_end(io_, fourth.stop(soon()));
  EXPECT_FALSE(std::filesystem::exists(endpoint.unix_path));
}

}  // namespace
}  // namespace shoal::http
