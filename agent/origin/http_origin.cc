#include "agent/origin/http_origin.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/check.h"

namespace shoal::agent {
namespace {

constexpr int kMaxRedirects = 5;
constexpr std::size_t kMaxHeaderLine = 16 * 1024;
constexpr std::size_t kMaxIdleHandles = 32;
// Shorter than most servers wait before they close a connection that nobody uses: one that they
// closed would stay half open here.
constexpr std::chrono::seconds kMaxIdle{10};
constexpr long kReceiveBuffer = 256 * 1024;

struct Target {
  std::string scheme;
  std::string host;
  std::uint16_t port = 0;
};

struct CurlUrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using CurlUrl = std::unique_ptr<CURLU, CurlUrlDeleter>;

std::string url_part(const CurlUrl& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string out(text);
  curl_free(text);
  return out;
}

// Split by libcurl itself, so that what is checked is what is connected to.
std::optional<Target> split_url(const std::string& url) {
  CurlUrl handle(curl_url());
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return std::nullopt;
  }
  Target out{url_part(handle, CURLUPART_SCHEME), url_part(handle, CURLUPART_HOST), 0};
  std::string port = url_part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (std::from_chars(port.data(), port.data() + port.size(), out.port).ec != std::errc()) {
    return std::nullopt;
  }
  if (out.host.size() > 2 && out.host.front() == '[') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.scheme != "http" && out.scheme != "https") return std::nullopt;
  return out;
}

std::string resolve_location(const std::string& base, const std::string& location) {
  CurlUrl handle(curl_url());
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
    return {};
  }
  return url_part(handle, CURLUPART_URL);
}

// Query strings carry signatures: they stay out of messages.
std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::optional<std::uint64_t> total;
};

// "bytes 0-99/1234" or "bytes 0-99/*" (RFC 9110 section 14.4).
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

}  // namespace

std::string_view scheme_of(std::string_view url) {
  auto colon = url.find(':');
  return colon == std::string_view::npos ? std::string_view() : url.substr(0, colon);
}

// Easy handles between reads: each keeps its connection open.
class HttpOrigin::HandlePool {
 public:
  ~HandlePool() {
    for (const Idle& idle : idle_) curl_easy_cleanup(idle.handle);
  }

  CURL* take() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return curl_easy_init();
    CURL* handle = idle_.back().handle;
    idle_.pop_back();
    return handle;
  }

  void give_back(CURL* handle) {
    curl_easy_reset(handle);
    std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdleHandles) {
      idle_.push_back({handle, std::chrono::steady_clock::now()});
    } else {
      curl_easy_cleanup(handle);
    }
  }

  void tidy() {
    std::vector<Idle> old;
    {
      std::lock_guard lock(mutex_);
      const auto limit = std::chrono::steady_clock::now() - kMaxIdle;
      // The last one used is used next: the first ones rest longest.
      auto used = std::find_if(idle_.begin(), idle_.end(),
                               [&](const Idle& idle) { return idle.since > limit; });
      old.assign(idle_.begin(), used);
      idle_.erase(idle_.begin(), used);
    }
    for (const Idle& idle : old) curl_easy_cleanup(idle.handle);
  }

 private:
  struct Idle {
    CURL* handle;
    std::chrono::steady_clock::time_point since;
  };

  std::mutex mutex_;
  std::vector<Idle> idle_;  // guarded by mutex_
};

