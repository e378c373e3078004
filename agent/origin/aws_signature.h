// AWS Signature Version 4, as S3 and STS want it: "Authenticating Requests: Using the Authorization
// Header" in the S3 API reference. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "agent/origin/http_client.h"

namespace shoal::agent {

struct AwsCredentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty for keys that do not end
  std::optional<std::chrono::system_clock::time_point> expires;
};

struct AwsScope {
  std::string region;   // "eu-central-1"
  std::string service;  // "s3"
};

// The headers to add to a call of `method` to `url` (percent-encoded already, every reserved
// character in path and query values included) with the body `body`.
HeaderList sign_aws_request(std::string_view method, const std::string& url, std::string_view body,
                            const AwsCredentials& credentials, const AwsScope& scope,
                            std::chrono::system_clock::time_point now,
                            const HeaderList& also_signed = {});

}  // namespace shoal::agent
