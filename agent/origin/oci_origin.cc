#include "agent/origin/oci_origin.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "agent/origin/text.h"
#include "core/base/json_shape.h"
#include "core/content/manifest.h"
#include "core/content/relative_path.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxTag = 128;
constexpr std::size_t kMaxDepth = 8;
constexpr std::size_t kMaxErrorMessage = 200;
// An index of indices is allowed. A circle of digests cannot be made, a long way can.
constexpr int kMaxIndexDepth = 4;

OriginStatus failed(Error error) { return {fail(std::move(error)), {}}; }

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// OCI distribution spec, "Pulling manifests": <name>.
bool valid_repository(std::string_view name) {
  if (name.empty() || name.size() > kMaxName) return false;
  char before = '/';
  for (char c : name) {
    const bool separator = c == '.' || c == '_' || c == '-';
    if (!is_lower_or_digit(c) && !separator && c != '/') return false;
    if ((c == '/' || c == '.') && !is_lower_or_digit(before)) return false;
    if (separator && before == '/') return false;
    before = c;
  }
  return is_lower_or_digit(before);
}

bool valid_tag(std::string_view tag) {
  return !tag.empty() && tag.size() <= kMaxTag && tag.front() != '.' && tag.front() != '-' &&
         std::all_of(tag.begin(), tag.end(), [](char c) {
           return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
                  c == '-';
         });
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host.starts_with("127.") || host == "::1";
}

// The distribution spec's {"errors": [{"code": …, "message": …}]} as one line; empty if it is none.
std::string error_text(std::string_view text) {
  if (json_shape(text).depth > kMaxDepth) return {};
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return {};
  auto errors = json.find("errors");
  if (errors == json.end() || !errors->is_array() || errors->empty()) return {};
  const auto& first = errors->front();
  if (!first.is_object()) return {};
  std::string out;
  for (const char* key : {"code", "message"}) {
    auto field = first.find(key);
    if (field == first.end() || !field->is_string()) continue;
    out += (out.empty() ? "" : ": ") +
           content::escape_for_message(field->get<std::string>(), kMaxErrorMessage);
  }
  return out;
}

}  // namespace

std::string OciPlace::str() const {
  const bool digest = reference.starts_with("sha256:");
  return "oci://" + registry + "/" + repository + (digest ? "@" : ":") + reference;
}

Result<OciPlace> parse_oci_url(std::string_view url) {
  constexpr std::string_view kScheme = "oci://";
  auto bad = [&](std::string_view why) {
    return fail(Errc::kInvalid, "'" + content::escape_for_message(url, 200) + "': " +
                                    std::string(why) + "; write oci://registry/repository:tag");
  };
  if (!url.starts_with(kScheme)) return bad("not an OCI URL");
  std::string_view rest = url.substr(kScheme.size());
  auto slash = rest.find('/');
  if (slash == std::string_view::npos) return bad("no repository");
  OciPlace place;
  place.registry = lower(rest.substr(0, slash));
  std::optional<HttpPlace> host = http_place("https://" + place.registry);
  if (!host || place.registry.find_first_of("@?#%") != std::string::npos) {
    return bad("not a registry's host");
  }
  rest.remove_prefix(slash + 1);
  if (auto at = rest.find('@'); at != std::string_view::npos) {
    place.reference = std::string(rest.substr(at + 1));
    if (!content::Digest::parse(place.reference)) return bad("not a sha256 digest");
    rest = rest.substr(0, at);
  }
  if (auto colon = rest.find(':'); colon != std::string_view::npos) {
    std::string_view tag = rest.substr(colon + 1);
    if (!valid_tag(tag)) return bad("not a tag");
    if (place.reference.empty()) place.reference = std::string(tag);
    rest = rest.substr(0, colon);
  }
  if (place.reference.empty()) place.reference = "latest";
  place.repository = std::string(rest);
  if (!valid_repository(place.repository)) return bad("not a repository's name");
  if (place.registry == "docker.io" || place.registry == "index.docker.io") {
    place.registry = "registry-1.docker.io";
  }
  if (place.registry == "registry-1.docker.io" && place.repository.find('/') == std::string::npos) {
    place.repository = "library/" + place.repository;
  }
  return place;
}

