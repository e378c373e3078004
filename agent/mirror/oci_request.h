// What a client of the mirror asks for: the paths of the OCI distribution spec 1.1, its reading
// side. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/http/message.h"
#include "core/http/url.h"

namespace shoal::agent {

// An error of the distribution spec: the answer's status, the code that clients compare, a sentence
// for a person.
struct OciError {
  int status = 404;
  std::string_view code;  // of a literal
  std::string message;
};

inline constexpr std::string_view kNameInvalid = "NAME_INVALID";
inline constexpr std::string_view kNameUnknown = "NAME_UNKNOWN";
inline constexpr std::string_view kManifestUnknown = "MANIFEST_UNKNOWN";
inline constexpr std::string_view kBlobUnknown = "BLOB_UNKNOWN";
inline constexpr std::string_view kDigestInvalid = "DIGEST_INVALID";
inline constexpr std::string_view kSizeInvalid = "SIZE_INVALID";
inline constexpr std::string_view kUnsupported = "UNSUPPORTED";
inline constexpr std::string_view kTooManyRequests = "TOOMANYREQUESTS";
// Not in the spec's list, but what registries say when it is they that fail.
inline constexpr std::string_view kUnavailable = "UNAVAILABLE";

struct OciRequest {
  enum class Kind : std::uint8_t { kBase, kCatalog, kTags, kManifest, kBlob, kReferrers };

  Kind kind = Kind::kBase;
  std::string name;  // a valid one, but with kBase and kCatalog
  std::string tag;   // of a manifest that is not asked for by its digest
  std::optional<content::Digest> digest;
};

// `rest` is the path behind "/v2/", percent-encoded as it came. Either a request or an error.
struct ParsedOciRequest {
  std::optional<OciRequest> request;
  OciError error;  // without a request
};
ParsedOciRequest parse_oci_request(std::string_view rest);

// Whether `ns`, the registry that a client would have asked without a mirror, is one whose names
// are the cluster's: empty, the address under which the client reached us (`host`, its Host
// header), or one of `own`. Names of hosts compare without case.
bool is_own_namespace(std::string_view ns, std::string_view host,
                      const std::vector<std::string>& own);

// Which part of content that never changes to send.
struct Selection {
  int status = 200;  // 200, 206, 304 or 416
  ByteRange range;   // with 200 and 206
};
// From Range, If-Range and If-None-Match. Ranges of other units, and several at once, are ignored
// as RFC 9110 allows; ranges of bytes that make no sense get 416.
Selection select_bytes(const http::Headers& headers, const content::Digest& digest,
                       std::uint64_t size);

// A page of a list: `n` at most `most` entries, those behind `last`. Nothing for an `n` that is no
// number, or a `last` that is longer than any name.
struct OciPage {
  std::size_t n = 0;
  std::string last;
};
std::optional<OciPage> parse_page(const http::Query& query, std::size_t most);

}  // namespace shoal::agent
