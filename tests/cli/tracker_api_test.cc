// Directly to a tracker: the same calls over core/http.
#include "cli/tracker_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/api/message.h"
#include "core/async/event.h"
#include "core/async/io_thread.h"
#include "core/http/server.h"
#include "tests/cli/command_run.h"

namespace shoal::cli {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class DirectTrackerTest : public ::testing::Test {
 protected:
  DirectTrackerTest() : release_(thread_.executor()) {
    http::Server::Options options;
    options.endpoint = *http::parse_endpoint("127.0.0.1:0");
    server_ = std::make_unique<http::Server>(thread_.executor(), std::move(options));
    server_->route("GET", "/v1/version", [](http::Request) { return version(); });
    server_->route("GET", "/v1/resolve",
                   [](http::Request request) { return resolve(std::move(request)); });
    server_->route("GET", "/v1/nodes", [this](http::Request) { return hang(&release_); });
    thread_.run(start(server_.get()));
    url_ = "http://" + server_->local().tcp.str();
  }
  ~DirectTrackerTest() override {
    thread_.post([this] { release_.set(); });
    thread_.run(server_->stop(Deadline::after(seconds(5))));
    thread_.stop();
  }

  static Task<void> start(http::Server* server) {
    Status started = server->start();
    EXPECT_TRUE(started) << started.error().str();
    co_return;
  }
  static Task<http::Response> version() {
    api::VersionInfo info;
    info.program = "shoal-tracker";
    info.version = "9.9.9";
    co_return http::Response::json(api::encode(info));
  }
  static Task<http::Response> resolve(http::Request request) {
    co_return http::Response::error(
        Error(Errc::kNotFound, std::string(request.query_value("reference")) + " is unknown"));
  }
  static Task<http::Response> hang(Event* release) {
    [[maybe_unused]] Status released = co_await release->wait(Deadline::after(seconds(60)));
    co_return http::Response::json("{}");
  }

  IoThread thread_{"tracker"};
  Event release_;
  std::unique_ptr<http::Server> server_;
  std::string url_;
};

TEST_F(DirectTrackerTest, AnswersAndErrorsComeThrough) {
  auto transport = tracker_directly(url_, {}, false, -1);
  ASSERT_TRUE(transport) << transport.error().str();
  TrackerApi tracker(std::move(*transport));
  Result<api::VersionInfo> version = tracker.version();
  ASSERT_TRUE(version) << version.error().str();
  EXPECT_EQ(version->version, "9.9.9");
  Result<api::Resolved> resolved = tracker.resolve("a/b:1");
  ASSERT_FALSE(resolved);
  EXPECT_EQ(resolved.error(), Error(Errc::kNotFound, "a/b:1 is unknown"));
}

TEST_F(DirectTrackerTest, TheCommandGoesThere) {
  Ran ran = CommandRun().run({"--tracker", url_, "version", "--json", "--agent=/nonexistent"});
  EXPECT_EQ(ran.json()["tracker"], "9.9.9");
}

TEST_F(DirectTrackerTest, CtrlCEndsACall) {
  UniqueFd cancel(::eventfd(0, EFD_CLOEXEC));
  auto transport = tracker_directly(url_, {}, false, cancel.get());
  ASSERT_TRUE(transport);
  TrackerApi tracker(std::move(*transport));
  std::uint64_t one = 1;
  ASSERT_EQ(::write(cancel.get(), &one, sizeof one), 8);
  EXPECT_EQ(tracker.nodes().error().code(), Errc::kCancelled);
}

TEST(DirectTracker, SaysWhoDoesNotAnswer) {
  // Port 1 of loopback: nobody listens there.
  auto transport = tracker_directly("http://127.0.0.1:1", {}, false, -1);
  ASSERT_TRUE(transport);
  Result<api::VersionInfo> version = TrackerApi(std::move(*transport)).version();
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code(), Errc::kUnavailable);
  EXPECT_THAT(version.error().message(), HasSubstr("http://127.0.0.1:1"));
}

}  // namespace
}  // namespace shoal::cli
