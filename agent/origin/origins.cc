#include "agent/origin/origins.h"

#include <set>
#include <utility>

#include "agent/origin/directory_origin.h"
#include "agent/origin/hf_origin.h"
#include "agent/origin/http_origin.h"
#include "agent/origin/text.h"

namespace shoal::agent {
namespace {

// The operator's list, what the kind usually needs, and the endpoint that this node was told to
// use.
Result<AllowList> list_for(const AllowList& allow, const std::vector<std::string>& usual,
                           const std::string& endpoint, std::string_view called) {
  AllowList list = allow.with_public(usual);
  if (endpoint.empty()) return list;
  std::optional<HttpPlace> place = http_place(endpoint);
  if (!place) {
    return fail(Errc::kInvalid,
                std::string(called) + ": '" + endpoint + "' is not an http or https URL");
  }
  list.add_host(place->host);
  return list;
}

// Like curl: the variables' lower-case names first.
std::string variable(const Environment& environment, const std::string& name) {
  std::string value = environment.get(name);
  if (!value.empty()) return value;
  std::string upper = name;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return environment.get(upper);
}

}  // namespace

Result<std::unique_ptr<Origins>> Origins::make(OriginSettings settings, Environment environment) {
  std::unique_ptr<Origins> out(new Origins(settings.limits));
  HttpClient::Options http = settings.http;
  if (http.proxy.empty()) http.proxy = variable(environment, "https_proxy");
  if (http.no_proxy.empty()) http.no_proxy = variable(environment, "no_proxy");
  OriginLimits& limits = out->limits_;
  auto client = [&](AllowList list) {
    return std::make_unique<HttpClient>(std::move(list), limits, http);
  };

  out->origins_.push_back(std::make_unique<DirectoryOrigin>(settings.allow));
  out->origins_.push_back(std::make_unique<HttpOrigin>(client(settings.allow)));

  S3Settings s3 = S3Settings::with(settings.s3, environment);
  auto s3_list = list_for(settings.allow, S3Origin::usual_hosts(), s3.endpoint, "s3-endpoint");
  if (!s3_list) return fail(s3_list.error());
  auto chain = std::make_unique<AwsCredentialChain>(environment, s3.region, limits, http);
  out->origins_.push_back(
      std::make_unique<S3Origin>(s3, client(std::move(*s3_list)), std::move(chain)));

  std::string hub = HfOrigin::endpoint_of(environment);
  auto hub_list = list_for(settings.allow, HfOrigin::usual_hosts(),
                           environment.get("HF_ENDPOINT").empty() ? "" : hub, "HF_ENDPOINT");
  if (!hub_list) return fail(hub_list.error());
  out->origins_.push_back(
      std::make_unique<HfOrigin>(hub, environment, client(std::move(*hub_list))));

  std::unique_ptr<HttpClient> registry =
      client(settings.allow.with_public(OciOrigin::usual_hosts()));
  auto auth = std::make_unique<RegistryAuth>(settings.registry_config, environment, *registry);
  auto registries = std::make_unique<OciOrigin>(
      std::set<std::string>(settings.registry_plain.begin(), settings.registry_plain.end()),
      std::move(registry), std::move(auth));
  out->registries_ = registries.get();
  out->origins_.push_back(std::move(registries));
  return out;
}

Origin* Origins::find(std::string_view url) const {
  for (const auto& origin : origins_) {
    if (origin->handles(scheme_of(url))) return origin.get();
  }
  return nullptr;
}

void Origins::tidy() const {
  for (const auto& origin : origins_) origin->tidy();
}

}  // namespace shoal::agent