// One range of one file: the request, the redirects it leads to, and what came back.
class HttpOrigin::Transfer {
 public:
  // `sink` takes body bytes of a good answer; `version` empty means any.
  Transfer(HttpOrigin& origin, const CancelFlag& cancel, ByteRange range, const OriginSink& sink,
           std::string version)
      : origin_(origin),
        cancel_(cancel),
        range_(range),
        sink_(sink),
        wanted_version_(std::move(version)),
        handle_(origin.handles_->take()) {
    SHOAL_CHECK(handle_ != nullptr, "curl_easy_init failed");
    // If-Match compares strongly (RFC 9110 section 13.1.1): a weak ETag would always fail it.
    if (wanted_version_.starts_with('"')) {
      request_headers_ = curl_slist_append(nullptr, ("If-Match: " + wanted_version_).c_str());
    }
  }
  ~Transfer() {
    origin_.handles_->give_back(handle_);
    curl_slist_free_all(request_headers_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  OriginStatus run(std::string url);

  const std::string* header(const std::string& name) const {
    auto it = headers_.find(name);
    return it == headers_.end() ? nullptr : &it->second;
  }
  std::string version() const {
    if (const std::string* etag = header("etag")) return *etag;
    if (const std::string* modified = header("last-modified")) return *modified;
    return {};
  }
  std::uint64_t delivered() const { return delivered_; }

 private:
  void set_options(const std::string& url, char* error_text);
  OriginStatus run_once(const std::string& url);
  OriginStatus http_error(long status, const std::string& url) const;
  Status check_body_start(long status) const;

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  static curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address);

  HttpOrigin& origin_;
  const CancelFlag& cancel_;
  const ByteRange range_;
  const OriginSink& sink_;
  const std::string wanted_version_;
  CURL* const handle_;
  curl_slist* request_headers_ = nullptr;
  Target target_;
  std::map<std::string, std::string> headers_;  // of the last response, names in lower case
  std::uint64_t delivered_ = 0;
  std::optional<Error> stopped_;  // why a callback ended the transfer
};

std::size_t HttpOrigin::Transfer::on_header(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  std::string_view line(data, size);
  if (line.starts_with("HTTP/")) {
    transfer.headers_.clear();
    return size;
  }
  auto colon = line.find(':');
  if (colon != std::string_view::npos && size < kMaxHeaderLine) {
    transfer.headers_[lower(line.substr(0, colon))] = std::string(trim(line.substr(colon + 1)));
  }
  return size;
}

// Before the first byte of an answer is used: is it the range of the version asked for?
Status HttpOrigin::Transfer::check_body_start(long status) const {
  if (status == 200) {
    const std::string* length = header("content-length");
    if (range_.offset == 0 && length != nullptr && to_number(*length) == range_.length) return {};
    return fail(Errc::kInvalid,
                "origin " + target_.host +
                    " answers 200 to a range: it does not serve ranges of this file");
  }
  const std::string* text = header("content-range");
  std::optional<ContentRange> range = text ? parse_content_range(*text) : std::nullopt;
  if (!range || range->first != range_.offset || range->last != range_.end() - 1) {
    return fail(Errc::kInvalid, "origin " + target_.host + " answered with Content-Range '" +
                                    (text ? *text : std::string("none")) + "' instead of bytes " +
                                    std::to_string(range_.offset) + "-" +
                                    std::to_string(range_.end() - 1));
  }
  return {};
}

std::size_t HttpOrigin::Transfer::on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  auto stop = [&](Error error) {
    transfer.stopped_ = std::move(error);
    return std::size_t{0};
  };
  long status = 0;
  curl_easy_getinfo(transfer.handle_, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 && status != 206) return size;  // an error page: read past it
  if (transfer.delivered_ == 0) {
    if (Status ok = transfer.check_body_start(status); !ok) return stop(ok.error());
    if (!transfer.wanted_version_.empty() && transfer.version() != transfer.wanted_version_) {
      return stop(Error(Errc::kConflict, "the file changed at origin " + transfer.target_.host +
                                             " (it was " + transfer.wanted_version_ + ", now " +
                                             transfer.version() + ")"));
    }
  }
  if (transfer.delivered_ + size > transfer.range_.length) {
    return stop(Error(Errc::kInvalid, "origin " + transfer.target_.host +
                                          " sent more bytes than it was asked for"));
  }
  if (Status taken = transfer.sink_(std::as_bytes(std::span(data, size))); !taken) {
    return stop(taken.error());
  }
  transfer.delivered_ += size;
  return size;
}

int HttpOrigin::Transfer::on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(self);
  if (!transfer.cancel_.load(std::memory_order_relaxed)) return 0;
  transfer.stopped_ = Error(Errc::kCancelled, "read cancelled");
  return 1;
}

