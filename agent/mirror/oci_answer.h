// What the mirror answers, in the form of the OCI distribution spec 1.1. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/mirror/oci_request.h"
#include "core/content/digest.h"
#include "core/http/message.h"

namespace shoal::agent {

// {"errors":[{"code","message"}]}
http::Response oci_error(const OciError& error,
                         std::optional<std::chrono::seconds> retry_after = {});

// A JSON body of that media type.
http::Response oci_json(std::string text, std::string_view media_type = "application/json");

// The head of an answer with content that never changes: everything but the body and its length.
// For a status of 416 the whole answer.
http::Response oci_content(const content::Digest& digest, std::string_view media_type,
                           const Selection& selection, std::uint64_t size);

// "\"sha256:…\""
std::string oci_etag(const content::Digest& digest);

// {"name","tags":[…]} and {"repositories":[…]}
std::string tags_body(std::string_view name, const std::vector<std::string>& tags);
std::string catalog_body(const std::vector<std::string>& names);
// An index without entries: nothing here refers to anything.
std::string no_referrers_body();
// The Link header that leads to the entries behind `last`.
std::string next_page(std::string_view path, std::size_t n, std::string_view last);

}  // namespace shoal::agent
