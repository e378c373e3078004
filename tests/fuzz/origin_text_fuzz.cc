// What origins answer and what people write about them: URLs, listings, errors, challenges, logins.
// The first byte chooses the parser. What is accepted and can be written is read as the same again.
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/origin/aws_credentials.h"
#include "agent/origin/hf_listing.h"
#include "agent/origin/http_range.h"
#include "agent/origin/oci_auth.h"
#include "agent/origin/oci_origin.h"
#include "agent/origin/s3_origin.h"
#include "agent/origin/text.h"

using namespace shoal::agent;

namespace {

void urls(std::string_view text) {
  if (const auto place = parse_s3_url(text)) {
    const auto again = parse_s3_url(s3_url(place->bucket, place->key));
    if (!again || again->bucket != place->bucket || again->key != place->key) std::abort();
    if (!http_place(s3_endpoint_url({}, "us-east-1", place->bucket, place->key))) std::abort();
  }
  if (const auto place = parse_hf_url(text)) {
    const auto again = parse_hf_url(place->str());
    if (!again || *again != *place) std::abort();
    if (!http_place(hf_file_url("https://h", *place))) std::abort();
  }
  if (const auto place = parse_oci_url(text)) {
    const auto again = parse_oci_url(place->str());
    if (!again || *again != *place) std::abort();
  }
  (void)http_place(std::string(text));
  (void)next_link(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 8) {
    case 0:
      urls(text);
      break;
    case 1:
      (void)parse_s3_page(text);
      break;
    case 2:
      (void)parse_s3_error(text);
      (void)parse_sts_credentials(text);
      break;
    case 3:
      (void)parse_hf_tree(text);
      (void)parse_hf_revision(text);
      break;
    case 4:
      if (const auto challenge = parse_challenge(text)) {
        if (challenge->scheme != "bearer" && challenge->scheme != "basic") std::abort();
      }
      break;
    case 5:
      if (const auto config = DockerConfig::parse(text)) {
        (void)config->login("ghcr.io");
        (void)config->helper("ghcr.io");
      }
      (void)parse_helper_answer(text);
      break;
    case 6:
      (void)parse_aws_profile(text, "default", "profile ");
      break;
    case 7:
      (void)parse_content_range(text);
      (void)matches_glob(text.substr(0, text.size() / 2), text.substr(text.size() / 2));
      break;
  }
  return 0;
}