const std::vector<std::string>& OciOrigin::usual_hosts() {
  static const std::vector<std::string> hosts{"registry-1.docker.io",
                                              "auth.docker.io",
                                              "production.cloudflare.docker.com",
                                              "*.r2.cloudflarestorage.com",
                                              "ghcr.io",
                                              "pkg-containers.githubusercontent.com",
                                              "quay.io",
                                              "*.quay.io",
                                              "nvcr.io",
                                              "authn.nvidia.com",
                                              "layers.nvcr.io",
                                              "xfiles.ngc.nvidia.com",
                                              "public.ecr.aws",
                                              "*.amazonaws.com",
                                              "*.cloudfront.net",
                                              "mcr.microsoft.com",
                                              "*.data.mcr.microsoft.com",
                                              "*.azurecr.io",
                                              "*.blob.core.windows.net",
                                              "gcr.io",
                                              "*.gcr.io",
                                              "*.pkg.dev",
                                              "registry.k8s.io",
                                              "storage.googleapis.com",
                                              "registry.gitlab.com",
                                              "gitlab.com"};
  return hosts;
}

OciOrigin::OciOrigin(std::set<std::string> plain, std::unique_ptr<HttpClient> client,
                     std::unique_ptr<RegistryAuth> auth)
    : plain_(std::move(plain)), client_(std::move(client)), auth_(std::move(auth)) {}

OciOrigin::~OciOrigin() = default;

void OciOrigin::tidy() { client_->tidy(); }

std::string OciOrigin::base_url(const OciPlace& place) const {
  std::optional<HttpPlace> host = http_place("https://" + place.registry);
  const bool plain = plain_.contains(place.registry) || (host && is_loopback(host->host));
  return (plain ? "http://" : "https://") + place.registry + "/v2/" + place.repository;
}

HttpCall OciOrigin::call_to(std::string url, const std::string& header) const {
  HttpCall call;
  call.url = std::move(url);
  if (!header.empty()) {
    call.authorize = [header](const HttpCall&, const std::string&) -> Result<HeaderList> {
      return HeaderList{{"Authorization", header}};
    };
  }
  return call;
}

OriginStatus OciOrigin::error_of(const OciPlace& place, const HttpAnswer& answer) const {
  if (!answer.result.status) return answer.result;
  OriginStatus usual = http_error(answer.head);
  std::string said = error_text(answer.text);
  if (said.empty()) return usual;
  return {fail(usual.status.error().code(), "registry " + place.registry + " answers " +
                                                std::to_string(answer.head.status) + " for " +
                                                place.repository + " (" + said + ")"),
          usual.retry_after};
}

// Calls `ask_once(header, answer)`, and once more with what the registry asks for. A token that has
// ended is answered with 401 by some and with 403 by others.
template <typename Ask>
OriginStatus OciOrigin::ask(const OciPlace& place, const CancelFlag& cancel, Ask ask_once) {
  std::string header = auth_->header(place.registry, place.repository);
  HttpAnswer answer;
  OriginStatus status = ask_once(header, answer);
  const int refused = answer.head.status;
  // Only the registry's own refusal is about our login: a redirect's target has another reason.
  const bool own = http_place(answer.head.url) == http_place(base_url(place));
  if (status.status || !own || !(refused == 401 || (refused == 403 && !header.empty()))) {
    return status;
  }
  HttpHead refusal = answer.head;
  if (refused == 403 && refusal.header("www-authenticate").empty()) {
    // What it would ask for, it says to those who bring nothing.
    HttpAnswer bare = client_->document(call_to(answer.head.url, ""), 0, cancel);
    if (bare.head.status == 401) refusal = bare.head;
  }
  Result<std::string> better =
      auth_->answer(place.registry, place.repository, header, refusal, cancel);
  if (!better) return failed(better.error());
  answer = {};
  status = ask_once(*better, answer);
  const bool again = answer.head.status == 401 || answer.head.status == 403;
  if (status.status || !again || http_place(answer.head.url) != http_place(base_url(place))) {
    return status;
  }
  return failed(auth_->refusal(place.registry, place.repository, answer.head.status));
}

OriginStatus OciOrigin::document(const OciPlace& place, std::string& bytes, content::Digest& digest,
                                 const CancelFlag& cancel) {
  OriginStatus status =
      ask(place, cancel, [&](const std::string& header, HttpAnswer& answer) -> OriginStatus {
        HttpCall call = call_to(base_url(place) + "/manifests/" + place.reference, header);
        call.headers = {{"Accept", std::string(content::kManifestMediaType) + ", " +
                                       std::string(content::kIndexMediaType) + ", " +
                                       std::string(content::kDockerManifestMediaType) + ", " +
                                       std::string(content::kDockerIndexMediaType)}};
        answer = client_->document(call, content::kMaxManifestSize, cancel);
        if (!answer.ok()) return error_of(place, answer);
        bytes = std::move(answer.text);
        return {};
      });
  if (!status.status) return status;
  digest = content::digest_of(bytes);
  if (place.reference.starts_with("sha256:") && digest.str() != place.reference) {
    return failed(Error(Errc::kCorrupt, "registry " + place.registry +
                                            " gave other bytes for the "
                                            "manifest " +
                                            place.reference + " of " + place.repository));
  }
  return {};
}

