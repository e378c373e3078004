#include "agent/mirror/oci_request.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "agent/mirror/oci_answer.h"
#include "core/content/reference.h"
#include "core/content/relative_path.h"
#include "core/http/range.h"

namespace shoal::agent {
namespace {

constexpr std::string_view kSha256 = "sha256:";
// The longest that a name and what follows it can be.
constexpr std::size_t kMaxRest = 1024;

ParsedOciRequest refuse(int status, std::string_view code, std::string message) {
  return {std::nullopt, {status, code, std::move(message)}};
}

// "algorithm:encoded" of the OCI image spec, whatever the algorithm.
bool is_some_digest(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos || colon + 1 == text.size()) return false;
  auto in = [](std::string_view part, std::string_view more) {
    return std::all_of(part.begin(), part.end(), [more](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
    });
  };
  return in(text.substr(0, colon), "+._-") &&
         in(text.substr(colon + 1), "ABCDEFGHIJKLMNOPQRSTUVWXYZ=_-");
}

// Digests of other algorithms are valid, but name nothing here.
ParsedOciRequest with_digest(OciRequest request, std::string_view text, std::string_view unknown) {
  Result<content::Digest> digest = content::Digest::parse(text);
  if (digest) {
    request.digest = *digest;
    return {std::move(request), {}};
  }
  if (!text.starts_with(kSha256) && is_some_digest(text)) {
    return refuse(404, unknown, "only sha256 digests name something here");
  }
  return refuse(400, kDigestInvalid, digest.error().message());
}

ParsedOciRequest manifest_of(OciRequest request, std::string_view reference) {
  request.kind = OciRequest::Kind::kManifest;
  if (reference.find(':') != std::string_view::npos) {
    return with_digest(std::move(request), reference, kManifestUnknown);
  }
  Result<content::Reference> tag = content::Reference::by_tag(request.name, reference);
  if (!tag) return refuse(404, kManifestUnknown, tag.error().message());
  request.tag = reference;
  return {std::move(request), {}};
}

}  // namespace

ParsedOciRequest parse_oci_request(std::string_view rest) {
  if (rest.empty()) return {OciRequest{}, {}};
  if (rest.size() > kMaxRest) return refuse(400, kNameInvalid, "the path is too long");
  Result<std::string> decoded = http::percent_decode(rest);
  if (!decoded) return refuse(400, kNameInvalid, decoded.error().message());
  const std::string_view path = *decoded;
  OciRequest request;
  if (path == "_catalog") {
    request.kind = OciRequest::Kind::kCatalog;
    return {std::move(request), {}};
  }
  // From the end: a name may itself have components called "manifests" or "blobs".
  const std::size_t last = path.rfind('/');
  const std::size_t middle =
      last == std::string_view::npos || last == 0 ? last : path.rfind('/', last - 1);
  if (middle == std::string_view::npos || middle == 0 || last == 0) {
    return refuse(404, kNameUnknown,
                  "no such resource: '" + content::escape_for_message(path) + "'");
  }
  const std::string_view kind = path.substr(middle + 1, last - middle - 1);
  const std::string_view what = path.substr(last + 1);
  const bool known = kind == "manifests" || kind == "blobs" || kind == "referrers" ||
                     (kind == "tags" && what == "list");
  if (!known) {
    return refuse(404, kUnsupported,
                  "no such resource: '" + content::escape_for_message(path) + "'");
  }
  request.name = path.substr(0, middle);
  if (Result<content::Reference> name = content::Reference::by_tag(request.name, "t"); !name) {
    return refuse(400, kNameInvalid, name.error().message());
  }
  if (kind == "manifests") return manifest_of(std::move(request), what);
  if (kind == "tags") {
    request.kind = OciRequest::Kind::kTags;
    return {std::move(request), {}};
  }
  request.kind = kind == "blobs" ? OciRequest::Kind::kBlob : OciRequest::Kind::kReferrers;
  return with_digest(std::move(request), what, kind == "blobs" ? kBlobUnknown : kManifestUnknown);
}

bool is_own_namespace(std::string_view ns, std::string_view host,
                      const std::vector<std::string>& own) {
  if (ns.empty() || http::equal_ignoring_case(ns, host)) return true;
  return std::any_of(own.begin(), own.end(),
                     [ns](const std::string& name) { return http::equal_ignoring_case(ns, name); });
}

Selection select_bytes(const http::Headers& headers, const content::Digest& digest,
                       std::uint64_t size) {
  const Selection whole{200, {0, size}};
  const std::string etag = oci_etag(digest);
  if (auto match = headers.get("If-None-Match")) {
    if (*match == "*" || match->find(etag) != std::string_view::npos) return {304, {}};
  }
  auto range = headers.get("Range");
  if (!range) return whole;
  // The range is meant for another content: then the whole is due.
  if (auto condition = headers.get("If-Range"); condition && *condition != etag) return whole;
  if (!range->starts_with("bytes=") || range->find(',') != std::string_view::npos) return whole;
  Result<http::RangeRequest> parsed = http::parse_range(*range);
  if (!parsed) return {416, {}};
  std::optional<ByteRange> resolved = http::resolve_range(*parsed, size);
  if (!resolved) return {416, {}};
  return {206, *resolved};
}

std::optional<OciPage> parse_page(const http::Query& query, std::size_t most) {
  OciPage page{most, {}};
  if (auto n = query.find("n"); n != query.end()) {
    const std::string& text = n->second;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), page.n);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    page.n = std::min(page.n, most);
  }
  if (auto last = query.find("last"); last != query.end()) page.last = last->second;
  if (page.last.size() > content::kMaxReferenceName) return std::nullopt;
  return page;
}

}  // namespace shoal::agent
