// All kinds of origins that this node can read, made from its settings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/origin/allow_list.h"
#include "agent/origin/environment.h"
#include "agent/origin/oci_origin.h"
#include "agent/origin/origin.h"
#include "agent/origin/origin_limits.h"
#include "agent/origin/s3_origin.h"

namespace shoal::agent {

struct OriginSettings {
  AllowList allow;
  OriginLimits::Options limits;
  HttpClient::Options http;
  S3Settings s3;
  std::string registry_config;              // Docker's config.json; empty: where Docker looks
  std::vector<std::string> registry_plain;  // "host:port" of registries without TLS
};

// Thread safe once made.
class Origins {
 public:
  // Errors: invalid, naming the setting or variable.
  static Result<std::unique_ptr<Origins>> make(OriginSettings settings, Environment environment);

  // The origin for that URL, by its scheme; null if there is none.
  Origin* find(std::string_view url) const;
  // Of those, the one for registries.
  OciOrigin& registries() const { return *registries_; }
  void tidy() const;

 private:
  explicit Origins(OriginLimits::Options limits) : limits_(limits) {}

  OriginLimits limits_;
  std::vector<std::unique_ptr<Origin>> origins_;
  OciOrigin* registries_ = nullptr;  // one of origins_
};

}  // namespace shoal::agent
