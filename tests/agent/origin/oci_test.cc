#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <map>

#include "agent/origin/credential_helper.h"
#include "agent/origin/oci_auth.h"
#include "agent/origin/oci_origin.h"
#include "core/content/digest.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

std::string digest_text(std::string_view bytes) { return content::digest_of(bytes).str(); }

TEST(OciUrl, IsARegistryARepositoryAndAReference) {
  EXPECT_EQ(*parse_oci_url("oci://ghcr.io/org/model:v1"), (OciPlace{"ghcr.io", "org/model", "v1"}));
  EXPECT_EQ(*parse_oci_url("oci://127.0.0.1:5000/model"),
            (OciPlace{"127.0.0.1:5000", "model", "latest"}));
  EXPECT_EQ(*parse_oci_url("oci://docker.io/alpine"),
            (OciPlace{"registry-1.docker.io", "library/alpine", "latest"}));
  const std::string digest = digest_text("x");
  EXPECT_EQ(*parse_oci_url("oci://h/a:tag@" + digest), (OciPlace{"h", "a", digest}));
  EXPECT_EQ(parse_oci_url("oci://h/a@" + digest)->str(), "oci://h/a@" + digest);
  EXPECT_EQ(parse_oci_url("oci://h/a:t")->str(), "oci://h/a:t");
  for (const char* bad :
       {"oci://h", "oci:///a", "oci://h/", "oci://h/A", "oci://h/a//b", "oci://h/../b",
        "oci://h/a:", "oci://h/a:-t", "oci://h/a@sha256:12", "oci://u:p@h/a", "oci://h/a?b",
        "oci://h/a-", "https://h/a", "oci://h:port/a"}) {
    EXPECT_FALSE(parse_oci_url(bad)) << bad;
  }
}

TEST(AuthChallenge, TheFirstOneUnderstood) {
  auto bearer = parse_challenge(
      R"(Bearer realm="https://auth/token",service="reg",scope="repository:a/b:pull,push")");
  ASSERT_TRUE(bearer);
  EXPECT_EQ(bearer->scheme, "bearer");
  EXPECT_EQ(bearer->parameters["realm"], "https://auth/token");
  EXPECT_EQ(bearer->parameters["scope"], "repository:a/b:pull,push");
  auto second = parse_challenge(R"(Negotiate, Basic realm="a \"b\"")");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->scheme, "basic");
  EXPECT_EQ(second->parameters["realm"], "a \"b\"");
  EXPECT_EQ(parse_challenge(R"(Basic realm=x, Bearer realm="y")")->scheme, "bearer");
  for (const char* bad : {"", "Negotiate", "Bearer", "Bearer realm=\"open", "=,=", "Digest a=b"}) {
    EXPECT_FALSE(parse_challenge(bad)) << bad;
  }
}

TEST(DockerConfig, HasLoginsAndHelpers) {
  auto config = DockerConfig::parse(
      R"({"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},)"
      R"("ghcr.io":{"identitytoken":"t"},"empty.io":{}},)"
      R"("credHelpers":{"1.dkr.ecr.eu-west-1.amazonaws.com":"ecr-login"},"credsStore":"pass"})");
  ASSERT_TRUE(config) << config.error().str();
  auto hub = config->login("registry-1.docker.io");
  ASSERT_TRUE(hub);
  EXPECT_EQ(hub->user, "user");
  EXPECT_EQ(hub->password, "pa:ss");
  EXPECT_EQ(config->login("ghcr.io")->identity_token, "t");
  EXPECT_FALSE(config->login("empty.io"));
  EXPECT_EQ(config->helper("1.dkr.ecr.eu-west-1.amazonaws.com"), "ecr-login");
  EXPECT_EQ(config->helper("ghcr.io"), "pass");
  for (const char* bad : {"", "[]", R"({"auths":{"h":{"auth":"!!"}}})",
                          R"({"auths":{"h":{"auth":"bm9jb2xvbg=="}}})"}) {
    EXPECT_FALSE(DockerConfig::parse(bad)) << bad;
  }
}

