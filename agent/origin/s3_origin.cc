#include "agent/origin/s3_origin.h"

#include <algorithm>
#include <utility>

#include "agent/origin/text.h"
#include "core/content/manifest.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxBuckets = 1024;  // whose region is remembered
constexpr int kMaxPages = 1000;
constexpr std::size_t kPageSize = 1000;

// S3 user guide, "Bucket naming rules", without what only new buckets must obey.
bool valid_bucket(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_';
         });
}

bool is_host_name(std::string_view bucket) {
  return std::all_of(bucket.begin(), bucket.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// Every reserved character but the slash: what is signed must have one spelling.
std::string encode_key(std::string_view key) {
  std::string out;
  for (;;) {
    auto slash = key.find('/');
    out += http::percent_encode(key.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    out += '/';
    key.remove_prefix(slash + 1);
  }
}

OriginStatus failed(Error error) { return {fail(std::move(error)), {}}; }

}  // namespace

S3Settings S3Settings::with(S3Settings given, const Environment& environment) {
  if (given.endpoint.empty()) given.endpoint = environment.get("AWS_ENDPOINT_URL_S3");
  if (given.endpoint.empty()) given.endpoint = environment.get("AWS_ENDPOINT_URL");
  while (given.endpoint.ends_with('/')) given.endpoint.pop_back();
  if (given.region.empty()) given.region = aws_region(environment);
  return given;
}

Result<S3Place> parse_s3_url(std::string_view url) {
  constexpr std::string_view kScheme = "s3://";
  auto bad = [&](std::string_view why) {
    return fail(Errc::kInvalid, "'" + content::escape_for_message(url, 200) +
                                    "': " + std::string(why) + "; write s3://bucket/prefix");
  };
  if (!url.starts_with(kScheme)) return bad("not an S3 URL");
  std::string_view rest = url.substr(kScheme.size());
  if (rest.find_first_of("?#") != std::string_view::npos) {
    return bad("neither a query nor a fragment is understood (write %3F and %23 in a key)");
  }
  auto slash = rest.find('/');
  S3Place place;
  place.bucket = std::string(rest.substr(0, slash));
  if (!valid_bucket(place.bucket)) return bad("not a bucket's name");
  if (slash != std::string_view::npos) {
    Result<std::string> key = http::percent_decode(rest.substr(slash + 1));
    if (!key) return bad(key.error().message());
    place.key = std::move(*key);
  }
  return place;
}

std::string s3_url(const std::string& bucket, const std::string& key) {
  return "s3://" + bucket + "/" + http::percent_encode_path(key);
}

std::string s3_endpoint_url(const S3Settings& settings, const std::string& region,
                            const std::string& bucket, const std::string& key) {
  const bool china = region.starts_with("cn-");
  const std::string base = settings.endpoint.empty()
                               ? "https://s3." + region + ".amazonaws.com" + (china ? ".cn" : "")
                               : settings.endpoint;
  using Addressing = S3Settings::Addressing;
  // A certificate for *.s3… does not cover a name with dots, and other servers seldom have one.
  const bool by_host = settings.addressing == Addressing::kVirtual ||
                       (settings.addressing == Addressing::kAuto && settings.endpoint.empty() &&
                        is_host_name(bucket));
  const auto host = base.find("//") + 2;
  if (by_host) {
    return base.substr(0, host) + bucket + "." + base.substr(host) + "/" + encode_key(key);
  }
  return base + "/" + bucket + (key.empty() ? "" : "/" + encode_key(key));
}

const std::vector<std::string>& S3Origin::usual_hosts() {
  static const std::vector<std::string> hosts{"*.amazonaws.com", "*.amazonaws.com.cn"};
  return hosts;
}

S3Origin::S3Origin(S3Settings settings, std::unique_ptr<HttpClient> client,
                   std::unique_ptr<AwsCredentialChain> credentials)
    : settings_(std::move(settings)),
      client_(std::move(client)),
      credentials_(std::move(credentials)) {}

S3Origin::~S3Origin() = default;

void S3Origin::tidy() { client_->tidy(); }

Result<S3Origin::Attempt> S3Origin::prepare(const std::string& bucket, const CancelFlag& cancel) {
  auto credentials = credentials_->get(cancel);
  if (!credentials) return fail(credentials.error());
  Attempt attempt{std::move(*credentials), settings_.region};
  std::lock_guard lock(mutex_);
  if (auto it = regions_.find(bucket); it != regions_.end()) attempt.region = it->second;
  if (attempt.region.empty()) attempt.region = "us-east-1";
  return attempt;
}

HttpCall S3Origin::call_for(const Attempt& attempt, const std::string& bucket,
                            const std::string& key, const std::string& query) const {
  HttpCall call;
  call.url = s3_endpoint_url(settings_, attempt.region, bucket, key);
  if (!query.empty()) call.url += "?" + query;
  if (attempt.credentials) {
    call.authorize = [attempt](const HttpCall& made, const std::string& url) -> Result<HeaderList> {
      return sign_aws_request(made.method, url, made.body, *attempt.credentials,
                              {attempt.region, "s3"}, std::chrono::system_clock::now());
    };
  }
  return call;
}

HttpFile S3Origin::file_for(const Attempt& attempt, const S3Place& place) const {
  HttpFile file;
  file.call = call_for(attempt, place.bucket, place.key, "");
  file.version = [](const HttpHead& head, const HttpHead&) { return version_of(head); };
  return file;
}

// Whether the same call may succeed now: the bucket said where it is, or the credentials ended.
bool S3Origin::learn(const Attempt& attempt, const std::string& bucket, const HttpAnswer& answer) {
  if (!answer.result.status || answer.ok()) return false;
  S3Error error = parse_s3_error(answer.text);
  std::string region(answer.head.header("x-amz-bucket-region"));
  if (region.empty()) region = error.region;
  const bool elsewhere = answer.head.status == 301 || answer.head.status == 307 ||
                         error.code == "AuthorizationHeaderMalformed";
  if (elsewhere && !region.empty() && region != attempt.region && is_host_name(region)) {
    std::lock_guard lock(mutex_);
    if (regions_.size() >= kMaxBuckets) regions_.clear();
    regions_[bucket] = region;
    return true;
  }
  const bool stale = error.code == "ExpiredToken" || error.code == "InvalidToken" ||
                     error.code == "InvalidAccessKeyId" || error.code == "TokenRefreshRequired";
  if (!stale || !attempt.credentials) return false;
  credentials_->refused(*attempt.credentials);
  return true;
}

OriginStatus S3Origin::error_of(const Attempt& attempt, const HttpAnswer& answer) const {
  if (!answer.result.status) return answer.result;
  S3Error error = parse_s3_error(answer.text);
  OriginStatus usual = http_error(answer.head);
  if (error.code.empty()) return usual;
  const std::string said = "S3 refuses " + without_query(answer.head.url) + ": " + error.code +
                           (error.message.empty() ? "" : " (" + error.message + ")");
  auto denied = [&](std::string_view advice) {
    return failed(Error(Errc::kDenied, said + ". " + std::string(advice)));
  };
  if (error.code == "ExpiredToken" || error.code == "TokenRefreshRequired") {
    return denied("The session token of this node's credentials has ended: renew it");
  }
  if (error.code == "InvalidAccessKeyId" || error.code == "InvalidToken") {
    return denied(
        "S3 does not know this node's access key: look at AWS_ACCESS_KEY_ID or the "
        "profile it comes from, and at the endpoint");
  }
  if (error.code == "SignatureDoesNotMatch") {
    return denied("The secret key does not belong to the access key " +
                  (attempt.credentials ? attempt.credentials->access_key : "") +
                  ", or a proxy changes requests");
  }
  if (error.code == "RequestTimeTooSkewed") return denied("Set this node's clock");
  if (error.code == "AccessDenied" && !attempt.credentials) {
    return denied(
        "This node has no AWS credentials (environment, web identity, shared file and "
        "instance role were looked at), and the bucket is not public");
  }
  if (error.code == "SlowDown" || error.code == "ServiceUnavailable" ||
      error.code == "TooManyRequests") {
    return {fail(Errc::kOverloaded, said), usual.retry_after};
  }
  return {fail(usual.status.error().code(), said), usual.retry_after};
}

// Calls `ask_once(attempt, answer)` once, and once more if the answer taught how to do better.
template <typename Ask>
OriginStatus S3Origin::ask(const std::string& bucket, const CancelFlag& cancel, Ask ask_once) {
  for (bool again = true;; again = false) {
    Result<Attempt> attempt = prepare(bucket, cancel);
    if (!attempt) return failed(attempt.error());
    HttpAnswer answer;
    OriginStatus status = ask_once(*attempt, answer);
    if (status.status || !again || !learn(*attempt, bucket, answer)) return status;
  }
}

OriginStatus S3Origin::list_page(const S3Place& place, const std::string& prefix,
                                 const std::string& token, S3Page& page, const CancelFlag& cancel) {
  std::string query = "encoding-type=url&list-type=2&max-keys=" + std::to_string(kPageSize) +
                      "&prefix=" + http::percent_encode(prefix);
  if (!token.empty()) query += "&continuation-token=" + http::percent_encode(token);
  return ask(place.bucket, cancel, [&](const Attempt& attempt, HttpAnswer& answer) -> OriginStatus {
    answer = client_->document(call_for(attempt, place.bucket, "", query), kMaxS3Page, cancel);
    if (!answer.ok()) return error_of(attempt, answer);
    Result<S3Page> parsed = parse_s3_page(answer.text);
    if (!parsed) return failed(parsed.error().with_context("bucket " + place.bucket));
    page = std::move(*parsed);
    return {};
  });
}

OriginStatus S3Origin::list(const OriginQuery& query, OriginListing& found,
                            const CancelFlag& cancel) {
  Result<S3Place> place = parse_s3_url(query.source);
  if (!place) return failed(place.error());
  // "a" is the folder a/, or, if there is no such folder, the object a.
  std::string folder = place->key;
  if (!folder.empty() && !folder.ends_with('/')) folder += '/';
  found.source = s3_url(place->bucket, place->key);
  auto take = [&](const S3Page::Object& object, std::string_view name) -> Status {
    // A folder that somebody made by hand is an empty object with a slash at its end.
    if (name.empty() || (name.ends_with('/') && object.size == 0)) return {};
    return found.add(query, name, {s3_url(place->bucket, object.key), object.size, object.etag});
  };
  std::string token;
  for (int pages = 0;; ++pages) {
    if (pages == kMaxPages) {
      return failed(Error(Errc::kInvalid, "the listing of " + found.source + " does not end"));
    }
    S3Page page;
    OriginStatus listed = list_page(*place, folder, token, page, cancel);
    if (!listed.status) return listed;
    for (const S3Page::Object& object : page.objects) {
      if (!object.key.starts_with(folder)) continue;
      Status taken = take(object, std::string_view(object.key).substr(folder.size()));
      if (!taken) return failed(taken.error());
    }
    if (page.next.empty()) break;
    token = page.next;
  }
  if (found.files.empty() && !place->key.empty() && !place->key.ends_with('/')) {
    OriginFile file;
    OriginStatus probed = probe(found.source, file, cancel);
    if (probed.status) {
      auto slash = place->key.rfind('/');
      Status taken =
          take({place->key, file.size, file.version},
               std::string_view(place->key).substr(slash == std::string::npos ? 0 : slash + 1));
      if (!taken) return failed(taken.error());
    } else if (probed.status.error().code() != Errc::kNotFound) {
      return probed;
    }
  }
  return {found.finish(), {}};
}

OriginStatus S3Origin::probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) {
  Result<S3Place> place = parse_s3_url(url);
  if (!place) return failed(place.error());
  file.url = url;
  return ask(place->bucket, cancel, [&](const Attempt& attempt, HttpAnswer& answer) {
    HttpFile asked = file_for(attempt, *place);
    asked.error = [&](const HttpAnswer& refused) {
      answer = refused;
      return error_of(attempt, refused);
    };
    return probe_http_file(*client_, asked, file, cancel);
  });
}

OriginStatus S3Origin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                            const CancelFlag& cancel) {
  Result<S3Place> place = parse_s3_url(file.url);
  if (!place) return failed(place.error());
  return ask(place->bucket, cancel, [&](const Attempt& attempt, HttpAnswer& answer) {
    HttpFile asked = file_for(attempt, *place);
    asked.error = [&](const HttpAnswer& refused) {
      answer = refused;
      return error_of(attempt, refused);
    };
    return read_http_file(*client_, std::move(asked), file.version, range, sink, cancel);
  });
}

}  // namespace shoal::agent
