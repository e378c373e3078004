// A tracker on a real socket, agents that are only their lane's identity, and calls to the tracker.
#pragma once

#include "core/async/task.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/api/node.h"
#include "core/api/paths.h"
#include "core/async/run.h"
#include "core/async/task_group.h"
#include "core/http/client.h"
#include "core/http/server.h"
#include "tests/tracker/model_fixture.h"
#include "tracker/service/tracker_service.h"

namespace shoal::tracker {

inline Task<http::Response> give(http::Response response) { co_return response; }

inline http::Endpoint any_port() { return {.tcp = {"127.0.0.1", 0}, .unix_path = ""}; }

// What the tracker sees of an agent when it connects back.
class FakeAgent {
 public:
  FakeAgent(asio::io_context& io, std::string node, std::string epoch,
            std::shared_ptr<http::TlsContext> tls = nullptr, http::Endpoint at = any_port())
      : io_(io),
        identity_{std::move(node), std::move(epoch)},
        server_(io.get_executor(), {.endpoint = at, .tls = std::move(tls)}) {
    server_.route("GET", "/v1/identity", [this](http::Request) {
      return give(http::Response::json(api::encode(identity_)));
    });
    Status started = server_.start();
    EXPECT_TRUE(started) << started.error().str();
  }
  ~FakeAgent() { stop(); }
  void stop() { run_to_end(io_, server_.stop(Deadline::after(std::chrono::seconds(1)))); }

  const std::string& node() const { return identity_.node; }
  std::string address() const { return server_.local().tcp.str(); }
  http::Endpoint endpoint() const { return server_.local(); }
  api::RegisterRequest registration() const {
    return {.epoch = identity_.epoch, .advertise = address(), .topology = {.rack = "r1"}};
  }

  std::uint64_t seq = 0;
  api::HeartbeatRequest beat(bool full = false) {
    return {.epoch = identity_.epoch, .seq = ++seq, .full = full};
  }

 private:
  asio::io_context& io_;
  const api::Identity identity_;
  http::Server server_;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void TearDown() override { stop(); }

  virtual std::shared_ptr<http::TlsContext> tracker_tls() { return nullptr; }
  virtual std::shared_ptr<http::TlsContext> client_tls() { return nullptr; }

  void start() {
    auto catalogue = Catalogue::open(folder_.path());
    ASSERT_TRUE(catalogue) << catalogue.error().str();
    TrackerService::Options options;
    options.listen = any_port();
    options.control = control_options_;
    service_ = std::make_unique<TrackerService>(io_.get_executor(), options, *std::move(catalogue),
                                                tracker_tls());
    Status started = run_to_end(io_, service_->start());
    ASSERT_TRUE(started) << started.error().str();
    client_ = make_client(client_tls());
  }
  void stop() {
    client_.reset();
    if (service_) run_to_end(io_, service_->stop(Deadline::after(std::chrono::seconds(5))));
    service_.reset();
  }
  void restart() {
    stop();
    start();
  }

  std::unique_ptr<http::Client> make_client(std::shared_ptr<http::TlsContext> tls) {
    http::Client::Options options;
    options.server.scheme = tls ? http::Url::Scheme::kHttps : http::Url::Scheme::kHttp;
    options.server.endpoint = service_->local();
    options.server.target = "/";
    options.tls = std::move(tls);
    options.expected = http::ExpectedPeer::tracker("127.0.0.1");
    return std::make_unique<http::Client>(io_.get_executor(), std::move(options));
  }

