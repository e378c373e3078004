// Ranges of files over HTTP, for every kind of origin that hands out bytes that way: what a good
// answer to a range looks like, and which version of the file it is of.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "agent/origin/http_client.h"
#include "agent/origin/origin.h"

namespace shoal::agent {

// One kind's way of asking for a file.
struct HttpFile {
  HttpCall call;  // without a Range
  // The version of the file that an answer is of; empty: it does not tell. `first` is the head of
  // the first answer, before redirects.
  std::function<std::string(const HttpHead& head, const HttpHead& first)> version;
  // What an answer that is not a success means. Null: http_error.
  std::function<OriginStatus(const HttpAnswer&)> error;
};

// The ETag, without one the Last-Modified.
std::string version_of(const HttpHead& head);

// Fills in size and version by asking for one byte: that shows that ranges work, and signed URLs
// allow nothing but GET. Errors: those of Origin::probe.
OriginStatus probe_http_file(HttpClient& client, const HttpFile& file, OriginFile& found,
                             const CancelFlag& cancel);

// Errors: those of Origin::read. `wanted` is the version pinned; empty: any.
OriginStatus read_http_file(HttpClient& client, HttpFile file, const std::string& wanted,
                            ByteRange range, const OriginSink& sink, const CancelFlag& cancel);

// RFC 9110 section 14.4: "bytes 0-99/1234" or "bytes 0-99/*".
struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::optional<std::uint64_t> total;
};
std::optional<ContentRange> parse_content_range(std::string_view text);

}  // namespace shoal::agent