Result<OciManifest> OciOrigin::manifest(const OciPlace& place, const content::Platform& platform,
                                        const CancelFlag& cancel) {
  OciPlace at = place;
  for (int depth = 0; depth <= kMaxIndexDepth; ++depth) {
    OciManifest found;
    OriginStatus got = document(at, found.bytes, found.digest, cancel);
    if (!got.status) return fail(got.status.error());
    Result<content::ImageDocument> parsed = content::parse_image_document(found.bytes);
    if (!parsed) return fail(parsed.error().with_context(at.str()));
    if (auto* manifest = std::get_if<content::ImageManifest>(&*parsed)) {
      found.manifest = std::move(*manifest);
      return found;
    }
    Result<content::Descriptor> chosen = std::get<content::ImageIndex>(*parsed).choose(platform);
    if (!chosen) return fail(chosen.error().with_context(at.str()));
    at.reference = chosen->digest.str();
  }
  return fail(Errc::kInvalid, place.str() + ": its index leads to indices and to no image");
}

OriginStatus OciOrigin::list(const OriginQuery& query, OriginListing& found,
                             const CancelFlag& cancel) {
  Result<OciPlace> place = parse_oci_url(query.source);
  if (!place) return failed(place.error());
  content::Platform platform = content::Platform::of_this_machine();
  if (!query.platform.empty()) {
    Result<content::Platform> given = content::Platform::parse(query.platform);
    if (!given) return failed(given.error());
    platform = std::move(*given);
  }
  Result<OciManifest> manifest = this->manifest(*place, platform, cancel);
  if (!manifest) return failed(manifest.error());
  OciPlace pinned = *place;
  pinned.reference = manifest->digest.str();
  found.source = pinned.str();
  for (const content::Descriptor& layer : manifest->manifest.layers) {
    auto name = layer.annotations.find(std::string(content::kFilepathAnnotation));
    if (name == layer.annotations.end()) {
      name = layer.annotations.find(std::string(content::kTitleAnnotation));
    }
    const bool archive = layer.media_type.find("tar") != std::string::npos;
    if (name == layer.annotations.end() || archive) {
      return failed(
          Error(Errc::kInvalid, found.source + " is not a model of one file per layer (layer " +
                                    layer.digest.str() + " is " +
                                    (archive ? "an archive" : "a layer without a file's name") +
                                    "): images cannot be published"));
    }
    OciPlace blob = *place;
    blob.reference = layer.digest.str();
    Status added =
        found.add(query, name->second, {blob.str(), layer.size, layer.digest.str()}, layer.digest);
    if (!added) return failed(added.error());
  }
  return {found.finish(), {}};
}

// `answer` gets what refuses the request.
HttpFile OciOrigin::file_for(const OciPlace& place, const std::string& header,
                             HttpAnswer& answer) const {
  HttpFile file;
  file.call = call_to(base_url(place) + "/blobs/" + place.reference, header);
  file.version = [place](const HttpHead&, const HttpHead&) { return place.reference; };
  file.error = [this, place, &answer](const HttpAnswer& refused) {
    answer = refused;
    return error_of(place, refused);
  };
  return file;
}

OriginStatus OciOrigin::probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) {
  Result<OciPlace> place = parse_oci_url(url);
  if (!place) return failed(place.error());
  file.url = url;
  return ask(*place, cancel, [&](const std::string& header, HttpAnswer& answer) {
    return probe_http_file(*client_, file_for(*place, header, answer), file, cancel);
  });
}

OriginStatus OciOrigin::read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                             const CancelFlag& cancel) {
  Result<OciPlace> place = parse_oci_url(file.url);
  if (!place) return failed(place.error());
  return ask(*place, cancel, [&](const std::string& header, HttpAnswer& answer) {
    return read_http_file(*client_, file_for(*place, header, answer), place->reference, range, sink,
                          cancel);
  });
}

}  // namespace shoal::agent
