#include "agent/origin/aws_credentials.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "agent/origin/s3_xml.h"
#include "agent/origin/text.h"
#include "core/base/random.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

using Clock = std::chrono::system_clock;
using Json = nlohmann::json;

constexpr std::size_t kMaxFile = 1 << 20;
constexpr std::size_t kMaxAnswer = 64 * 1024;
// A request that is signed now may be looked at a little later.
constexpr std::chrono::minutes kBeforeTheEnd{5};
constexpr std::string_view kInstanceService = "http://169.254.169.254";

// "2026-11-27T12:00:00Z", with or without fractions of a second.
std::optional<Clock::time_point> parse_time(const std::string& text) {
  struct tm parts {};
  if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return std::nullopt;
  // What a clock cannot count to does not come.
  const std::time_t seconds = ::timegm(&parts);
  const auto last = std::chrono::duration_cast<std::chrono::seconds>(Clock::duration::max());
  if (seconds < 0 || seconds >= last.count()) return std::nullopt;
  return Clock::from_time_t(seconds);
}

std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = environment.get(name); !value.empty()) return value;
  }
  return {};
}

std::string profile_name(const Environment& environment) {
  std::string name = first_of(environment, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"});
  return name.empty() ? "default" : name;
}

// A client for one host that this node's own settings name, not a publisher.
Result<std::unique_ptr<HttpClient>> client_for(const std::string& url, OriginLimits& limits,
                                               HttpClient::Options options) {
  std::optional<HttpPlace> place = http_place(url);
  if (!place) return fail(Errc::kInvalid, "'" + url + "' is not an http or https URL");
  const std::vector<std::string> entries{
      place->host.find(':') == std::string::npos ? place->host : "[" + place->host + "]"};
  Result<AllowList> allow = AllowList::parse(entries);
  if (!allow) return fail(allow.error());
  return std::make_unique<HttpClient>(std::move(*allow), limits, std::move(options));
}

std::string text_field(const Json& object, const char* name) {
  auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

std::map<std::string, std::string> parse_aws_profile(std::string_view text,
                                                     std::string_view profile,
                                                     std::string_view prefix) {
  std::map<std::string, std::string> out;
  bool inside = false;
  while (!text.empty()) {
    auto end = text.find('\n');
    std::string_view raw = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    std::string_view line = trim(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      auto close = line.find(']');
      std::string_view name =
          trim(line.substr(1, close == std::string_view::npos ? close : close - 1));
      // The default profile has no prefix in either file.
      if (name != "default" && name.starts_with(prefix)) {
        name = trim(name.substr(prefix.size()));
      } else if (name != "default") {
        name = {};
      }
      inside = name == profile;
      continue;
    }
    const bool nested = raw.front() == ' ' || raw.front() == '\t';
    auto equals = line.find('=');
    if (!inside || nested || equals == std::string_view::npos) continue;
    out[lower(trim(line.substr(0, equals)))] = std::string(trim(line.substr(equals + 1)));
  }
  return out;
}

std::string aws_region(const Environment& environment) {
  if (std::string region = first_of(environment, {"AWS_REGION", "AWS_DEFAULT_REGION"});
      !region.empty()) {
    return region;
  }
  std::string path = environment.get("AWS_CONFIG_FILE");
  if (path.empty()) path = environment.home(".aws/config");
  auto text = read_small_file(path, kMaxFile);
  if (!text || !*text) return {};
  auto profile = parse_aws_profile(**text, profile_name(environment), "profile ");
  auto it = profile.find("region");
  return it == profile.end() ? std::string() : it->second;
}

AwsCredentialChain::AwsCredentialChain(Environment environment, std::string region,
                                       OriginLimits& limits, HttpClient::Options http)
    : environment_(std::move(environment)),
      region_(std::move(region)),
      limits_(limits),
      http_(std::move(http)) {}

AwsCredentialChain::~AwsCredentialChain() = default;

AwsCredentialChain::Found AwsCredentialChain::get(const CancelFlag& cancel) {
  std::lock_guard lock(mutex_);
  const bool ends_soon = credentials_ && credentials_->expires &&
                         *credentials_->expires < Clock::now() + kBeforeTheEnd;
  if (!ends_soon && std::chrono::steady_clock::now() < good_until_) return credentials_;
  Found found = find(cancel);
  if (!found) {
    // What is still good for a few minutes is better than nothing.
    if (ends_soon && *credentials_->expires > Clock::now()) return credentials_;
    return found;
  }
  using Steady = std::chrono::steady_clock;
  good_until_ = *found ? Steady::time_point::max() : Steady::now() + kLookAgain;
  credentials_ = *found;
  return found;
}

void AwsCredentialChain::refused(const AwsCredentials& credentials) {
  std::lock_guard lock(mutex_);
  if (credentials_ && credentials_->access_key == credentials.access_key &&
      credentials_->session_token == credentials.session_token) {
    good_until_ = {};
  }
}

AwsCredentialChain::Found AwsCredentialChain::find(const CancelFlag& cancel) {
  for (auto& source : std::vector<std::function<Found()>>{
           [&] { return from_environment(); }, [&] { return from_web_identity(cancel); },
           [&] { return from_shared_file(); }, [&] { return from_instance(cancel); }}) {
    Found found = source();
    if (!found || *found) return found;
  }
  return std::nullopt;
}

AwsCredentialChain::Found AwsCredentialChain::from_environment() const {
  std::string access = environment_.get("AWS_ACCESS_KEY_ID");
  std::string secret = environment_.get("AWS_SECRET_ACCESS_KEY");
  if (access.empty() && secret.empty()) return std::nullopt;
  if (access.empty() || secret.empty()) {
    return fail(Errc::kDenied,
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both");
  }
  return AwsCredentials{access, secret, environment_.get("AWS_SESSION_TOKEN"), std::nullopt};
}

AwsCredentialChain::Found AwsCredentialChain::from_shared_file() const {
  std::string path = environment_.get("AWS_SHARED_CREDENTIALS_FILE");
  if (path.empty()) path = environment_.home(".aws/credentials");
  if (path.empty()) return std::nullopt;
  auto text = read_small_file(path, kMaxFile);
  if (!text) return fail(text.error().with_context("AWS credentials"));
  if (!*text) return std::nullopt;
  const std::string name = profile_name(environment_);
  auto profile = parse_aws_profile(**text, name);
  if (profile.empty()) {
    // Asked for by name, it must be there.
    if (first_of(environment_, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}).empty()) return std::nullopt;
    return fail(Errc::kDenied, path + " has no profile '" + name + "', which AWS_PROFILE names");
  }
  AwsCredentials found{profile["aws_access_key_id"], profile["aws_secret_access_key"],
                       profile["aws_session_token"], std::nullopt};
  if (found.access_key.empty() || found.secret_key.empty()) {
    return fail(Errc::kDenied, "profile '" + name + "' in " + path +
                                   " has no aws_access_key_id with aws_secret_access_key: other "
                                   "ways to say who one is are not understood there");
  }
  return found;
}

// STS API, "AssumeRoleWithWebIdentity".
AwsCredentialChain::Found AwsCredentialChain::from_web_identity(const CancelFlag& cancel) {
  std::string file = environment_.get("AWS_WEB_IDENTITY_TOKEN_FILE");
  std::string role = environment_.get("AWS_ROLE_ARN");
  if (file.empty() || role.empty()) return std::nullopt;
  // Read each time: whoever mounts it puts a new one there.
  auto token = read_small_file(file, kMaxAnswer);
  if (!token) return fail(token.error().with_context("AWS_WEB_IDENTITY_TOKEN_FILE"));
  if (!*token) return fail(Errc::kDenied, "AWS_WEB_IDENTITY_TOKEN_FILE: there is no " + file);
  std::string session = environment_.get("AWS_ROLE_SESSION_NAME");
  if (session.empty()) session = "shoal-" + random_hex(4);
  std::string endpoint = first_of(environment_, {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"});
  if (endpoint.empty()) {
    const bool china = region_.starts_with("cn-");
    endpoint = "https://sts." + (region_.empty() ? "us-east-1" : region_) + ".amazonaws.com" +
               (china ? ".cn" : "");
  }
  auto client = client_for(endpoint, limits_, http_);
  if (!client) return fail(client.error().with_context("the endpoint of STS"));
  HttpCall call;
  call.method = "POST";
  call.url = endpoint + (endpoint.ends_with('/') ? "" : "/");
  call.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
  call.body =
      "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=" + http::percent_encode(role) +
      "&RoleSessionName=" + http::percent_encode(session) +
      "&WebIdentityToken=" + http::percent_encode(std::string(trim(**token)));
  HttpAnswer answer = (*client)->document(call, kMaxAnswer, cancel);
  if (!answer.result.status) return fail(answer.result.status.error());
  if (!answer.ok()) {
    S3Error error = parse_s3_error(answer.text);
    return fail(answer.head.status >= 500 ? Errc::kUnavailable : Errc::kDenied,
                "STS did not give the role " + role + " for the token in " + file + ": " +
                    (error.code.empty() ? "it answered " + std::to_string(answer.head.status)
                                        : error.code + ", " + error.message));
  }
  std::optional<StsCredentials> parsed = parse_sts_credentials(answer.text);
  if (!parsed) return fail(Errc::kUnavailable, "STS gave an answer without credentials");
  return AwsCredentials{parsed->access_key, parsed->secret_key, parsed->session_token,
                        parse_time(parsed->expiration)};
}

// EC2 user guide, "Instance Metadata Service Version 2".
AwsCredentialChain::Found AwsCredentialChain::from_instance(const CancelFlag& cancel) {
  if (lower(environment_.get("AWS_EC2_METADATA_DISABLED")) == "true") return std::nullopt;
  std::string base = environment_.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (base.empty()) base = kInstanceService;
  while (base.ends_with('/')) base.pop_back();
  HttpClient::Options options = http_;
  // Where there is no such service, nothing answers at all.
  options.connect_timeout = std::chrono::milliseconds(1'000);
  options.stall_timeout = std::chrono::seconds(2);
  options.retry.attempts = 2;
  options.proxy.clear();
  auto client = client_for(base, limits_, std::move(options));
  if (!client) return fail(client.error().with_context("AWS_EC2_METADATA_SERVICE_ENDPOINT"));

  HttpCall session;
  session.method = "PUT";
  session.url = base + "/latest/api/token";
  session.headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}};
  HttpAnswer token = (*client)->document(session, kMaxAnswer, cancel);
  if (!token.result.status && token.result.status.error().code() == Errc::kCancelled) {
    return fail(token.result.status.error());
  }
  if (!token.ok()) return std::nullopt;  // not on such an instance
  HttpCall ask;
  ask.headers = {{"X-aws-ec2-metadata-token", std::string(trim(token.text))}};
  const std::string roles = base + "/latest/meta-data/iam/security-credentials/";
  ask.url = roles;
  HttpAnswer role = (*client)->document(ask, kMaxAnswer, cancel);
  if (!role.ok()) return std::nullopt;  // an instance without a role
  std::string name(trim(role.text.substr(0, role.text.find('\n'))));
  ask.url = roles + http::percent_encode(name);
  HttpAnswer given = (*client)->document(ask, kMaxAnswer, cancel);
  if (!given.result.status) return fail(given.result.status.error());
  Json json = Json::parse(given.text, nullptr, false);
  if (!given.ok() || !json.is_object() || text_field(json, "AccessKeyId").empty()) {
    return fail(Errc::kUnavailable, "the instance's metadata service gave no credentials of role " +
                                        name + " (it answered " +
                                        std::to_string(given.head.status) + ")");
  }
  return AwsCredentials{text_field(json, "AccessKeyId"), text_field(json, "SecretAccessKey"),
                        text_field(json, "Token"), parse_time(text_field(json, "Expiration"))};
}

}  // namespace shoal::agent
