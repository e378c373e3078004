#include "agent/origin/http_origin.h"

#include <utility>

#include "agent/origin/http_range.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

HttpFile file_at(const std::string& url) {
  HttpFile file;
  file.call.url = url;
  file.version = [](const HttpHead& head, const HttpHead&) { return version_of(head); };
  return file;
}

}  // namespace

HttpOrigin::HttpOrigin(std::unique_ptr<HttpClient> client) : client_(std::move(client)) {}
HttpOrigin::~HttpOrigin() = default;

void HttpOrigin::tidy() { client_->tidy(); }

OriginStatus HttpOrigin::list(const OriginQuery& query, OriginListing& found,
                              const CancelFlag& cancel) {
  if (query.source.find('?') != std::string::npos) {
    return {fail(Errc::kInvalid,
                 "give a URL without a query: others will read it later, and a "
                 "signature in it would travel with the model"),
            {}};
  }
  auto start = query.source.find("//");
  auto slash = query.source.rfind('/');
  if (start == std::string::npos || slash < start + 2) {
    return {fail(Errc::kInvalid, "'" + query.source + "' names no file"), {}};
  }
  Result<std::string> name = http::percent_decode(query.source.substr(slash + 1));
  if (!name) return {fail(name.error()), {}};
  OriginFile file;
  OriginStatus probed = probe(query.source, file, cancel);
  if (!probed.status) return probed;
  found.source = query.source;
  if (Status added = found.add(query, *name, std::move(file)); !added) return {added, {}};
  return {found.finish(), {}};
}

OriginStatus HttpOrigin::probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) {
  file.url = url;
  return probe_http_file(*client_, file_at(url), file, cancel);
}

OriginStatus HttpOrigin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                              const CancelFlag& cancel) {
  return read_http_file(*client_, file_at(file.url), file.version, range, sink, cancel);
}

}  // namespace shoal::agent
