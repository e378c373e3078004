#include "agent/origin/oci_auth.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "agent/origin/credential_helper.h"
#include "agent/origin/text.h"
#include "core/base/json_shape.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr std::size_t kMaxConfig = 4 * 1024 * 1024;
constexpr std::size_t kMaxTokenAnswer = 256 * 1024;
constexpr std::size_t kMaxParameters = 16;
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxKnown = 4096;
constexpr std::chrono::seconds kHelperTimeout{20};
// Docker's "Token authentication": what a token is good for when nothing is said, and what is kept
// back so that one does not end on its way.
constexpr std::chrono::seconds kUsualLife{60};
constexpr std::chrono::seconds kMargin{10};
constexpr std::chrono::hours kLongestLife{1};

std::optional<Json> parse_object(std::string_view text) {
  if (json_shape(text).depth > kMaxDepth) return std::nullopt;
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  return json;
}

std::string text_of(const Json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string base64(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      const bool there = i + k <= bytes.size();
      out += there ? kBase64[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  unsigned bits = 0;
  unsigned held = 0;
  for (char c : text) {
    auto value = kBase64.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(bits >> held & 255);
    }
  }
  return out;
}

// As people and docker write it: with or without https://, and Docker Hub by its old URL.
std::string registry_of(std::string key) {
  for (std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.erase(0, scheme.size());
  }
  key = key.substr(0, key.find('/'));
  if (key == "docker.io" || key == "index.docker.io") key = "registry-1.docker.io";
  return lower(key);
}

bool is_token_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::string_view take_token(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && is_token_character(text[size])) ++size;
  std::string_view token = text.substr(0, size);
  text.remove_prefix(size);
  return token;
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
}

// `"…"` with backslashes, or a bare word. Nothing if the quotes do not close.
std::optional<std::string> take_value(std::string_view& text) {
  if (text.empty() || text.front() != '"') return std::string(take_token(text));
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return value;
    }
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    value += text[i];
  }
  return std::nullopt;
}

}  // namespace

std::optional<AuthChallenge> parse_challenge(std::string_view header) {
  std::vector<AuthChallenge> found;
  std::string_view rest = header;
  while (!rest.empty()) {
    skip_spaces(rest);
    if (!rest.empty() && rest.front() == ',') {
      rest.remove_prefix(1);
      continue;
    }
    std::string_view name = take_token(rest);
    if (name.empty()) break;
    skip_spaces(rest);
    if (!rest.empty() && rest.front() == '=' && !found.empty()) {  // one more parameter
      rest.remove_prefix(1);
      skip_spaces(rest);
      std::optional<std::string> value = take_value(rest);
      auto& parameters = found.back().parameters;
      if (!value || parameters.size() == kMaxParameters) break;
      parameters.emplace(lower(name), std::move(*value));
    } else {
      found.push_back({lower(name), {}});
    }
  }
  for (AuthChallenge& one : found) {
    if (one.scheme == "bearer" && !one.parameters["realm"].empty()) return std::move(one);
  }
  for (AuthChallenge& one : found) {
    if (one.scheme == "basic") return std::move(one);
  }
  return std::nullopt;
}

Result<DockerConfig> DockerConfig::parse(std::string_view text) {
  std::optional<Json> json = parse_object(text);
  if (!json) return fail(Errc::kInvalid, "not a JSON object");
  DockerConfig config;
  config.store_ = text_of(*json, "credsStore");
  if (auto it = json->find("credHelpers"); it != json->end() && it->is_object()) {
    for (const auto& [registry, helper] : it->items()) {
      if (helper.is_string()) config.helpers_[registry_of(registry)] = helper.get<std::string>();
    }
  }
  auto auths = json->find("auths");
  if (auths == json->end() || !auths->is_object()) return config;
  for (const auto& [registry, entry] : auths->items()) {
    if (!entry.is_object()) continue;
    RegistryLogin login{text_of(entry, "username"), text_of(entry, "password"),
                        text_of(entry, "identitytoken")};
    if (std::string encoded = text_of(entry, "auth"); !encoded.empty()) {
      std::optional<std::string> pair = from_base64(encoded);
      auto colon = pair ? pair->find(':') : std::string::npos;
      if (colon == std::string::npos) {
        return fail(Errc::kInvalid, "'auth' of " + registry + " is not base64 of user:password");
      }
      login.user = pair->substr(0, colon);
      login.password = pair->substr(colon + 1);
    }
    if (!login.empty()) config.logins_[registry_of(registry)] = std::move(login);
  }
  return config;
}

