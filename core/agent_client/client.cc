#include "core/agent_client/client.h"

#include <utility>

#include "core/agent_client/connection.h"
#include "core/agent_client/parse.h"
#include "core/agent_client/request_json.h"
#include "core/base/percent.h"

namespace shoal::agent_client {
namespace {

// Listing a large bucket, storing tables at the tracker and unlinking many blobs take longer than
// an ordinary call.
constexpr std::chrono::minutes kSlowCall{5};

std::string with_wait(std::string target, std::chrono::milliseconds wait) {
  char separator = target.find('?') == std::string::npos ? '?' : '&';
  return target + separator + "wait=" + std::to_string(wait.count());
}

}  // namespace

class Client::Impl {
 public:
  explicit Impl(Options options) : options_(std::move(options)) {}

  struct Call {
    std::string_view method = "GET";
    std::string target = {};
    std::string body = {};
    int fd = -1;
    std::chrono::milliseconds extra{0};
  };

  // The answer whatever its status.
  Result<Answer> exchange(const Call& call) {
    TimePoint deadline = std::chrono::steady_clock::now() + options_.timeout + call.extra;
    Exchange request{format(call), call.fd};
    bool repeatable = call.method == "GET" || call.method == "DELETE";
    for (bool retried = false;; retried = true) {
      bool fresh = false;
      if (!connection_ || !connection_->usable()) {
        connection_.reset();
        Result<Connection> opened = Connection::open(options_.socket, options_.cancel_fd, deadline);
        if (!opened) return fail(opened.error());
        connection_ = std::make_unique<Connection>(std::move(*opened));
        ++generation_;
        fresh = true;
      }
      bool nothing_received = false;
      Result<Answer> answer = connection_->exchange(request, deadline, &nothing_received);
      if (answer) return answer;
      Error error = answer.error();
      connection_.reset();
      // The agent may close an idle connection at the moment it is used again.
      if (error.code() == Errc::kUnavailable && nothing_received && !fresh && repeatable &&
          !retried) {
        continue;
      }
      return fail(std::move(error));
    }
  }

  // The answer if its status is a success, else the error it carries.
  Result<Answer> call(const Call& call) {
    Result<Answer> answer = exchange(call);
    if (!answer) return answer;
    if (answer->status >= 200 && answer->status < 300) return answer;
    return fail(parse_error(answer->status, answer->body));
  }

  template <typename T>
  Result<T> ask(const Call& request, Result<T> (*parse)(std::string_view)) {
    Result<Answer> answer = call(request);
    if (!answer) return fail(answer.error());
    return parse(answer->body);
  }

  Status tell(const Call& request) {
    SHOAL_TRY(call(request));
    return {};
  }

  std::uint64_t generation() const { return generation_; }

 private:
  std::string format(const Call& call) const {
    std::string out(call.method);
    out += " " + call.target + " HTTP/1.1\r\nHost: agent\r\n";
    if (!options_.pull_id.empty()) out += "Shoal-Pull-Id: " + options_.pull_id + "\r\n";
    if (!call.body.empty()) out += "Content-Type: application/json\r\n";
    if (!call.body.empty() || call.method == "POST" || call.method == "PUT") {
      out += "Content-Length: " + std::to_string(call.body.size()) + "\r\n";
    }
    return out + "\r\n" + call.body;
  }

