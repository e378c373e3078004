#include "agent/origin/http_range.h"

#include <utility>

#include "agent/origin/text.h"
#include "core/base/check.h"

namespace shoal::agent {
namespace {

std::string host_of(const HttpHead& head) {
  std::optional<HttpPlace> place = http_place(head.url);
  return "origin " + (place ? place->host : without_query(head.url));
}

// Before the first byte of an answer is used: is it the range asked for?
Status check_range(const HttpHead& head, ByteRange asked) {
  // libcurl was not asked to undo one, and ranges of compressed bytes are not ranges of the file.
  std::string_view encoding = head.header("content-encoding");
  if (!encoding.empty() && lower(encoding) != "identity") {
    return fail(Errc::kInvalid, host_of(head) + " answers a range with Content-Encoding '" +
                                    std::string(encoding) + "'");
  }
  if (head.status == 200) {
    if (asked.offset == 0 && to_number(head.header("content-length")) == asked.length) return {};
    return fail(Errc::kInvalid,
                host_of(head) + " answers 200 to a range: it does not serve ranges of this file");
  }
  std::string_view text = head.header("content-range");
  std::optional<ContentRange> range = parse_content_range(text);
  if (head.status != 206 || !range || range->first != asked.offset ||
      range->last != asked.end() - 1) {
    return fail(Errc::kInvalid, host_of(head) + " answered " + std::to_string(head.status) +
                                    " with Content-Range '" +
                                    (text.empty() ? "none" : std::string(text)) +
                                    "' instead of bytes " + std::to_string(asked.offset) + "-" +
                                    std::to_string(asked.end() - 1));
  }
  return {};
}

void ask_for(HttpCall& call, ByteRange range) {
  call.headers.emplace_back(
      "Range", "bytes=" + std::to_string(range.offset) + "-" + std::to_string(range.end() - 1));
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  auto dash = text.find('-');
  auto slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) {
    return std::nullopt;
  }
  auto first = to_number(text.substr(0, dash));
  auto last = to_number(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return ContentRange{*first, *last, to_number(text.substr(slash + 1))};
}

std::string version_of(const HttpHead& head) {
  std::string_view etag = head.header("etag");
  return std::string(etag.empty() ? head.header("last-modified") : etag);
}

// Reads a range and remembers how far it came.
class RangeRead {
 public:
  RangeRead(const HttpFile& file, const std::string& wanted, ByteRange range,
            const OriginSink& sink)
      : file_(file), wanted_(wanted), range_(range), sink_(sink) {}

  OriginStatus run(HttpClient& client, const CancelFlag& cancel) {
    HttpSink take = [this](const HttpAnswer& heads, std::span<const std::byte> bytes) {
      return this->take(heads, bytes);
    };
    answer_ = client.send(file_.call, take, cancel);
    if (!answer_.result.status) return answer_.result;
    if (!answer_.ok()) return refusal();
    if (delivered_ != range_.length) {
      return {fail(Errc::kUnavailable, host_of(answer_.head) + " ended its answer after " +
                                           std::to_string(delivered_) + " of " +
                                           std::to_string(range_.length) + " bytes"),
              {}};
    }
    return {};
  }

  const HttpAnswer& answer() const { return answer_; }
  std::string version() const { return file_.version(answer_.head, answer_.first); }

 private:
  OriginStatus refusal() const {
    const int status = answer_.head.status;
    // Of what was pinned, or of the size it had, there is nothing any more.
    if (status == 416 || (status == 412 && !wanted_.empty())) {
      return {fail(Errc::kConflict, host_of(answer_.head) + " answered " + std::to_string(status) +
                                        ": the file is another one now"),
              {}};
    }
    return file_.error ? file_.error(answer_) : http_error(answer_.head);
  }

  Status take(const HttpAnswer& heads, std::span<const std::byte> bytes) {
    if (delivered_ == 0) SHOAL_TRY(begin(heads));
    if (delivered_ + bytes.size() > range_.length) {
      return fail(Errc::kInvalid, host_of(heads.head) + " sent more bytes than it was asked for");
    }
    SHOAL_TRY(sink_(bytes));
    delivered_ += bytes.size();
    return {};
  }

  Status begin(const HttpAnswer& heads) const {
    SHOAL_TRY(check_range(heads.head, range_));
    if (wanted_.empty()) return {};
    std::string version = file_.version(heads.head, heads.first);
    if (version != wanted_) {
      return fail(Errc::kConflict, host_of(heads.head) + " has " +
                                       (version.empty() ? "no version" : "the version " + version) +
                                       " of the file, not " + wanted_);
    }
    return {};
  }

  const HttpFile& file_;
  const std::string& wanted_;
  const ByteRange range_;
  const OriginSink& sink_;
  HttpAnswer answer_;
  std::uint64_t delivered_ = 0;
};

OriginStatus probe_http_file(HttpClient& client, const HttpFile& file, OriginFile& found,
                             const CancelFlag& cancel) {
  HttpFile asked = file;
  ask_for(asked.call, {0, 1});
  OriginSink ignore = [](std::span<const std::byte>) -> Status { return {}; };
  const std::string any;
  RangeRead read(asked, any, {0, 1}, ignore);
  OriginStatus result = read.run(client, cancel);
  const HttpHead& head = read.answer().head;
  // An empty file has no first byte: the refusal tells its size.
  const bool empty = head.status == 416 && head.header("content-range") == "bytes */0";
  if (!result.status && !empty) return result;
  std::optional<ContentRange> range = parse_content_range(head.header("content-range"));
  std::optional<std::uint64_t> size = empty   ? 0
                                      : range ? range->total
                                              : to_number(head.header("content-length"));
  if (!size) {
    return {fail(Errc::kInvalid, "origin does not tell the size of " + without_query(head.url)),
            {}};
  }
  found.size = *size;
  found.version = read.version();
  return {};
}

OriginStatus read_http_file(HttpClient& client, HttpFile file, const std::string& wanted,
                            ByteRange range, const OriginSink& sink, const CancelFlag& cancel) {
  SHOAL_CHECK(range.length > 0, "an empty range was asked of an origin");
  ask_for(file.call, range);
  // If-Match compares strongly (RFC 9110 section 13.1.1): a weak ETag would always fail it.
  if (wanted.starts_with('"')) file.call.headers.emplace_back("If-Match", wanted);
  return RangeRead(file, wanted, range, sink).run(client, cancel);
}

}  // namespace shoal::agent
