// The XML documents of S3 and STS. Pure; hides the XML parser.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace shoal::agent {

// One page of ListObjectsV2.
struct S3Page {
  struct Object {
    std::string key;
    std::uint64_t size = 0;
    std::string etag;  // with its quotes
  };
  std::vector<Object> objects;
  std::string next;  // continuation token; empty: that was all
};

inline constexpr std::size_t kMaxS3Page =
    8 * 1024 * 1024;  // a thousand keys of 1,024 bytes, encoded

// Errors: invalid (not XML, another document, a size that is no number, more than a thousand
// objects, truncated without a token).
Result<S3Page> parse_s3_page(std::string_view xml);

// Empty fields where the document has none, or is none.
struct S3Error {
  std::string code;     // "NoSuchKey"
  std::string message;  // for a person; one line
  std::string region;   // where the bucket is, if that was the error
};
S3Error parse_s3_error(std::string_view xml);

// AssumeRoleWithWebIdentity's answer.
struct StsCredentials {
  std::string access_key, secret_key, session_token, expiration;
};
std::optional<StsCredentials> parse_sts_credentials(std::string_view xml);

}  // namespace shoal::agent
