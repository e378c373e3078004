#include "agent/origin/http_client.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <mutex>

#include "agent/origin/text.h"
#include "core/base/check.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxHeaderLine = 16 * 1024;
constexpr std::size_t kMaxHeaders = 256;
constexpr std::size_t kMaxIdleHandles = 32;
// Shorter than most servers wait before they close a connection that nobody uses: one that they
// closed would stay half open here.
constexpr std::chrono::seconds kMaxIdle{10};
constexpr long kReceiveBuffer = 256 * 1024;
constexpr std::uint64_t kLongestRetryAfter = 3600;

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

CurlUrl parse(const std::string& url) {
  CurlUrl handle(curl_url());
  if (handle && curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    handle.reset();
  }
  return handle;
}

std::string resolve_location(const std::string& base, const std::string& location) {
  CurlUrl handle = parse(base);
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
    return {};
  }
  return url_part(handle, CURLUPART_URL);
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// As in $no_proxy: "host", ".domain", "domain" (and all below it), or "*".
bool spared(std::string_view host, std::string_view list) {
  while (!list.empty()) {
    auto comma = list.find(',');
    std::string entry = lower(trim(list.substr(0, comma)));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
    if (entry == "*") return true;
    if (entry.starts_with('.')) entry.erase(0, 1);
    if (entry.empty()) continue;
    if (host == entry || (host.ends_with(entry) && host[host.size() - entry.size() - 1] == '.')) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string_view HttpHead::header(std::string_view lower_case_name) const {
  auto it = headers.find(std::string(lower_case_name));
  return it == headers.end() ? std::string_view() : std::string_view(it->second);
}

std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

// Split by libcurl itself, so that what is checked is what is connected to.
std::optional<HttpPlace> http_place(const std::string& url) {
  CurlUrl handle = parse(url);
  if (!handle || !url_part(handle, CURLUPART_USER).empty()) return std::nullopt;
  HttpPlace out{url_part(handle, CURLUPART_SCHEME), lower(url_part(handle, CURLUPART_HOST)), 0};
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

OriginStatus http_error(const HttpHead& head) {
  std::string text =
      "origin " + without_query(head.url) + " answered " + std::to_string(head.status);
  switch (head.status) {
    case 401:
    case 403:
      return {fail(Errc::kDenied, text + ": this node has no access to it"), {}};
    case 404:
    case 410:
      return {fail(Errc::kNotFound, text), {}};
    case 429:
    case 503: {
      std::uint64_t seconds = to_number(head.header("retry-after")).value_or(0);
      return {fail(Errc::kOverloaded, text),
              std::chrono::seconds(std::min(seconds, kLongestRetryAfter))};
    }
    default:
      return {fail(Errc::kUnavailable, text), {}};
  }
}

// Easy handles between exchanges: each keeps its connection open.
class HttpClient::HandlePool {
 public:
  ~HandlePool() {
    for (const Idle& idle : idle_) curl_easy_cleanup(idle.handle);
  }

  // One that was last used for that place, if there is one.
  CURL* take(const std::string& place) {
    std::lock_guard lock(mutex_);
    auto it = std::find_if(idle_.rbegin(), idle_.rend(),
                           [&](const Idle& idle) { return idle.place == place; });
    if (it == idle_.rend()) return curl_easy_init();
    CURL* handle = it->handle;
    idle_.erase(std::next(it).base());
    return handle;
  }

  void give_back(CURL* handle, std::string place) {
    curl_easy_reset(handle);
    std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdleHandles) {
      idle_.push_back({handle, std::move(place), std::chrono::steady_clock::now()});
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
    std::string place;  // scheme, host and port
    std::chrono::steady_clock::time_point since;
  };

  std::mutex mutex_;
  std::vector<Idle> idle_;  // guarded by mutex_
};

// One call: the requests it leads to, and what came back.
class HttpClient::Exchange {
 public:
  Exchange(HttpClient& client, const HttpCall& call, const HttpSink& sink, const CancelFlag& cancel)
      : client_(client),
        call_(call),
        sink_(sink),
        cancel_(cancel),
        connection_(call.url.substr(0, call.url.find('/', call.url.find("//") + 2))),
        handle_(client.handles_->take(connection_)) {
    SHOAL_CHECK(handle_ != nullptr, "curl_easy_init failed");
  }
  ~Exchange() {
    client_.handles_->give_back(handle_, connection_);
    curl_slist_free_all(request_headers_);
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  HttpAnswer run();

 private:
  Status prepare(const std::string& url);
  Status set_headers(const std::string& url);
  void set_options(const std::string& url, char* error_text);
  Status request(const std::string& url);

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  static curl_socket_t on_open_socket(void* self, curlsocktype, curl_sockaddr* address);

  HttpClient& client_;
  const HttpCall& call_;
  const HttpSink& sink_;
  const CancelFlag& cancel_;
  const std::string connection_;  // scheme, host and port
  CURL* const handle_;
  curl_slist* request_headers_ = nullptr;
  HttpPlace place_;
  bool proxied_ = false;
  HttpAnswer answer_;
  std::optional<Error> stopped_;  // why a callback ended the exchange
};

std::size_t HttpClient::Exchange::on_header(char* data, std::size_t, std::size_t size, void* self) {
  HttpHead& head = static_cast<Exchange*>(self)->answer_.head;
  std::string_view line(data, size);
  if (line.starts_with("HTTP/")) {  // also of an interim answer
    head.headers.clear();
    auto space = line.find(' ');
    head.status = space == std::string_view::npos
                      ? 0
                      : static_cast<int>(to_number(line.substr(space + 1, 3)).value_or(0));
    return size;
  }
  auto colon = line.find(':');
  if (colon != std::string_view::npos && size < kMaxHeaderLine &&
      head.headers.size() < kMaxHeaders) {
    head.headers[lower(line.substr(0, colon))] = std::string(trim(line.substr(colon + 1)));
  }
  return size;
}

std::size_t HttpClient::Exchange::on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& exchange = *static_cast<Exchange*>(self);
  HttpAnswer& answer = exchange.answer_;
  auto stop = [&](Error error) {
    exchange.stopped_ = std::move(error);
    return std::size_t{0};
  };
  Status paid = exchange.client_.limits_.received(exchange.place_.host, size, exchange.cancel_);
  if (!paid) return stop(paid.error());
  const bool good = answer.head.status >= 200 && answer.head.status < 300;
  if (!good) {  // an error page: its beginning says why
    answer.text.append(data, std::min(size, kMaxErrorText - answer.text.size()));
    return size;
  }
  if (answer.first.status == 0) answer.first = answer.head;
  if (Status taken = exchange.sink_(answer, std::as_bytes(std::span(data, size))); !taken) {
    return stop(taken.error());
  }
  return size;
}

int HttpClient::Exchange::on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(self);
  if (!exchange.cancel_.load(std::memory_order_relaxed)) return 0;
  exchange.stopped_ = Error(Errc::kCancelled, "read cancelled");
  return 1;
}

curl_socket_t HttpClient::Exchange::on_open_socket(void* self, curlsocktype,
                                                   curl_sockaddr* address) {
  auto& exchange = *static_cast<Exchange*>(self);
  // A proxy is this node's own choice, and resolves the origin's name itself.
  if (!exchange.proxied_) {
    Status allowed = exchange.client_.allow_.check_address(exchange.place_.host,
                                                           exchange.place_.port, address->addr);
    if (!allowed) {
      exchange.stopped_ = allowed.error();
      return CURL_SOCKET_BAD;
    }
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

Status HttpClient::Exchange::set_headers(const std::string& url) {
  curl_slist_free_all(request_headers_);
  request_headers_ = nullptr;
  HeaderList headers = call_.headers;
  // Credentials are for the place that was called, not for where it sends us.
  if (call_.authorize && http_place(url) == http_place(call_.url)) {
    Result<HeaderList> own = call_.authorize(call_, url);
    if (!own) return fail(own.error());
    headers.insert(headers.end(), own->begin(), own->end());
  }
  for (const auto& [name, value] : headers) {
    if (value.find_first_of("\r\n") != std::string::npos) {
      return fail(Errc::kInvalid, "a line break in the header " + name);
    }
    curl_slist* longer = curl_slist_append(request_headers_, (name + ": " + value).c_str());
    SHOAL_CHECK(longer != nullptr, "curl_slist_append failed");
    request_headers_ = longer;
  }
  return {};
}

void HttpClient::Exchange::set_options(const std::string& url, char* error_text) {
  const Options& options = client_.options_;
  curl_easy_setopt(handle_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle_, CURLOPT_PATH_AS_IS, 1L);  // what was signed is what is sent
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
  // Said always: libcurl would look into the environment by itself.
  curl_easy_setopt(handle_, CURLOPT_PROXY, proxied_ ? options.proxy.c_str() : "");
  if (!options.ca_file.empty()) {
    curl_easy_setopt(handle_, CURLOPT_CAINFO, options.ca_file.c_str());
  }
  if (call_.method == "HEAD") {
    curl_easy_setopt(handle_, CURLOPT_NOBODY, 1L);
  } else if (call_.method == "POST" || call_.method == "PUT") {
    curl_easy_setopt(handle_, CURLOPT_POST, 1L);
    curl_easy_setopt(handle_, CURLOPT_CUSTOMREQUEST, call_.method.c_str());
    curl_easy_setopt(handle_, CURLOPT_POSTFIELDS, call_.body.c_str());
    curl_easy_setopt(handle_, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(call_.body.size()));
  } else {
    SHOAL_CHECK(call_.method == "GET", "a method that is not used: " + call_.method);
  }
  curl_easy_setopt(handle_, CURLOPT_HEADERFUNCTION, &Exchange::on_header);
  curl_easy_setopt(handle_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(handle_, CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  curl_easy_setopt(handle_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(handle_, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle_, CURLOPT_XFERINFOFUNCTION, &Exchange::on_progress);
  curl_easy_setopt(handle_, CURLOPT_XFERINFODATA, this);
  curl_easy_setopt(handle_, CURLOPT_OPENSOCKETFUNCTION, &Exchange::on_open_socket);
  curl_easy_setopt(handle_, CURLOPT_OPENSOCKETDATA, this);
}

Status HttpClient::Exchange::prepare(const std::string& url) {
  std::optional<HttpPlace> place = http_place(url);
  if (!place) {
    return fail(Errc::kInvalid, "'" + without_query(url) +
                                    "' is not an http or https URL that "
                                    "can be read");
  }
  SHOAL_TRY(client_.allow_.check_host(place->host, place->port));
  place_ = std::move(*place);
  proxied_ = !client_.options_.proxy.empty() && !spared(place_.host, client_.options_.no_proxy);
  return set_headers(url);
}

Status HttpClient::Exchange::request(const std::string& url) {
  SHOAL_TRY(prepare(url));
  auto permit = client_.limits_.enter(place_.host, cancel_);
  if (!permit) return fail(permit.error());
  answer_.head = {};
  answer_.head.url = url;
  answer_.text.clear();
  char error_text[CURL_ERROR_SIZE] = "";
  set_options(url, error_text);
  CURLcode code = curl_easy_perform(handle_);
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, nullptr);
  if (stopped_) return fail(*stopped_);
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return fail(Errc::kTimedOut, "origin " + place_.host + " sent nothing for too long");
  }
  if (code != CURLE_OK) {
    return fail(Errc::kUnavailable, "origin " + place_.host + ": " +
                                        (*error_text ? error_text : curl_easy_strerror(code)));
  }
  return {};
}

HttpAnswer HttpClient::Exchange::run() {
  std::string url = call_.url;
  for (int hop = 0;; ++hop) {
    answer_.result.status = request(url);
    if (answer_.first.status == 0) answer_.first = answer_.head;
    if (!answer_.result.status) break;
    const std::string location(answer_.head.header("location"));
    const bool may_follow = call_.method == "GET" || call_.method == "HEAD";
    if (!is_redirect(answer_.head.status) || location.empty() || !may_follow) break;
    if (hop == kMaxRedirects) {
      answer_.result.status =
          fail(Errc::kUnavailable, "origin " + place_.host + " redirects too often");
      break;
    }
    std::string next = resolve_location(url, location);
    if (url.starts_with("https:") && !next.starts_with("https:")) {
      answer_.result.status = fail(Errc::kDenied, "origin redirects from https to '" +
                                                      without_query(next) + "', which is refused");
      break;
    }
    url = std::move(next);
  }
  return std::move(answer_);
}

HttpClient::HttpClient(AllowList allow, OriginLimits& limits, Options options)
    : allow_(std::move(allow)),
      limits_(limits),
      options_(std::move(options)),
      handles_(std::make_unique<HandlePool>()) {
  // Once per process and never undone: other users of libcurl may remain.
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  SHOAL_CHECK(initialised == CURLE_OK, "curl_global_init failed");
}

HttpClient::~HttpClient() = default;

void HttpClient::tidy() { handles_->tidy(); }

HttpAnswer HttpClient::send(const HttpCall& call, const HttpSink& sink, const CancelFlag& cancel) {
  return Exchange(*this, call, sink, cancel).run();
}

HttpAnswer HttpClient::document(const HttpCall& call, std::size_t most, const CancelFlag& cancel) {
  Backoff backoff(options_.retry, random_u64());
  for (;;) {
    std::string text;
    HttpSink collect = [&](const HttpAnswer& heads, std::span<const std::byte> bytes) -> Status {
      if (text.size() + bytes.size() > most) {
        return fail(Errc::kInvalid, "the answer of " + without_query(heads.head.url) +
                                        " is longer than " + std::to_string(most) + " bytes");
      }
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return {};
    };
    HttpAnswer answer = send(call, collect, cancel);
    if (answer.ok()) {
      answer.text = std::move(text);
      return answer;
    }
    OriginStatus why = answer.result.status ? http_error(answer.head) : answer.result;
    if (!worth_retrying(why.status.error().code())) return answer;
    std::optional<std::chrono::milliseconds> pause = backoff.next(why.retry_after);
    if (!pause || !sleep_unless(*pause, cancel)) return answer;
  }
}

}  // namespace shoal::agent