class CredentialHelperTest : public OriginFixture {
 protected:
  CredentialHelperTest() {
    std::signal(SIGPIPE, SIG_IGN);  // as in the agent
    const char* path = std::getenv("PATH");
    before_ = path == nullptr ? "" : path;
    ::setenv("PATH", (folder_.path() + ":" + before_).c_str(), 1);
  }
  ~CredentialHelperTest() override { ::setenv("PATH", before_.c_str(), 1); }
  void helper(const std::string& script) {
    std::string path = file("docker-credential-test", "#!/bin/sh\n" + script);
    ::chmod(path.c_str(), 0755);
  }
  static Result<std::string> run(int ms = 5000) {
    return run_credential_helper("test", "reg.io", std::chrono::milliseconds(ms));
  }

 private:
  std::string before_;
};

TEST_F(CredentialHelperTest, IsAskedByItsInput) {
  helper(
      "read name; test \"$1\" = get || exit 1\n"
      "echo \"{\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"for $name\\\"}\"\n");
  auto answer = run();
  ASSERT_TRUE(answer) << answer.error().str();
  auto login = parse_helper_answer(*answer);
  ASSERT_TRUE(login);
  EXPECT_EQ(login->password, "for reg.io");
  EXPECT_EQ(parse_helper_answer(R"({"Username":"<token>","Secret":"s"})")->identity_token, "s");
}

TEST_F(CredentialHelperTest, ItsFailuresAreToldApart) {
  helper("echo 'credentials not found in native keychain'; exit 1");
  EXPECT_EQ(run().error().code(), Errc::kNotFound);
  helper("echo secret >&2; exit 3");
  auto failed = run();
  EXPECT_EQ(failed.error().code(), Errc::kUnavailable);
  EXPECT_EQ(failed.error().message().find("secret"), std::string::npos);
  helper("exec sleep 60");
  EXPECT_EQ(run(100).error().code(), Errc::kTimedOut);
  EXPECT_EQ(run_credential_helper("none-such", "h", std::chrono::seconds(1)).error().code(),
            Errc::kNotFound);
  EXPECT_EQ(run_credential_helper("../x", "h", std::chrono::seconds(1)).error().code(),
            Errc::kInvalid);
}

// A registry whose answers a test gives.
class OciOriginTest : public OriginFixture {
 protected:
  std::unique_ptr<OciOrigin> origin(const std::string& config = "") {
    auto http = client({"127.0.0.1"});
    auto auth = std::make_unique<RegistryAuth>(config.empty() ? "" : file("config.json", config),
                                               environment(), *http);
    return std::make_unique<OciOrigin>(std::set<std::string>{}, std::move(http), std::move(auth));
  }
  static std::string layer(const std::string& name, std::string_view bytes) {
    return R"({"mediaType":"application/vnd.cncf.model.weight.v1.raw","digest":")" +
           digest_text(bytes) + R"(","size":)" + std::to_string(bytes.size()) +
           R"(,"annotations":{"org.cncf.model.filepath":")" + name + R"("}})";
  }
  static std::string manifest(const std::string& layers) {
    return R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
           R"("artifactType":"application/vnd.cncf.model.manifest.v1+json",)"
           R"("config":{"mediaType":"application/vnd.cncf.model.config.v1+json","digest":")" +
           digest_text("{}") + R"(","size":2},"layers":[)" + layers + "]}";
  }
  static std::string index(const std::string& digest, const std::string& platform) {
    return R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)"
           R"("manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" +
           digest + R"(","size":9,"platform":)" + platform + "}]}";
  }
  OriginStatus list(OciOrigin& from, const ScriptedServer& server, OriginListing& found,
                    const std::string& platform = "") {
    return from.list({"oci://" + server.authority() + "/org/model:v1", {}, {}, platform}, found,
                     cancel_);
  }
};

