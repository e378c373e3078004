// Origin for oci://registry/repository:tag: container registries, for models kept as OCI artifacts
// and for the layers of images. OCI distribution spec, "Pull".
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/origin/http_range.h"
#include "agent/origin/oci_auth.h"
#include "agent/origin/origin.h"
#include "core/content/image.h"

namespace shoal::agent {

// "oci://registry[:port]/repository[:tag][@sha256:…]". Without both the tag is "latest".
struct OciPlace {
  std::string registry;    // as it is called: "registry-1.docker.io" for docker.io
  std::string repository;  // "library/alpine" for docker.io/alpine
  std::string reference;   // tag or digest

  std::string str() const;
  friend bool operator==(const OciPlace&, const OciPlace&) = default;
};
// Errors: invalid.
Result<OciPlace> parse_oci_url(std::string_view url);

// A manifest with the bytes it was hashed from.
struct OciManifest {
  content::Digest digest;
  std::string bytes;
  content::ImageManifest manifest;
};

// A file's version is its digest: a registry cannot change what a digest names.
class OciOrigin final : public Origin {
 public:
  // The large public registries and the places they redirect to.
  static const std::vector<std::string>& usual_hosts();

  // `plain` names the registries, "host:port", that are spoken to without TLS; loopback ones are.
  OciOrigin(std::set<std::string> plain, std::unique_ptr<HttpClient> client,
            std::unique_ptr<RegistryAuth> auth);
  ~OciOrigin() override;

  std::string_view kind() const override { return "oci"; }
  bool handles(std::string_view scheme) const override { return scheme == "oci"; }
  // Files of a model or other artifact, each a layer with a name. An image has none.
  OriginStatus list(const OriginQuery& query, OriginListing& found,
                    const CancelFlag& cancel) override;
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;
  void tidy() override;

  // The manifest of one image or artifact, through an index by its platform. What it was hashed
  // from is what was asked for, where that was a digest.
  Result<OciManifest> manifest(const OciPlace& place, const content::Platform& platform,
                               const CancelFlag& cancel);

 private:
  std::string base_url(const OciPlace& place) const;
  HttpCall call_to(std::string url, const std::string& header) const;
  HttpFile file_for(const OciPlace& place, const std::string& header, HttpAnswer& answer) const;
  OriginStatus error_of(const OciPlace& place, const HttpAnswer& answer) const;
  template <typename Ask>
  OriginStatus ask(const OciPlace& place, const CancelFlag& cancel, Ask ask_once);
  OriginStatus document(const OciPlace& place, std::string& bytes, content::Digest& digest,
                        const CancelFlag& cancel);

  const std::set<std::string> plain_;
  const std::unique_ptr<HttpClient> client_;
  const std::unique_ptr<RegistryAuth> auth_;
};

}  // namespace shoal::agent
