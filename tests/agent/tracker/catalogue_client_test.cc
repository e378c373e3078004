#include "agent/tracker/catalogue_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/api/message.h"
#include "core/async/event.h"
#include "core/async/run.h"
#include "core/async/task_group.h"
#include "core/http/server.h"

namespace shoal::agent {
namespace {

using content::BlobLayout;
using content::Digest;
using content::PieceTable;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string manifest_text = R"({"schemaVersion":2})";
const Digest manifest_digest = content::digest_of(manifest_text);
const std::string manifest_type = "application/vnd.oci.image.manifest.v1+json";

PieceTable table_of(const Digest& digest) {
  const std::vector<content::Hash32> hashes = {content::digest_of("x").bytes()};
  return *PieceTable::make(digest, BlobLayout(100), hashes);
}

std::string bytes_of(const PieceTable& table) {
  const std::vector<std::byte> bytes = table.serialise();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

http::Response typed(std::string type, std::string body) {
  http::Response response;
  response.headers.set("Content-Type", std::move(type));
  response.body = std::move(body);
  return response;
}

Task<http::Response> respond(http::Response response) { co_return response; }

Task<http::Response> respond_after(Event* event, http::Response response) {
  co_await event->wait(Deadline::never());
  co_return response;
}

// A tracker that answers each request with the same answer and remembers the last one.
class CatalogueClientTest : public testing::Test {
 protected:
  CatalogueClientTest() : released_(io_.get_executor()), arrived_(io_.get_executor()) {
    http::Server::Options options;
    options.endpoint.tcp = {"127.0.0.1", 0};
    server_ = std::make_unique<http::Server>(io_.get_executor(), std::move(options));
    server_->route("*", "/{path...}", [this](http::Request request) {
      const bool hang = hangs_ && hangs_(request);
      requests_.push_back(std::move(request));
      arrived_.notify_all();
      http::Response answer = answer_ ? answer_() : http::Response::empty();
      return hang ? respond_after(&released_, std::move(answer)) : respond(std::move(answer));
    });
    const Status started = server_->start();
    EXPECT_TRUE(started) << started.error().str();
    TrackerAddress address;
    address.url.endpoint = server_->local();
    address.url.target = "/";
    client_ = std::make_unique<CatalogueClient>(io_.get_executor(), address);
  }
  ~CatalogueClientTest() override {
    client_->close();
    released_.set();
    run_to_end(io_, server_->stop(Deadline::after({})));
  }

  template <typename T>
  T run(Task<T> task) {
    return run_to_end(io_, std::move(task));
  }
  const http::Request& last() const { return requests_.back(); }

  asio::io_context io_;
  Event released_;
  Condition arrived_;
  const Deadline soon_ = Deadline::after(std::chrono::seconds(30));
  std::function<http::Response()> answer_;
  std::function<bool(const http::Request&)> hangs_;
  std::vector<http::Request> requests_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<CatalogueClient> client_;
};

TEST_F(CatalogueClientTest, Resolves) {
  const api::Resolved resolved{.reference = "m:1",
                               .manifest = manifest_digest,
                               .media_type = manifest_type,
                               .manifest_size = 5,
                               .bytes_total = 6,
                               .files = 7};
  answer_ = [&] { return http::Response::json(api::encode(resolved)); };
  Result<api::Resolved> got = run(client_->resolve("m:1", soon_));
  ASSERT_TRUE(got) << got.error().str();
  EXPECT_EQ(*got, resolved);
  EXPECT_EQ(last().method, "GET");
  EXPECT_EQ(last().path, "/v1/resolve");
  EXPECT_EQ(last().query_value("reference"), "m:1");
}

TEST_F(CatalogueClientTest, GivesTheTrackersOwnErrors) {
  answer_ = [] { return http::Response::error({Errc::kNotFound, "no reference m:1"}); };
  EXPECT_EQ(run(client_->resolve("m:1", soon_)).error(),
            Error(Errc::kNotFound, "no reference m:1"));
  EXPECT_EQ(run(client_->manifest(manifest_digest, soon_)).error().code(), Errc::kNotFound);
  EXPECT_EQ(run(client_->table(manifest_digest, soon_)).table.error().code(), Errc::kNotFound);
  EXPECT_EQ(run(client_->put_reference("m:1", manifest_digest, soon_)).error().code(),
            Errc::kNotFound);
}

TEST_F(CatalogueClientTest, AnswersThatAreNotOfTheApiAreCorrupt) {
  answer_ = [] { return http::Response::json("[1]"); };
  EXPECT_EQ(run(client_->resolve("m:1", soon_)).error().code(), Errc::kCorrupt);
  EXPECT_EQ(run(client_->origins(manifest_digest, soon_)).error().code(), Errc::kCorrupt);
  EXPECT_EQ(run(client_->put_reference("m:1", manifest_digest, soon_)).error().code(),
            Errc::kCorrupt);
}

TEST_F(CatalogueClientTest, ManifestsMustHaveTheirDigest) {
  answer_ = [] { return typed(manifest_type, manifest_text); };
  auto manifest = run(client_->manifest(manifest_digest, soon_));
  ASSERT_TRUE(manifest) << manifest.error().str();
  EXPECT_EQ(manifest->bytes, manifest_text);
  EXPECT_EQ(manifest->media_type, manifest_type);
  EXPECT_EQ(last().path, "/v1/manifests/" + manifest_digest.str());

  answer_ = [] { return typed(manifest_type, manifest_text + " "); };
  EXPECT_EQ(run(client_->manifest(manifest_digest, soon_)).error().code(), Errc::kCorrupt);
}

TEST_F(CatalogueClientTest, TablesMustBeOfTheBlobAndWhole) {
  const std::string bytes = bytes_of(table_of(manifest_digest));
  answer_ = [&] { return typed("application/octet-stream", bytes); };
  auto answer = run(client_->table(manifest_digest, soon_));
  ASSERT_TRUE(answer.table) << answer.table.error().str();
  EXPECT_EQ(answer.table->digest(), manifest_digest);
  EXPECT_FALSE(answer.retry_after);

  EXPECT_EQ(run(client_->table(content::digest_of("other"), soon_)).table.error().code(),
            Errc::kCorrupt);
  answer_ = [&] { return typed("application/octet-stream", bytes.substr(1)); };
  EXPECT_EQ(run(client_->table(manifest_digest, soon_)).table.error().code(), Errc::kCorrupt);
}

TEST_F(CatalogueClientTest, ABusyTrackerSaysWhenToAskForTheTableAgain) {
  answer_ = [] {
    return http::Response::error({Errc::kOverloaded, "busy"}, std::chrono::milliseconds(350));
  };
  auto answer = run(client_->table(manifest_digest, soon_));
  EXPECT_EQ(answer.table.error().code(), Errc::kOverloaded);
  EXPECT_EQ(answer.retry_after, std::chrono::milliseconds(350));
}

TEST_F(CatalogueClientTest, PutsWhatItIsGiven) {
  ASSERT_TRUE(run(client_->put_manifest(manifest_digest, manifest_type, manifest_text, soon_)));
  EXPECT_EQ(last().method, "PUT");
  EXPECT_EQ(last().path, "/v1/manifests/" + manifest_digest.str());
  EXPECT_EQ(last().headers.value("content-type"), manifest_type);
  EXPECT_EQ(last().body, manifest_text);

  ASSERT_TRUE(run(client_->put_table(table_of(manifest_digest), soon_)));
  EXPECT_EQ(last().path, "/v1/tables/" + manifest_digest.str());
  EXPECT_EQ(last().body, bytes_of(table_of(manifest_digest)));

  const std::vector<api::Origin> origins = {{.kind = "http", .url = "http://h/f", .etag = "e"}};
  ASSERT_TRUE(run(client_->put_origins(manifest_digest, origins, soon_)));
  EXPECT_EQ(last().path, "/v1/origins/" + manifest_digest.str());
  EXPECT_EQ(api::decode<api::Origins>(last().body)->origins, origins);

  const api::ReferenceRecord record{.reference = "m:1", .manifest = manifest_digest};
  answer_ = [&] { return http::Response::json(api::encode(record)); };
  auto put = run(client_->put_reference("m:1", manifest_digest, soon_));
  ASSERT_TRUE(put) << put.error().str();
  EXPECT_EQ(*put, record);
  EXPECT_EQ(last().path, "/v1/references");
  EXPECT_EQ(last().query_value("reference"), "m:1");
  EXPECT_EQ(api::decode<api::ReferenceUpdate>(last().body)->manifest, manifest_digest);
}

TEST_F(CatalogueClientTest, ReadsOrigins) {
  const std::vector<api::Origin> origins = {{.kind = "http", .url = "http://h/f", .size = 7}};
  answer_ = [&] { return http::Response::json(api::encode(api::Origins{origins})); };
  auto got = run(client_->origins(manifest_digest, soon_));
  ASSERT_TRUE(got) << got.error().str();
  EXPECT_EQ(*got, origins);
}

TEST_F(CatalogueClientTest, CallsEndAtTheirDeadline) {
  hangs_ = [](const http::Request&) { return true; };
  const Deadline short_time = Deadline::after(std::chrono::milliseconds(10));
  EXPECT_EQ(run(client_->resolve("m:1", short_time)).error().code(), Errc::kTimedOut);
  EXPECT_EQ(run(client_->table(manifest_digest, short_time)).table.error().code(), Errc::kTimedOut);
}

TEST_F(CatalogueClientTest, ForwardsARequestAsItIs) {
  http::Request request = http::Request::post_json("/v1/prefetch", R"({"reference":"m:1"})");
  request.headers.set(http::kPullIdHeader, "p1");
  request.headers.set("Authorization", "secret");
  answer_ = [] {
    http::Response response = http::Response::error({Errc::kOverloaded, "busy"});
    response.headers.set("X-Other", "1");
    return response;
  };
  auto response = run(client_->forward(std::move(request), soon_));
  ASSERT_TRUE(response) << response.error().str();
  EXPECT_EQ(response->status, http::status_of(Errc::kOverloaded)) << "errors are answers";
  EXPECT_TRUE(response->headers.has("Retry-After"));
  EXPECT_FALSE(response->headers.has("X-Other"));
  EXPECT_THAT(response->body, HasSubstr("busy"));
  EXPECT_EQ(last().method, "POST");
  EXPECT_EQ(last().body, R"({"reference":"m:1"})");
  EXPECT_EQ(last().pull_id(), "p1");
  EXPECT_FALSE(last().headers.has("Authorization"));

  http::Request status = http::Request::get("/v1/status", {{"reference", "a b&c:1"}});
  ASSERT_TRUE(run(client_->forward(std::move(status), soon_)));
  EXPECT_EQ(last().query_value("reference"), "a b&c:1");
}

TEST_F(CatalogueClientTest, DoesNotForwardAnythingElse) {
  auto answer =
      run(client_->forward(http::Request::get("/v1/statements/" + manifest_digest.str()), soon_));
  EXPECT_EQ(answer.error().code(), Errc::kDenied);
  EXPECT_TRUE(requests_.empty());
}

Task<Status> forward(CatalogueClient* client, http::Request request) {
  auto answer = co_await client->forward(std::move(request), Deadline::never());
  if (!answer) co_return fail(answer.error());
  co_return Status();
}

Task<void> wait_for(Condition* condition, std::function<bool()> done) {
  while (!done()) co_await condition->wait(Deadline::never());
}

TEST_F(CatalogueClientTest, LongPollsDoNotHoldUpOthers) {
  hangs_ = [](const http::Request& request) { return request.query.contains("wait"); };
  answer_ = [] { return http::Response::json(api::encode(api::Origins{})); };
  TaskGroup group(io_.get_executor(), "test");
  constexpr std::size_t kPolls = 20;
  for (std::size_t i = 0; i < kPolls; ++i) {
    group.spawn("poll", forward(client_.get(),
                                http::Request::get("/v1/prefetch/0123", {{"wait", "60000"}})));
  }
  run(wait_for(&arrived_, [this] { return requests_.size() == kPolls; }));
  EXPECT_TRUE(run(client_->origins(manifest_digest, soon_)));
  client_->close();
  run(group.join());
  EXPECT_EQ(run(client_->origins(manifest_digest, soon_)).error().code(), Errc::kCancelled);
}

TEST(Forwardable, IsWhatOperatorsNeed) {
  const std::string digest = manifest_digest.str();
  const std::vector<std::pair<std::string, std::string>> allowed = {
      {"GET", "/v1/manifests/" + digest},
      {"GET", "/v1/tables/" + digest},
      {"GET", "/v1/references"},
      {"DELETE", "/v1/references"},
      {"GET", "/v1/resolve"},
      {"POST", "/v1/prefetch"},
      {"GET", "/v1/prefetch/0123abcd"},
      {"DELETE", "/v1/prefetch/0123abcd"},
      {"GET", "/v1/nodes"},
      {"GET", "/v1/status"},
      {"GET", "/v1/version"}};
  const std::vector<std::pair<std::string, std::string>> denied = {
      {"PUT", "/v1/manifests/" + digest},
      {"DELETE", "/v1/manifests/" + digest},
      {"HEAD", "/v1/manifests/" + digest},
      {"get", "/v1/nodes"},
      {"GET", "/v1/manifests/" + digest + "/"},
      {"GET", "/v1/manifests/" + digest + "/x"},
      {"GET", "/v1/manifests/sha256:abc"},
      {"GET", "/v1/manifests/"},
      {"GET", "/v1/manifests"},
      {"PUT", "/v1/references"},
      {"POST", "/v1/references"},
      {"GET", "/v1/references/"},
      {"GET", "/v1/prefetch"},
      {"DELETE", "/v1/prefetch"},
      {"POST", "/v1/prefetch/0123"},
      {"GET", "/v1/prefetch/.."},
      {"GET", "/v1/prefetch/../nodes/x/leases"},
      {"GET", "/v1/prefetch/"},
      {"GET", "/v1/prefetchx"},
      {"GET", "/v1/tables/" + digest + "/x"},
      {"GET", "/v1/tables/"},
      {"HEAD", "/v1/tables/" + digest},
      {"PUT", "/v1/tables/" + digest},
      {"PUT", "/v1/origins/" + digest},
      {"GET", "/v1/statements/" + digest},
      {"POST", "/v1/nodes/n/register"},
      {"POST", "/v1/nodes/n/heartbeat"},
      {"POST", "/v1/nodes/n/leases"},
      {"GET", "/v1/nodes/n/events"},
      {"POST", "/v1/nodes"},
      {"GET", "/v1/nodes/"},
      {"GET", "/"},
      {"GET", ""}};
  auto request = [](const std::pair<std::string, std::string>& asked) {
    http::Request made = http::Request::get(asked.second);
    made.method = asked.first;
    return made;
  };
  for (const auto& asked : allowed) {
    EXPECT_TRUE(forwardable(request(asked))) << asked.first << " " << asked.second;
  }
  for (const auto& asked : denied) {
    EXPECT_FALSE(forwardable(request(asked))) << asked.first << " " << asked.second;
  }
}

}  // namespace
}  // namespace shoal::agent