  static http::Request request(std::string method, std::string path, std::string body = "",
                               http::Query query = {}) {
    http::Request out;
    out.method = std::move(method);
    out.path = std::move(path);
    out.body = std::move(body);
    out.query = std::move(query);
    return out;
  }
  http::Response send(http::Request what) { return send(*client_, std::move(what)); }
  http::Response send(http::Client& client, http::Request what) {
    Result<http::Response> response = run_to_end(
        io_, client.exchange(std::move(what), Deadline::after(std::chrono::seconds(20))));
    EXPECT_TRUE(response) << response.error().str();
    return response ? *std::move(response) : http::Response::empty(599);
  }
  http::Response get(std::string path, http::Query query = {}) {
    return send(request("GET", std::move(path), "", std::move(query)));
  }
  template <typename Message>
  http::Response post(std::string path, const Message& message) {
    return send(request("POST", std::move(path), api::encode(message)));
  }
  // The message in a 200 answer.
  template <typename Message>
  Message as(const http::Response& response) {
    EXPECT_EQ(response.status, 200) << response.body;
    Result<Message> message = api::decode<Message>(response.body);
    EXPECT_TRUE(message) << response.body;
    return message ? *std::move(message) : Message{};
  }
  static std::string error_of(const http::Response& response) {
    return http::response_error(response).message();
  }

  http::Response try_register(const FakeAgent& agent) {
    return post(api::paths::node_register(agent.node()), agent.registration());
  }
  void join(FakeAgent& agent, std::vector<api::BlobReport> blobs = {}) {
    auto answer = as<api::RegisterResponse>(try_register(agent));
    EXPECT_EQ(answer.address, agent.address());
    agent.seq = 0;
    auto beat = agent.beat(true);
    beat.blobs = std::move(blobs);
    EXPECT_FALSE(heartbeat(agent, beat).resync);
  }
  api::HeartbeatResponse heartbeat(const FakeAgent& agent, const api::HeartbeatRequest& beat) {
    return as<api::HeartbeatResponse>(post(api::paths::node_heartbeat(agent.node()), beat));
  }
  http::Request events_request(FakeAgent& agent, std::uint64_t since,
                               std::chrono::milliseconds wait) {
    return request("GET", api::paths::node_events(agent.node()), "",
                   api::paths::events_query(agent.beat().epoch, since, wait));
  }
  api::EventsResponse events(FakeAgent& agent, std::uint64_t since,
                             std::chrono::milliseconds wait = std::chrono::milliseconds(0)) {
    auto what = events_request(agent, since, wait);
    --agent.seq;
    return as<api::EventsResponse>(send(std::move(what)));
  }

  // A request that waits in the background; result() runs the loop until it is answered.
  class Waiting {
   public:
    Waiting(ServiceTest& test, http::Request what)
        : io_(test.io_),
          client_(test.make_client(test.client_tls())),
          group_(test.io_.get_executor(), "test") {
      group_.spawn("waiting", run(client_.get(), std::move(what), &response_));
    }
    ~Waiting() {
      client_->close();
      run_to_end(io_, group_.stop());
    }
    http::Response result() {
      while (!response_) {
        io_.restart();
        io_.run_one();
      }
      EXPECT_TRUE(*response_) << response_->error().str();
      return *response_ ? **std::move(response_) : http::Response::empty(599);
    }
    bool answered() const { return response_.has_value(); }

   private:
    static Task<void> run(http::Client* client, http::Request what,
                          std::optional<Result<http::Response>>* out) {
      out->emplace(
          co_await client->exchange(std::move(what), Deadline::after(std::chrono::seconds(60))));
    }

    asio::io_context& io_;
    const std::unique_ptr<http::Client> client_;
    std::optional<Result<http::Response>> response_;
    TaskGroup group_;
  };

  void publish(const TestModel& model, const std::string& reference) {
    auto manifest =
        request("PUT", api::paths::manifest(model.digest()), std::string(model.manifest()));
    manifest.headers.set("Content-Type", "application/vnd.oci.image.manifest.v1+json");
    EXPECT_EQ(send(std::move(manifest)).status, 204);
    for (const auto& table : model.tables) {
      EXPECT_EQ(send(request("PUT", api::paths::table(table.digest()), bytes_of(table))).status,
                204);
    }
    as<api::ReferenceRecord>(send(request("PUT", std::string(api::paths::kReferences),
                                          api::encode(api::ReferenceUpdate{model.digest()}),
                                          api::paths::reference_query(reference))));
  }

  asio::io_context io_;
  TempFolder folder_;
  Control::Options control_options_;
  std::unique_ptr<TrackerService> service_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace shoal::tracker