TEST_F(OciOriginTest, ListsTheFilesOfAModelThroughAnIndex) {
  const std::string document = manifest(layer("b.bin", "bb") + "," + layer("a.json", "a"));
  ScriptedServer server([&](const std::string& head) {
    if (head.starts_with("GET /v2/org/model/manifests/v1 ")) {
      EXPECT_NE(head.find("application/vnd.oci.image.index.v1+json"), std::string::npos);
      return ScriptedServer::Answer{
          http_answer("200 OK", "",
                      index(digest_text(document), R"({"os":"linux","architecture":"riscv64"})"))};
    }
    EXPECT_TRUE(head.starts_with("GET /v2/org/model/manifests/" + digest_text(document)));
    return ScriptedServer::Answer{http_answer("200 OK", "", document)};
  });
  OriginListing listing;
  auto registry = origin();
  OriginStatus status = list(*registry, server, listing, "linux/riscv64");
  ASSERT_TRUE(status.status) << status.status.error().str();
  EXPECT_EQ(listing.source, "oci://" + server.authority() + "/org/model@" + digest_text(document));
  ASSERT_EQ(listing.files.size(), 2u);
  EXPECT_EQ(listing.files[0].path.str(), "a.json");
  EXPECT_EQ(listing.files[1].digest->str(), digest_text("bb"));
  EXPECT_EQ(listing.files[1].file.url,
            "oci://" + server.authority() + "/org/model@" + digest_text("bb"));
  OriginStatus other = list(*registry, server, listing, "linux/s390x");
  ASSERT_FALSE(other.status);
  EXPECT_NE(other.status.error().message().find("linux/riscv64"), std::string::npos);
}

TEST_F(OciOriginTest, IndicesThatLeadToIndicesForLongAreRefused) {
  // Each names the one made before it.
  std::map<std::string, std::string> documents;
  std::string last = manifest(layer("a", "a"));
  documents[digest_text(last)] = last;
  for (int i = 0; i < 20; ++i) {
    last = index(digest_text(last), R"({"os":"linux","architecture":"amd64"})");
    documents[digest_text(last)] = last;
  }
  ScriptedServer server([&](const std::string& head) {
    auto at = head.find("sha256:");
    auto found = at == std::string::npos ? documents.end() : documents.find(head.substr(at, 71));
    return ScriptedServer::Answer{
        http_answer("200 OK", "", found == documents.end() ? last : found->second)};
  });
  OriginListing listing;
  auto registry = origin();
  OriginStatus status = list(*registry, server, listing, "linux/amd64");
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kInvalid);
  EXPECT_LT(server.requests(), 10);
}

TEST_F(OciOriginTest, OtherBytesThanTheDigestNamesAreRefused) {
  std::atomic<int> asked{0};
  ScriptedServer server([&](const std::string&) {
    return ScriptedServer::Answer{http_answer("200 OK", "",
                                              index(digest_text("x" + std::to_string(++asked)),
                                                    R"({"os":"linux","architecture":"amd64"})"))};
  });
  OriginListing listing;
  auto registry = origin();
  OriginStatus status = list(*registry, server, listing, "linux/amd64");
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kCorrupt) << "other bytes than the digest names";
  EXPECT_LE(asked, 3);
}

TEST_F(OciOriginTest, AnImageIsNotAModel) {
  const std::string tar =
      R"({"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":")" +
      digest_text("l") + R"(","size":1})";
  ScriptedServer server([&](const std::string&) {
    return ScriptedServer::Answer{http_answer("200 OK", "", manifest(tar))};
  });
  OriginListing listing;
  auto registry = origin();
  OriginStatus status = list(*registry, server, listing);
  ASSERT_FALSE(status.status);
  EXPECT_NE(status.status.error().message().find("images cannot be published"), std::string::npos);
}