  const Options options_;
  std::unique_ptr<Connection> connection_;
  std::uint64_t generation_ = 0;
};

Client::Client(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<AgentStatus> Client::status() { return impl_->ask({.target = "/v1/status"}, parse_status); }

Result<std::vector<BlobInfo>> Client::blobs() {
  return impl_->ask({.target = "/v1/blobs"}, parse_blobs);
}

Result<OriginListing> Client::list_origin(const OriginQuery& query) {
  return impl_->ask(
      {.method = "POST", .target = "/v1/listings", .body = listing_json(query), .extra = kSlowCall},
      parse_listing);
}

Result<std::string> Client::start_ingest(const OriginFile& file, IngestMode mode) {
  return impl_->ask({.method = "POST", .target = "/v1/ingests", .body = ingest_json(mode, file)},
                    parse_job);
}

Result<std::string> Client::start_ingest(int fd, IngestMode mode,
                                         const std::filesystem::path& path) {
  return impl_->ask({.method = "POST",
                     .target = "/v1/ingests",
                     .body = ingest_json(mode, path.string()),
                     .fd = fd},
                    parse_job);
}

Result<IngestState> Client::ingest(std::string_view job, std::chrono::milliseconds wait) {
  return impl_->ask(
      {.target = with_wait("/v1/ingests/" + percent_encode(job), wait), .extra = wait},
      parse_ingest);
}

Status Client::cancel_ingest(std::string_view job) {
  return impl_->tell({.method = "DELETE", .target = "/v1/ingests/" + percent_encode(job)});
}

Result<std::string> Client::start_publication(const PublicationRequest& request) {
  return impl_->ask(
      {.method = "POST", .target = "/v1/publications", .body = publication_json(request)},
      parse_publication_id);
}

Result<PublicationState> Client::publication(std::string_view id, std::chrono::milliseconds wait) {
  return impl_->ask(
      {.target = with_wait("/v1/publications/" + percent_encode(id), wait), .extra = wait},
      parse_publication);
}

Status Client::cancel_publication(std::string_view id) {
  return impl_->tell({.method = "DELETE", .target = "/v1/publications/" + percent_encode(id)});
}

Result<content::Digest> Client::publish(const PublishRequest& request) {
  return impl_->ask({.method = "POST",
                     .target = "/v1/publish",
                     .body = publish_json(request),
                     .extra = kSlowCall},
                    parse_published);
}

Result<PullStarted> Client::start_pull(std::string_view reference, bool pin, PullClass pull_class) {
  return impl_->ask(
      {.method = "POST", .target = "/v1/pulls", .body = pull_json(reference, pin, pull_class)},
      parse_pull_started);
}

Result<PullProgress> Client::pull(std::string_view pull, std::uint64_t since,
                                  std::chrono::milliseconds wait) {
  std::string target = "/v1/pulls/" + percent_encode(pull) + "?since=" + std::to_string(since);
  return impl_->ask({.target = with_wait(std::move(target), wait), .extra = wait},
                    parse_pull_progress);
}

Status Client::cancel_pull(std::string_view pull) {
  return impl_->tell({.method = "DELETE", .target = "/v1/pulls/" + percent_encode(pull)});
}

Result<OpenedBlob> Client::open(const content::Digest& digest) {
  Result<Answer> answer =
      impl_->call({.method = "POST", .target = "/v1/open", .body = digest_json(digest)});
  if (!answer) return fail(answer.error());
  Result<OpenedBlob> opened = parse_opened(answer->body);
  if (!opened) return opened;
  if (answer->fds.size() != 2) {
    return fail(Errc::kCorrupt, "the agent sent " + std::to_string(answer->fds.size()) +
                                    " descriptors where two belong");
  }
  opened->data = std::move(answer->fds[0]);
  opened->ready = std::move(answer->fds[1]);
  return opened;
}

Status Client::want(const Want& want) {
  return impl_->tell({.method = "POST", .target = "/v1/want", .body = want_json(want)});
}

Result<std::vector<Pinned>> Client::pin(std::string_view target) {
  return impl_->ask({.method = "POST", .target = "/v1/pin", .body = target_json(target)},
                    parse_pinned);
}

Result<std::vector<Pinned>> Client::unpin(std::string_view target) {
  return impl_->ask({.method = "POST", .target = "/v1/unpin", .body = target_json(target)},
                    parse_pinned);
}

Result<std::string> Client::start_verify(std::string_view reference) {
  return impl_->ask({.method = "POST", .target = "/v1/verify", .body = target_json(reference)},
                    parse_job);
}

Result<VerifyState> Client::verify(std::string_view job, std::chrono::milliseconds wait) {
  return impl_->ask({.target = with_wait("/v1/verify/" + percent_encode(job), wait), .extra = wait},
                    parse_verify);
}

Result<GcResult> Client::gc(bool dry_run, std::optional<std::uint64_t> target_bytes) {
  return impl_->ask({.method = "POST",
                     .target = "/v1/gc",
                     .body = gc_json(dry_run, target_bytes),
                     .extra = kSlowCall},
                    parse_gc);
}

Result<Explanation> Client::explain(std::string_view reference) {
  return impl_->ask({.target = "/v1/explain?reference=" + percent_encode(reference)},
                    parse_explanation);
}

Result<RawAnswer> Client::forward(std::string_view method, std::string_view target,
                                  std::string_view body, std::chrono::milliseconds wait) {
  constexpr std::string_view kPrefix = "/v1/";
  if (!target.starts_with(kPrefix)) {
    return fail(Errc::kInvalid, "not a request of the tracker's API: " + std::string(target));
  }
  Result<Answer> answer =
      impl_->exchange({.method = method,
                       .target = "/v1/tracker/" + std::string(target.substr(kPrefix.size())),
                       .body = std::string(body),
                       .extra = wait});
  if (!answer) return fail(answer.error());
  return RawAnswer{answer->status, std::move(answer->content_type), std::move(answer->body)};
}

std::uint64_t Client::generation() const { return impl_->generation(); }

}  // namespace shoal::agent_client