curl_socket_t HttpOrigin::Transfer::on_open_socket(void* self, curlsocktype,
                                                   curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(self);
  Status allowed = transfer.origin_.allow_.check_address(transfer.target_.host,
                                                         transfer.target_.port, address->addr);
  if (!allowed) {
    transfer.stopped_ = allowed.error();
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

OriginStatus HttpOrigin::Transfer::http_error(long status, const std::string& url) const {
  std::string text = "origin " + without_query(url) + " answered " + std::to_string(status);
  switch (status) {
    case 401:
    case 403:
      return {fail(Errc::kDenied, text + ": this node has no access to it"), {}};
    case 404:
    case 410:
      return {fail(Errc::kNotFound, text), {}};
    case 412:
      return {fail(Errc::kConflict, text + ": the file is no longer the one published"), {}};
    case 416:
      return {fail(Errc::kConflict, text + ": the file is shorter than the one published"), {}};
    case 429:
    case 503: {
      const std::string* retry = header("retry-after");
      std::uint64_t seconds = retry ? to_number(*retry).value_or(1) : 1;
      return {fail(Errc::kOverloaded, text),
              std::chrono::seconds(std::min<std::uint64_t>(seconds, 3600))};
    }
    default:
      return {fail(Errc::kUnavailable, text), {}};
  }
}

void HttpOrigin::Transfer::set_options(const std::string& url, char* error_text) {
  const Options& options = origin_.options_;
  std::string range = std::to_string(range_.offset) + "-" + std::to_string(range_.end() - 1);
  curl_easy_setopt(handle_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle_, CURLOPT_RANGE, range.c_str());
  curl_easy_setopt(handle_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, error_text);
  curl_easy_setopt(handle_, CURLOPT_HTTPHEADER, request_headers_);
  curl_easy_setopt(handle_, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(handle_, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(handle_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(handle_, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle_, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(options.stall_timeout.count()));
  curl_easy_setopt(handle_, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(handle_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(handle_, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(handle_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(handle_, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle_, CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
  curl_easy_setopt(handle_, CURLOPT_XFERINFODATA, this);
  curl_easy_setopt(handle_, CURLOPT_OPENSOCKETFUNCTION, &Transfer::on_open_socket);
  curl_easy_setopt(handle_, CURLOPT_OPENSOCKETDATA, this);
}

OriginStatus HttpOrigin::Transfer::run_once(const std::string& url) {
  std::optional<Target> target = split_url(url);
  if (!target) return {fail(Errc::kInvalid, "'" + url + "' is not an http or https URL"), {}};
  if (Status allowed = origin_.allow_.check_host(target->host, target->port); !allowed) {
    return {allowed, {}};
  }
  target_ = std::move(*target);
  char error_text[CURL_ERROR_SIZE] = "";
  set_options(url, error_text);
  CURLcode code = curl_easy_perform(handle_);
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, nullptr);
  if (stopped_) return {fail(*stopped_), {}};
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return {fail(Errc::kTimedOut, "origin " + target_.host + " sent nothing for too long"), {}};
  }
  if (code != CURLE_OK) {
    return {fail(Errc::kUnavailable, "origin " + target_.host + ": " +
                                         (*error_text ? error_text : curl_easy_strerror(code))),
            {}};
  }
  return {};
}

OriginStatus HttpOrigin::Transfer::run(std::string url) {
  for (int hop = 0;; ++hop) {
    if (OriginStatus result = run_once(url); !result.status) return result;
    long status = 0;
    curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 || status == 206) return {};
    const std::string* location = header("location");
    bool redirect =
        status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!redirect || location == nullptr) return http_error(status, url);
    if (hop == kMaxRedirects) {
      return {fail(Errc::kUnavailable, "origin " + target_.host + " redirects too often"), {}};
    }
    std::string next = resolve_location(url, *location);
    if (url.starts_with("https:") && !next.starts_with("https:")) {
      return {fail(Errc::kDenied,
                   "origin redirects from https to " + without_query(next) + ", which is refused"),
              {}};
    }
    url = std::move(next);
  }
}

HttpOrigin::HttpOrigin(const AllowList& allow, Options options)
    : allow_(allow), options_(std::move(options)), handles_(std::make_unique<HandlePool>()) {
  // Once per process and never undone: other users of libcurl may remain.
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  SHOAL_CHECK(initialised == CURLE_OK, "curl_global_init failed");
}

HttpOrigin::~HttpOrigin() = default;

void HttpOrigin::tidy() { handles_->tidy(); }

OriginStatus HttpOrigin::probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) {
  // One byte by GET rather than HEAD: it shows that ranges work, and signed URLs allow GET only.
  OriginSink ignore = [](std::span<const std::byte>) -> Status { return {}; };
  Transfer transfer(*this, cancel, {0, 1}, ignore, "");
  OriginStatus result = transfer.run(url);
  if (!result.status) return result;
  const std::string* text = transfer.header("content-range");
  std::optional<ContentRange> range = text ? parse_content_range(*text) : std::nullopt;
  const std::string* length = transfer.header("content-length");
  std::optional<std::uint64_t> size =
      range ? range->total : (length ? to_number(*length) : std::nullopt);
  if (!size) {
    return {fail(Errc::kInvalid, "origin does not tell the size of " + without_query(url)), {}};
  }
  file = {url, *size, transfer.version()};
  return {};
}

OriginStatus HttpOrigin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                              const CancelFlag& cancel) {
  SHOAL_CHECK(range.length > 0, "an empty range was asked of an origin");
  Transfer transfer(*this, cancel, range, sink, file.version);
  OriginStatus result = transfer.run(file.url);
  if (result.status && transfer.delivered() != range.length) {
    return {fail(Errc::kUnavailable, "origin ended its answer after " +
                                         std::to_string(transfer.delivered()) + " of " +
                                         std::to_string(range.length) + " bytes"),
            {}};
  }
  return result;
}

}  // namespace shoal::agent
