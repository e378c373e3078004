// What is taken for a request names something that can be, and every refusal is one of the spec.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "agent/mirror/oci_answer.h"
#include "agent/mirror/oci_request.h"
#include "core/content/reference.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal;
  // The path, then after a line break the value of a Range header.
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = text.find('\n');
  agent::ParsedOciRequest parsed = agent::parse_oci_request(text.substr(0, line));
  using Kind = agent::OciRequest::Kind;
  if (parsed.request) {
    const agent::OciRequest& request = *parsed.request;
    const bool nameless = request.kind == Kind::kBase || request.kind == Kind::kCatalog;
    if (nameless != request.name.empty()) std::abort();
    if (!nameless && !content::Reference::by_tag(request.name, "t")) std::abort();
    if (!request.tag.empty() && !content::Reference::by_tag(request.name, request.tag)) {
      std::abort();
    }
    if (request.kind == Kind::kManifest && request.tag.empty() != request.digest.has_value()) {
      std::abort();
    }
    if (request.kind == Kind::kBlob && !request.digest) std::abort();
  } else {
    if (parsed.error.code.empty()) std::abort();
    if (agent::oci_error(parsed.error).body.empty()) std::abort();
  }
  if (line == std::string::npos) return 0;
  http::Headers headers;
  headers.set("Range", text.substr(line + 1));
  constexpr std::uint64_t kSize = 1000;
  const agent::Selection selection = agent::select_bytes(headers, content::Digest(), kSize);
  const bool part = selection.status == 206;
  if (part && (selection.range.empty() || selection.range.end() > kSize)) std::abort();
  if (!part && selection.status != 200 && selection.status != 416) std::abort();
  return 0;
}
