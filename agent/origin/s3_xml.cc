#include "agent/origin/s3_xml.h"

#include <algorithm>
#include <pugixml.hpp>

#include "agent/origin/text.h"
#include "core/content/relative_path.h"
#include "core/http/url.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kMaxObjects = 1000;  // what a server may put into one page
constexpr std::size_t kMaxMessage = 300;

// Neither document types nor entities: what is not there cannot be expanded.
bool load(pugi::xml_document& document, std::string_view xml) {
  constexpr unsigned kOptions = pugi::parse_cdata | pugi::parse_eol | pugi::parse_escapes;
  return static_cast<bool>(document.load_buffer(xml.data(), xml.size(), kOptions));
}

std::string text_of(const pugi::xml_node& parent, const char* child) {
  return parent.child(child).text().get();
}

std::string one_line(const std::string& text) {
  return content::escape_for_message(trim(text), kMaxMessage);
}

}  // namespace

Result<S3Page> parse_s3_page(std::string_view xml) {
  pugi::xml_document document;
  if (!load(document, xml)) return fail(Errc::kInvalid, "the listing is not XML");
  pugi::xml_node root = document.child("ListBucketResult");
  if (!root) return fail(Errc::kInvalid, "the listing is not a ListBucketResult");
  const bool encoded = text_of(root, "EncodingType") == "url";
  S3Page page;
  for (pugi::xml_node entry : root.children("Contents")) {
    if (page.objects.size() == kMaxObjects) {
      return fail(Errc::kInvalid, "the listing has more objects than it may have");
    }
    S3Page::Object object;
    object.key = text_of(entry, "Key");
    if (encoded) {
      // As in a form: a plus is a space.
      std::replace(object.key.begin(), object.key.end(), '+', ' ');
      Result<std::string> decoded = http::percent_decode(object.key);
      if (!decoded) return fail(decoded.error().with_context("a key of the listing"));
      object.key = std::move(*decoded);
    }
    std::optional<std::uint64_t> size = to_number(trim(text_of(entry, "Size")));
    if (object.key.empty() || !size) {
      return fail(Errc::kInvalid, "the listing has an object without a key or a size");
    }
    object.size = *size;
    object.etag = std::string(trim(text_of(entry, "ETag")));
    if (!object.etag.empty() && object.etag.front() != '"') object.etag = '"' + object.etag + '"';
    page.objects.push_back(std::move(object));
  }
  if (lower(trim(text_of(root, "IsTruncated"))) == "true") {
    page.next = text_of(root, "NextContinuationToken");
    if (page.next.empty()) return fail(Errc::kInvalid, "the listing does not say how it goes on");
  }
  return page;
}

S3Error parse_s3_error(std::string_view xml) {
  pugi::xml_document document;
  if (!load(document, xml)) return {};
  pugi::xml_node error = document.child("Error");
  if (!error) error = document.child("ErrorResponse").child("Error");  // STS
  return {one_line(text_of(error, "Code")), one_line(text_of(error, "Message")),
          one_line(text_of(error, "Region"))};
}

std::optional<StsCredentials> parse_sts_credentials(std::string_view xml) {
  pugi::xml_document document;
  if (!load(document, xml)) return std::nullopt;
  pugi::xml_node given = document.child("AssumeRoleWithWebIdentityResponse")
                             .child("AssumeRoleWithWebIdentityResult")
                             .child("Credentials");
  StsCredentials out{text_of(given, "AccessKeyId"), text_of(given, "SecretAccessKey"),
                     text_of(given, "SessionToken"), text_of(given, "Expiration")};
  if (out.access_key.empty() || out.secret_key.empty()) return std::nullopt;
  return out;
}

}  // namespace shoal::agent
