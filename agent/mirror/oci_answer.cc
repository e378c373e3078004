#include "agent/mirror/oci_answer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/http/range.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

using Json = nlohmann::json;

// Messages may quote foreign bytes that are not UTF-8.
std::string dump(const Json& body) {
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

constexpr std::string_view kIndexMediaType = "application/vnd.oci.image.index.v1+json";

}  // namespace

http::Response oci_json(std::string text, std::string_view media_type) {
  http::Response response;
  response.headers.set("Content-Type", std::string(media_type));
  response.headers.set("Docker-Distribution-API-Version", "registry/2.0");
  response.body = std::move(text);
  return response;
}

http::Response oci_error(const OciError& error, std::optional<std::chrono::seconds> retry_after) {
  http::Response response = oci_json(
      dump({{"errors",
             Json::array({{{"code", std::string(error.code)}, {"message", error.message}}})}}));
  response.status = error.status;
  if (error.status == 405) response.headers.set("Allow", "GET, HEAD");
  if (retry_after) response.headers.set("Retry-After", std::to_string(retry_after->count()));
  return response;
}

std::string oci_etag(const content::Digest& digest) { return '"' + digest.str() + '"'; }

http::Response oci_content(const content::Digest& digest, std::string_view media_type,
                           const Selection& selection, std::uint64_t size) {
  if (selection.status == 416) {
    http::Response response =
        oci_error({416, kSizeInvalid,
                   "no byte of the range is in it: it has " + std::to_string(size) + " bytes"});
    response.headers.set("Content-Range", http::format_content_range({std::nullopt, size}));
    return response;
  }
  http::Response response;
  response.status = selection.status;
  http::Headers& headers = response.headers;
  headers.set("Docker-Distribution-API-Version", "registry/2.0");
  headers.set("Docker-Content-Digest", digest.str());
  headers.set("ETag", oci_etag(digest));
  headers.set("Accept-Ranges", "bytes");
  if (selection.status == 304) return response;
  headers.set("Content-Type", std::string(media_type));
  if (selection.status == 206) {
    headers.set("Content-Range", http::format_content_range({selection.range, size}));
  }
  return response;
}

std::string tags_body(std::string_view name, const std::vector<std::string>& tags) {
  return dump({{"name", std::string(name)}, {"tags", tags}});
}

std::string catalog_body(const std::vector<std::string>& names) {
  return dump({{"repositories", names}});
}

std::string no_referrers_body() {
  return dump({{"schemaVersion", 2},
               {"mediaType", std::string(kIndexMediaType)},
               {"manifests", Json::array()}});
}

std::string next_page(std::string_view path, std::size_t n, std::string_view last) {
  return "<" + http::percent_encode_path(path) +
         http::format_query({{"last", std::string(last)}, {"n", std::to_string(n)}}) +
         ">; rel=\"next\"";
}

}  // namespace shoal::agent