std::optional<RegistryLogin> DockerConfig::login(const std::string& registry) const {
  auto it = logins_.find(registry_of(registry));
  if (it == logins_.end()) return std::nullopt;
  return it->second;
}

std::string DockerConfig::helper(const std::string& registry) const {
  auto it = helpers_.find(registry_of(registry));
  return it == helpers_.end() ? store_ : it->second;
}

Result<RegistryLogin> parse_helper_answer(std::string_view text) {
  std::optional<Json> json = parse_object(text);
  if (!json) return fail(Errc::kInvalid, "the credential helper's answer is not a JSON object");
  std::string user = text_of(*json, "Username");
  std::string secret = text_of(*json, "Secret");
  if (user == "<token>") return RegistryLogin{"", "", secret};
  return RegistryLogin{user, secret, ""};
}

RegistryAuth::RegistryAuth(std::string file, Environment environment, HttpClient& client)
    : file_(std::move(file)), environment_(std::move(environment)), client_(client) {}

Result<RegistryLogin> RegistryAuth::login(const std::string& registry) const {
  std::vector<std::string> files;
  if (!file_.empty()) {
    files.push_back(file_);
  } else {
    if (std::string podman = environment_.get("REGISTRY_AUTH_FILE"); !podman.empty()) {
      files.push_back(podman);
    }
    std::string folder = environment_.get("DOCKER_CONFIG");
    if (folder.empty()) folder = environment_.home(".docker");
    if (!folder.empty()) files.push_back(folder + "/config.json");
    if (std::string runtime = environment_.get("XDG_RUNTIME_DIR"); !runtime.empty()) {
      files.push_back(runtime + "/containers/auth.json");
    }
  }
  for (const std::string& file : files) {
    auto text = read_small_file(file, kMaxConfig);
    if (!text) return fail(text.error());
    if (!*text) continue;
    Result<DockerConfig> config = DockerConfig::parse(**text);
    if (!config) return fail(config.error().with_context(file));
    if (std::string helper = config->helper(registry); !helper.empty()) {
      // Docker Hub is known to helpers by its old URL.
      const bool hub = registry == "registry-1.docker.io";
      auto answer = run_credential_helper(helper, hub ? "https://index.docker.io/v1/" : registry,
                                          kHelperTimeout);
      if (answer) return parse_helper_answer(*answer);
      if (answer.error().code() != Errc::kNotFound) return fail(answer.error());
    }
    if (std::optional<RegistryLogin> login = config->login(registry)) return *login;
  }
  return RegistryLogin{};
}

std::string RegistryAuth::header(const std::string& registry, const std::string& repository) {
  std::lock_guard lock(mutex_);
  auto it = known_.find({registry, repository});
  if (it == known_.end()) return {};
  if (it->second.until > Clock::now()) return it->second.header;
  known_.erase(it);
  return {};
}

Result<std::string> RegistryAuth::answer(const std::string& registry, const std::string& repository,
                                         const std::string& sent, const HttpHead& refusal,
                                         const CancelFlag& cancel) {
  {
    std::lock_guard lock(mutex_);
    auto it = known_.find({registry, repository});
    // Another request has fetched a new one meanwhile.
    if (it != known_.end() && it->second.header != sent && it->second.until > Clock::now()) {
      return it->second.header;
    }
    if (it != known_.end()) known_.erase(it);
  }
  Result<RegistryLogin> login = this->login(registry);
  if (!login) return fail(login.error());
  std::optional<AuthChallenge> challenge = parse_challenge(refusal.header("www-authenticate"));
  Known known{"", Clock::now() + kLongestLife};
  if (challenge && challenge->scheme == "bearer") {
    Result<std::string> header =
        fetch_token(*challenge, refusal.url, registry, repository, *login, known, cancel);
    if (!header) return header;
    known.header = std::move(*header);
  } else if (challenge && !login->user.empty()) {
    known.header = "Basic " + base64(login->user + ":" + login->password);
  }
  if (known.header.empty() || known.header == sent) {
    return fail(this->refusal(registry, repository, refusal.status));
  }
  std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[{registry, repository}] = known;
  return known.header;
}

