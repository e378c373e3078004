// The same service with certificates: who may speak for which node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/api/ingest.h"
#include "core/http/certificate.h"
#include "core/http/tls.h"
#include "tests/tracker/service_fixture.h"

namespace shoal::tracker {
namespace {

using ::testing::HasSubstr;

class ServiceTlsTest : public ServiceTest {
 protected:
  std::shared_ptr<http::TlsContext> context(const http::Identity& identity,
                                            const http::CertifiedKey& ca) {
    auto made = http::issue_certificate(ca, identity, {"127.0.0.1"},
                                        http::Validity::for_next(std::chrono::hours(1)));
    EXPECT_TRUE(made) << made.error().str();
    std::string base = (certificates_.path() / std::to_string(++made_)).string();
    std::ofstream(base + ".pem") << made->certificate;
    std::ofstream(base + ".key") << made->key;
    std::ofstream(base + ".ca") << ca.certificate;
    auto loaded = http::TlsContext::load({base + ".pem", base + ".key", base + ".ca"});
    EXPECT_TRUE(loaded) << loaded.error().str();
    return *loaded;
  }
  std::shared_ptr<http::TlsContext> node(const std::string& id) {
    return context(http::node_identity(id), ca_);
  }
  std::shared_ptr<http::TlsContext> tracker_tls() override {
    return context(http::tracker_identity(), ca_);
  }
  std::shared_ptr<http::TlsContext> client_tls() override { return node("n1"); }

  static http::CertifiedKey make_ca() {
    return *http::make_ca("test", http::Validity::for_next(std::chrono::hours(1)));
  }

  const http::CertifiedKey ca_ = make_ca();
  TempFolder certificates_;
  int made_ = 0;
};

TEST_F(ServiceTlsTest, ConnectsBackAndBelievesOnlyTheNodesOwnCertificate) {
  FakeAgent agent(io_, "n1", "1", node("n1"));
  EXPECT_EQ(try_register(agent).status, 200);

  // n2 listens where n1 says it does, and claims to be n1: its certificate says otherwise.
  FakeAgent impostor(io_, "n1", "2", node("n2"));
  auto response = try_register(impostor);
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(error_of(response), HasSubstr(impostor.address()));
}

TEST_F(ServiceTlsTest, ANodeSpeaksOnlyForItself) {
  FakeAgent agent(io_, "n1", "1", node("n1"));
  join(agent);
  auto other = make_client(node("n2"));
  for (auto path : {api::paths::node_register("n1"), api::paths::node_heartbeat("n1"),
                    api::paths::node_leases("n1")}) {
    EXPECT_EQ(send(*other, request("POST", path, api::encode(agent.beat()))).status, 403) << path;
  }
  EXPECT_EQ(send(*other, request("GET", api::paths::node_events("n1"), "",
                                 api::paths::events_query("1", 0, std::chrono::milliseconds(0))))
                .status,
            403);
  content::Digest blob = content::digest_of("x");
  EXPECT_EQ(send(*other, request("PUT", api::paths::statement(blob, "n1"), "signed")).status, 403);
  EXPECT_EQ(send(*other, request("PUT", api::paths::statement(blob, "n2"), "signed")).status, 204);
  // An ingest's body says whose it is.
  api::IngestUpdate ingest{.reference = "m:v1", .node = "n1", .epoch = "1"};
  const std::string path = api::paths::ingest(blob);
  EXPECT_EQ(send(*other, request("PUT", path, api::encode(ingest))).status, 403);
  ingest.node = "n2";
  EXPECT_EQ(send(*other, request("PUT", path, api::encode(ingest))).status, 404);
  EXPECT_EQ(send(*other, request("GET", std::string(api::paths::kNodes))).status, 200);
}

TEST_F(ServiceTlsTest, RefusesCertificatesOfAnotherCa) {
  auto foreign = context(http::node_identity("n1"), make_ca());
  auto client = make_client(foreign);
  auto response = run_to_end(io_, client->exchange(request("GET", "/v1/version"),
                                                   Deadline::after(std::chrono::seconds(20))));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), Errc::kDenied) << response.error().str();
}

}  // namespace
}  // namespace shoal::tracker
