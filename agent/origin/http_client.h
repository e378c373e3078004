// HTTP as origins need it: blocking exchanges on libcurl over kept connections. Redirects, the
// addresses they lead to, who gets a credential, and how much is asked of whom at once are decided
// here and nowhere else.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/origin/allow_list.h"
#include "agent/origin/origin.h"
#include "agent/origin/origin_limits.h"
#include "core/async/retry.h"
#include "core/base/result.h"

namespace shoal::agent {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Status and headers of one answer.
struct HttpHead {
  int status = 0;
  std::string url;                             // that answered
  std::map<std::string, std::string> headers;  // names in lower case, the last of equal names

  // Empty if there is none.
  std::string_view header(std::string_view lower_case_name) const;
};

struct HttpCall {
  std::string method = "GET";  // GET, HEAD, POST or PUT; the last two are not redirected
  std::string url;             // http or https, without user information
  HeaderList headers;          // sent wherever the call is redirected to: no credentials
  std::string body;            // of a POST or PUT
  // The headers that prove who asks, made for each request to the scheme, host and port that `url`
  // names; nobody else gets them. Null: none.
  std::function<Result<HeaderList>(const HttpCall&, const std::string& url)> authorize;
};

struct HttpAnswer {
  OriginStatus result;  // set if there was no answer: connection, policy, cancellation, the sink
  HttpHead head;        // of the last answer
  HttpHead first;       // of the first one, a redirect perhaps
  std::string text;     // its body where no sink took it; cut off at kMaxErrorText for an error

  bool ok() const { return result.status && head.status >= 200 && head.status < 300; }
};

// Takes the body of a 2xx answer, whose heads are known by then; bytes come in order. An error ends
// the exchange.
using HttpSink = std::function<Status(const HttpAnswer& heads, std::span<const std::byte> bytes)>;

// Thread safe: any number of exchanges at once.
class HttpClient {
 public:
  struct Options {
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::seconds stall_timeout{10};  // no byte for this long ends an exchange
    std::string user_agent = "shoal";
    std::string proxy;     // URL; empty: none
    std::string no_proxy;  // hosts and domains that are reached without it, as in $no_proxy
    std::string ca_file;   // PEM; empty: the system's
    RetryPolicy retry{.first = std::chrono::milliseconds(200), .attempts = 5};  // of documents
  };

  static constexpr std::size_t kMaxErrorText = 16 * 1024;
  static constexpr int kMaxRedirects = 5;

  // `limits` is shared by all clients of a node and must outlive this.
  HttpClient(AllowList allow, OriginLimits& limits, Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Follows at most kMaxRedirects redirects, each checked against the allow-list, none from https
  // to http; each resolved address is checked before it is connected to.
  HttpAnswer send(const HttpCall& call, const HttpSink& sink, const CancelFlag& cancel);

  // The same for a document: its body goes to `text`. Tried again, with growing pauses or after the
  // one that the server asks for, when it may succeed later. Errors: invalid if it is longer than
  // `most` bytes.
  HttpAnswer document(const HttpCall& call, std::size_t most, const CancelFlag& cancel);

  // Closes connections that have not been used for a while.
  void tidy();

 private:
  class Exchange;
  class HandlePool;

  const AllowList allow_;
  OriginLimits& limits_;
  const Options options_;
  const std::unique_ptr<HandlePool> handles_;
};

// What an answer that is not a success says to a person, by HTTP's own meaning of its status.
OriginStatus http_error(const HttpHead& head);

// "https" and "models.example" of "https://models.example/a?sig=…".
struct HttpPlace {
  std::string scheme;
  std::string host;  // without brackets
  std::uint16_t port = 0;
  friend bool operator==(const HttpPlace&, const HttpPlace&) = default;
};
// As libcurl reads it. Nothing if it is no http or https URL, or names a user.
std::optional<HttpPlace> http_place(const std::string& url);

// For messages: a query may be a signature.
std::string without_query(const std::string& url);

}  // namespace shoal::agent