Error RegistryAuth::refusal(const std::string& registry, const std::string& repository,
                            int status) const {
  Result<RegistryLogin> login = this->login(registry);
  const bool known = login && !login->empty();
  return {Errc::kDenied,
          "registry " + registry + " answers " + std::to_string(status) + " for " + repository +
              (known ? ": this node's login for it is refused, or has no right to " + repository
                     : ": this node has no login for it (docker login " + registry + ")")};
}

Result<std::string> RegistryAuth::fetch_token(const AuthChallenge& challenge,
                                              const std::string& refusal_url,
                                              const std::string& registry,
                                              const std::string& repository,
                                              const RegistryLogin& login, Known& known,
                                              const CancelFlag& cancel) {
  auto parameter = [&](const char* name) {
    auto it = challenge.parameters.find(name);
    return it == challenge.parameters.end() ? std::string() : it->second;
  };
  const std::string realm = parameter("realm");
  const std::string service = parameter("service");
  std::optional<HttpPlace> place = http_place(realm);
  if (!place) {
    return fail(Errc::kDenied, "registry " + registry +
                                   " sends its users to a place that is no "
                                   "http or https URL");
  }
  if (refusal_url.starts_with("https:") && place->scheme != "https") {
    return fail(Errc::kDenied, "registry " + registry +
                                   " wants this node's login sent without "
                                   "encryption, to " +
                                   without_query(realm));
  }
  std::string scope = parameter("scope");
  if (scope.empty()) scope = "repository:" + repository + ":pull";
  HttpCall call;
  if (!login.identity_token.empty()) {
    call.method = "POST";
    call.url = realm;
    call.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    call.body =
        "grant_type=refresh_token&client_id=shoal&service=" + http::percent_encode(service) +
        "&scope=" + http::percent_encode(scope) +
        "&refresh_token=" + http::percent_encode(login.identity_token);
  } else {
    call.url = realm + (realm.find('?') == std::string::npos ? "?" : "&") +
               "service=" + http::percent_encode(service) + "&scope=" + http::percent_encode(scope);
    if (!login.user.empty()) {
      const std::string header = "Basic " + base64(login.user + ":" + login.password);
      call.authorize = [header](const HttpCall&, const std::string&) -> Result<HeaderList> {
        return HeaderList{{"Authorization", header}};
      };
    }
  }
  HttpAnswer answer = client_.document(call, kMaxTokenAnswer, cancel);
  if (!answer.result.status) {
    return fail(answer.result.status.error().with_context("the token service of " + registry));
  }
  if (!answer.ok()) {
    const bool denied = answer.head.status == 401 || answer.head.status == 403;
    return fail(
        denied ? Errc::kDenied : Errc::kUnavailable,
        "the token service of " + registry + " answers " + std::to_string(answer.head.status) +
            (login.empty() ? ": this node has no login for it (docker login " + registry + ")"
                           : ": this node's login is refused"));
  }
  std::optional<Json> json = parse_object(answer.text);
  std::string token = json ? text_of(*json, "token") : "";
  if (json && token.empty()) token = text_of(*json, "access_token");
  if (token.empty()) {
    return fail(Errc::kUnavailable, "the token service of " + registry + " gave no token");
  }
  std::chrono::seconds life = kUsualLife;
  if (auto it = json->find("expires_in"); it != json->end() && it->is_number_unsigned()) {
    life = std::chrono::seconds(std::min<std::uint64_t>(
        it->get<std::uint64_t>(), std::chrono::seconds(kLongestLife).count()));
  }
  known.until =
      Clock::now() + std::max<std::chrono::seconds>(life - kMargin, std::chrono::seconds(1));
  return "Bearer " + token;
}

}  // namespace shoal::agent
