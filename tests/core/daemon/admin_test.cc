#include "core/daemon/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include "core/async/run.h"
#include "core/base/metrics.h"
#include "core/http/client.h"

namespace shoal::daemon {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class AdminEndpointTest : public ::testing::Test {
 protected:
  AdminEndpointTest()
      : admin_(io_.get_executor(), {"127.0.0.1", 0}, [this] { return not_ready_; }) {
    admin_.page("/", [](http::Request) { return page(); });
    Status started = admin_.start();
    EXPECT_TRUE(started) << started.error().str();
    http::Client::Options options;
    options.server.endpoint = admin_.local();
    client_ = std::make_unique<http::Client>(io_.get_executor(), std::move(options));
  }
  ~AdminEndpointTest() override {
    client_->close();
    run_to_end(io_, admin_.stop(Deadline::after(seconds(5))));
    client_.reset();
  }

  static Task<http::Response> page() { co_return http::Response::text("page"); }

  http::Response get(std::string path) {
    Result<http::Response> response = run_to_end(
        io_, client_->exchange(http::Request::get(std::move(path)), Deadline::after(seconds(5))));
    EXPECT_TRUE(response);
    return response ? std::move(*response) : http::Response();
  }

  asio::io_context io_{1};
  std::optional<std::string> not_ready_;
  AdminEndpoint admin_;
  std::unique_ptr<http::Client> client_;
};

TEST_F(AdminEndpointTest, ShowsMetrics) {
  metrics::counter("shoal_daemon_test_total", "For this test.").add(3);
  http::Response response = get("/metrics");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(std::string(response.headers.value("Content-Type")),
              HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(response.body, HasSubstr("shoal_daemon_test_total 3\n"));
}

TEST_F(AdminEndpointTest, IsHealthyEvenWhenNotReady) {
  not_ready_ = "opening the store";
  EXPECT_EQ(get("/healthz").status, 200);
  http::Response response = get("/readyz");
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("opening the store"));
  not_ready_.reset();
  EXPECT_EQ(get("/readyz").status, 200);
}

TEST_F(AdminEndpointTest, HasThePagesItWasGivenAndNoOthers) {
  EXPECT_EQ(get("/").body, "page");
  EXPECT_EQ(get("/v1/blobs").status, 404);
}

}  // namespace
}  // namespace shoal::daemon
