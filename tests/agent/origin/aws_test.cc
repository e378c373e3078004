#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "agent/origin/aws_credentials.h"
#include "agent/origin/aws_signature.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

std::string value_of(const HeaderList& headers, const std::string& name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string signature_of(const HeaderList& headers) {
  std::string value = value_of(headers, "Authorization");
  auto at = value.find("Signature=");
  return at == std::string::npos ? value : value.substr(at + 10);
}

// The examples of "Signature Calculations for the Authorization Header" in the S3 API reference.
const AwsCredentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                              "", std::nullopt};
const auto kExampleTime = std::chrono::system_clock::from_time_t(1369353600);  // 2013-05-24
const AwsScope kExampleScope{"us-east-1", "s3"};

TEST(AwsSignature, OfTheExampleThatReadsARange) {
  HeaderList headers =
      sign_aws_request("GET", "https://examplebucket.s3.amazonaws.com/test.txt", "", kExample,
                       kExampleScope, kExampleTime, {{"Range", "bytes=0-9"}});
  EXPECT_EQ(signature_of(headers),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  EXPECT_EQ(value_of(headers, "x-amz-date"), "20130524T000000Z");
}

TEST(AwsSignature, OfTheExamplesWithAQuery) {
  EXPECT_EQ(
      signature_of(sign_aws_request("GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", "",
                                    kExample, kExampleScope, kExampleTime)),
      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(signature_of(sign_aws_request(
                "GET", "https://examplebucket.s3.amazonaws.com/?prefix=J&max-keys=2", "", kExample,
                kExampleScope, kExampleTime)),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(AwsSignature, NamesAPortThatIsNotTheUsualOneAndSignsASessionToken) {
  AwsCredentials session = kExample;
  session.session_token = "token";
  const std::string url = "http://127.0.0.1:9000/bucket/key";
  HeaderList with = sign_aws_request("GET", url, "", session, kExampleScope, kExampleTime);
  HeaderList without = sign_aws_request("GET", url, "", kExample, kExampleScope, kExampleTime);
  EXPECT_EQ(value_of(with, "x-amz-security-token"), "token");
  EXPECT_NE(value_of(with, "Authorization").find("x-amz-security-token"), std::string::npos);
  EXPECT_NE(signature_of(with), signature_of(without));
  HeaderList other = sign_aws_request("GET", "http://127.0.0.1:9001/bucket/key", "", kExample,
                                      kExampleScope, kExampleTime);
  EXPECT_NE(signature_of(other), signature_of(without));
}

TEST(AwsProfile, IsTheOneNamed) {
  const char* text =
      "# a comment\n"
      "[default]\n"
      "aws_access_key_id = A\n"
      "aws_secret_access_key=B\n"
      "[ other ]\n"
      "AWS_ACCESS_KEY_ID = C\r\n"
      "s3 =\n"
      "  addressing_style = path\n";
  auto first = parse_aws_profile(text, "default");
  EXPECT_EQ(first["aws_access_key_id"], "A");
  EXPECT_EQ(first["aws_secret_access_key"], "B");
  auto other = parse_aws_profile(text, "other");
  EXPECT_EQ(other["aws_access_key_id"], "C");
  EXPECT_FALSE(other.contains("addressing_style"));
  EXPECT_TRUE(parse_aws_profile(text, "none").empty());
  const char* config = "[default]\nregion=a\n[profile x]\nregion=b\n[x]\nregion=c\n";
  EXPECT_EQ(parse_aws_profile(config, "default", "profile ")["region"], "a");
  EXPECT_EQ(parse_aws_profile(config, "x", "profile ")["region"], "b");
}

// STS's answer to AssumeRoleWithWebIdentity.
ScriptedServer::Answer sts_answer(const std::string& access_key, const std::string& expiration) {
  return {http_answer(
      "200 OK", "",
      "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
      "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>" +
          access_key +
          "</AccessKeyId><SecretAccessKey>B</SecretAccessKey>"
          "<SessionToken>C</SessionToken><Expiration>" +
          expiration +
          "</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
          "</AssumeRoleWithWebIdentityResponse>")};
}

class AwsCredentialChainTest : public OriginFixture {
 protected:
  void use_web_identity(const ScriptedServer& sts, const std::string& token) {
    set("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", token));
    set("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
    set("AWS_ENDPOINT_URL_STS", sts.url(""));
  }
  Result<std::optional<AwsCredentials>> get() {
    AwsCredentialChain chain(environment(), "eu-central-1", limits_, options());
    return chain.get(cancel_);
  }
};

TEST_F(AwsCredentialChainTest, TheEnvironmentComesFirst) {
  set("AWS_ACCESS_KEY_ID", "A");
  set("AWS_SECRET_ACCESS_KEY", "B");
  set("AWS_SESSION_TOKEN", "C");
  auto found = get();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->access_key, "A");
  EXPECT_EQ((*found)->session_token, "C");
}

TEST_F(AwsCredentialChainTest, HalfAPairIsAnErrorAndNotNothing) {
  set("AWS_ACCESS_KEY_ID", "A");
  auto found = get();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Errc::kDenied);
}

TEST_F(AwsCredentialChainTest, TheSharedFileHasProfiles) {
  set("AWS_SHARED_CREDENTIALS_FILE", file("credentials",
                                          "[work]\naws_access_key_id=A\n"
                                          "aws_secret_access_key=B\n[half]\nrole_arn=x\n"));
  set("AWS_EC2_METADATA_DISABLED", "true");
  auto nothing = get();
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(*nothing);
  set("AWS_PROFILE", "work");
  auto found = get();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->secret_key, "B");
  for (const char* name : {"half", "none"}) {
    set("AWS_PROFILE", name);
    auto bad = get();
    ASSERT_FALSE(bad) << name;
    EXPECT_EQ(bad.error().code(), Errc::kDenied);
    EXPECT_NE(bad.error().message().find(name), std::string::npos);
  }
}

TEST_F(AwsCredentialChainTest, AWebIdentityIsExchangedForCredentials) {
  ScriptedServer sts([](const std::string& head) {
    EXPECT_TRUE(head.starts_with("POST / ")) << head;
    return sts_answer("A", "2199-01-01T00:00:00Z");
  });
  use_web_identity(sts, "jwt\n");
  auto found = get();
  ASSERT_TRUE(found && *found) << found.error().str();
  EXPECT_EQ((*found)->session_token, "C");
  ASSERT_TRUE((*found)->expires);
  EXPECT_GT(*(*found)->expires, std::chrono::system_clock::now());
}

TEST_F(AwsCredentialChainTest, AnEndBeyondAllTimeIsNone) {
  ScriptedServer sts([](const std::string&) { return sts_answer("A", "9999-12-31T23:59:59Z"); });
  use_web_identity(sts, "jwt");
  auto found = get();
  ASSERT_TRUE(found && *found) << found.error().str();
  EXPECT_FALSE((*found)->expires);
}

TEST_F(AwsCredentialChainTest, SaysWhatStsAnswered) {
  ScriptedServer sts([](const std::string&) {
    return ScriptedServer::Answer{
        http_answer("400 Bad Request", "",
                    "<ErrorResponse><Error><Code>ExpiredTokenException</Code>"
                    "<Message>Token expired</Message></Error></ErrorResponse>")};
  });
  use_web_identity(sts, "very-secret");
  auto found = get();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), Errc::kDenied);
  EXPECT_NE(found.error().message().find("ExpiredTokenException"), std::string::npos);
  EXPECT_EQ(found.error().message().find("very-secret"), std::string::npos);
}

