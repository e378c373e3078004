// Who this node is at a container registry: credentials from Docker's configuration and its
// helpers, and the tokens that registries ask to be fetched for them. OCI distribution spec;
// Docker's "Token authentication".
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "agent/origin/environment.h"
#include "agent/origin/http_client.h"

namespace shoal::agent {

struct RegistryLogin {
  std::string user;
  std::string password;
  std::string identity_token;  // instead of both
  bool empty() const { return user.empty() && identity_token.empty(); }
};

// What a WWW-Authenticate header asks for (RFC 9110 section 11.6.1).
struct AuthChallenge {
  std::string scheme;  // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;
};
// The first challenge of a scheme that is understood; nothing if there is none.
std::optional<AuthChallenge> parse_challenge(std::string_view header);

// Docker's config.json. Pure.
class DockerConfig {
 public:
  // Errors: invalid.
  static Result<DockerConfig> parse(std::string_view json);
  // The login stored for a registry in the file itself.
  std::optional<RegistryLogin> login(const std::string& registry) const;
  // The helper to ask about a registry: "ecr-login" for docker-credential-ecr-login. Empty: none.
  std::string helper(const std::string& registry) const;

 private:
  std::map<std::string, RegistryLogin> logins_;
  std::map<std::string, std::string> helpers_;
  std::string store_;
};

// The answer of `docker-credential-… get`. Errors: invalid.
Result<RegistryLogin> parse_helper_answer(std::string_view json);

// Thread safe.
class RegistryAuth {
 public:
  // `file`: a Docker config.json; empty: where Docker and Podman keep theirs. `client` is borrowed.
  RegistryAuth(std::string file, Environment environment, HttpClient& client);

  // What to send to read `repository`: an Authorization header's value, known from before; empty if
  // none is needed as far as is known.
  std::string header(const std::string& registry, const std::string& repository);

  // The registry refused (401, or 403 with an old token) with that challenge, after `sent` was
  // sent: gets what it asks for. Errors: denied (there is nothing else to try: the message says
  // what to do), and those of the exchange.
  Result<std::string> answer(const std::string& registry, const std::string& repository,
                             const std::string& sent, const HttpHead& refusal,
                             const CancelFlag& cancel);

  // What a refusal means to a person, when there is nothing else to try.
  Error refusal(const std::string& registry, const std::string& repository, int status) const;

  // Found for a registry; empty if there is none. Errors: a file or helper that is of no use.
  Result<RegistryLogin> login(const std::string& registry) const;

 private:
  struct Known {
    std::string header;
    std::chrono::steady_clock::time_point until;
  };
  using Key = std::pair<std::string, std::string>;  // registry, repository

  Result<std::string> fetch_token(const AuthChallenge& challenge, const std::string& refusal_url,
                                  const std::string& registry, const std::string& repository,
                                  const RegistryLogin& login, Known& known,
                                  const CancelFlag& cancel);

  const std::string file_;
  const Environment environment_;
  HttpClient& client_;
  std::mutex mutex_;
  std::map<Key, Known> known_;  // guarded by mutex_
};

}  // namespace shoal::agent
