// A name in the tracker's catalogue: "name:tag" or "name@sha256:<hex>".
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/base/result.h"
#include "core/content/digest.h"

namespace shoal::content {

inline constexpr std::size_t kMaxReferenceName = 255;
inline constexpr std::size_t kMaxTag = 128;

// Grammar of <name> and <reference> in the OCI distribution spec, "Pulling manifests". A host part
// is not accepted: the catalogue is the cluster's own.
//
// Thread: a value.
class Reference {
 public:
  // Errors: invalid; the message says what is accepted.
  static Result<Reference> parse(std::string_view text);
  static Result<Reference> by_tag(std::string_view name, std::string_view tag);
  static Result<Reference> by_digest(std::string_view name, const Digest& digest);

  const std::string& name() const { return name_; }
  // Null when the reference names a digest, and the other way round.
  const std::string* tag() const { return std::get_if<std::string>(&target_); }
  const Digest* digest() const { return std::get_if<Digest>(&target_); }

  std::string str() const;

  friend bool operator==(const Reference&, const Reference&) = default;

 private:
  Reference(std::string name, std::variant<std::string, Digest> target)
      : name_(std::move(name)), target_(std::move(target)) {}

  std::string name_;
  std::variant<std::string, Digest> target_;
};

}  // namespace shoal::content