TEST_F(AwsCredentialChainTest, AnInstanceKnowsItsRole) {
  ScriptedServer service([](const std::string& head) {
    if (head.starts_with("PUT /latest/api/token ")) {
      return ScriptedServer::Answer{http_answer("200 OK", "", "session")};
    }
    EXPECT_NE(head.find("X-aws-ec2-metadata-token: session"), std::string::npos) << head;
    if (head.starts_with("GET /latest/meta-data/iam/security-credentials/ ")) {
      return ScriptedServer::Answer{http_answer("200 OK", "", "node-role")};
    }
    EXPECT_TRUE(head.starts_with("GET /latest/meta-data/iam/security-credentials/node-role "));
    return ScriptedServer::Answer{
        http_answer("200 OK", "",
                    R"({"Code":"Success","AccessKeyId":"A","SecretAccessKey":"B","Token":"C",)"
                    R"("Expiration":"2199-01-01T00:00:00Z"})")};
  });
  set("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url(""));
  auto found = get();
  ASSERT_TRUE(found && *found) << found.error().str();
  EXPECT_EQ((*found)->access_key, "A");
}

TEST_F(AwsCredentialChainTest, WhatWasRefusedIsAskedForAgainAndTheRestIsKept) {
  std::atomic<int> asked{0};
  ScriptedServer sts([&](const std::string&) {
    return sts_answer("A" + std::to_string(++asked), "2199-01-01T00:00:00Z");
  });
  use_web_identity(sts, "jwt");
  AwsCredentialChain chain(environment(), "", limits_, options());
  auto first = chain.get(cancel_);
  ASSERT_TRUE(first && *first);
  EXPECT_EQ((*chain.get(cancel_))->access_key, "A1");
  chain.refused(**first);
  EXPECT_EQ((*chain.get(cancel_))->access_key, "A2");
  // What was replaced already is not refused twice.
  chain.refused(**first);
  EXPECT_EQ((*chain.get(cancel_))->access_key, "A2");
}

}  // namespace
}  // namespace shoal::agent