TEST_F(OciOriginTest, FetchesATokenOnceForARepositoryAndAgainWhenItHasEnded) {
  std::atomic<int> tokens{0};
  ScriptedServer service([&](const std::string& head) {
    EXPECT_TRUE(head.starts_with("GET /token?service=reg&scope=repository%3Aorg%2Fmodel%3Apull "))
        << head;
    EXPECT_NE(head.find("Authorization: Basic dTpw\r\n"), std::string::npos) << head;
    return ScriptedServer::Answer{
        http_answer("200 OK", "", R"({"token":"t)" + std::to_string(++tokens) + R"("})")};
  });
  std::string good = "t1";
  const char* refusal = "401 Unauthorized";
  ScriptedServer server([&](const std::string& head) {
    if (head.find("Authorization: Bearer " + good + "\r\n") == std::string::npos) {
      // What is refused with an old token may be refused with 403 and no challenge.
      const bool bare = head.find("Authorization") == std::string::npos;
      return ScriptedServer::Answer{http_answer(
          bare ? "401 Unauthorized" : refusal,
          bare || refusal[2] == '1'
              ? "WWW-Authenticate: Bearer realm=\"" + service.url("/token") +
                    "\",service=\"reg\",scope=\"repository:org/model:pull\"\r\n"
              : std::string(),
          R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})")};
    }
    return ScriptedServer::Answer{
        http_answer("206 Partial Content", "Content-Range: bytes 0-1/2\r\n", "bb")};
  });
  auto registry =
      origin(R"({"auths":{")" + server.authority() + R"(":{"username":"u","password":"p"}}})");
  OriginFile file{"oci://" + server.authority() + "/org/model@" + digest_text("bb"), 2,
                  digest_text("bb")};
  for (int i = 0; i < 3; ++i) {
    ReadResult read = read_from(*registry, file, {0, 2});
    ASSERT_TRUE(read.status.status) << read.status.status.error().str();
    EXPECT_EQ(read.bytes, "bb");
  }
  EXPECT_EQ(tokens, 1);
  for (const char* way : {"401 Unauthorized", "403 Forbidden"}) {
    refusal = way;
    good = "t" + std::to_string(tokens + 1);
    ReadResult read = read_from(*registry, file, {0, 2});
    ASSERT_TRUE(read.status.status) << way << ": " << read.status.status.error().str();
  }
  EXPECT_EQ(tokens, 3);
}

TEST_F(OciOriginTest, WithoutALoginTheRefusalSaysSo) {
  ScriptedServer server([&](const std::string& head) {
    EXPECT_EQ(head.find("Authorization"), std::string::npos);
    return ScriptedServer::Answer{
        http_answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", "")};
  });
  OriginListing listing;
  auto registry = origin();
  OriginStatus status = list(*registry, server, listing);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kDenied);
  EXPECT_NE(status.status.error().message().find("docker login"), std::string::npos);
}

TEST_F(OciOriginTest, ABasicLoginIsSentWhereItIsAskedFor) {
  ScriptedServer server([&](const std::string& head) {
    if (head.find("Authorization: Basic dTpw\r\n") == std::string::npos) {
      return ScriptedServer::Answer{
          http_answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", "")};
    }
    return ScriptedServer::Answer{http_answer("200 OK", "", manifest(layer("a", "a")))};
  });
  OriginListing listing;
  auto good = origin(R"({"auths":{")" + server.authority() + R"(":{"auth":"dTpw"}}})");
  OriginStatus status = list(*good, server, listing);
  EXPECT_TRUE(status.status) << status.status.error().str();
  auto wrong = origin(R"({"auths":{")" + server.authority() + R"(":{"auth":"dTpx"}}})");
  OriginStatus refused = list(*wrong, server, listing);
  ASSERT_FALSE(refused.status);
  EXPECT_NE(refused.status.error().message().find("login for it is refused"), std::string::npos);
}

TEST_F(OciOriginTest, ATokenServiceThatIsNotAllowedGetsNothing) {
  ScriptedServer service([](const std::string&) {
    return ScriptedServer::Answer{"", true, false};
  });
  ScriptedServer server([&](const std::string&) {
    return ScriptedServer::Answer{http_answer("401 Unauthorized",
                                              "WWW-Authenticate: Bearer realm=\"http://localhost:" +
                                                  std::to_string(service.port()) + "/token\"\r\n",
                                              "")};
  });
  OriginListing listing;
  auto registry = origin(R"({"auths":{")" + server.authority() + R"(":{"auth":"dTpw"}}})");
  OriginStatus status = list(*registry, server, listing);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kDenied);
  EXPECT_NE(status.status.error().message().find("add 'localhost'"), std::string::npos);
  EXPECT_EQ(service.connections(), 0);
}

}  // namespace
}  // namespace shoal::agent
