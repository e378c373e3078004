// Heads and bodies of the agent's answers: whatever comes, an error or a value.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/agent_client/parse.h"
#include "core/agent_client/response_head.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal::agent_client;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto head = parse_response_head(text)) {
    if (head->content_length > kMaxBody || head->status < 100) __builtin_trap();
  }
  (void)parse_error(500, text);
  (void)parse_status(text);
  (void)parse_blobs(text);
  (void)parse_ingest(text);
  (void)parse_listing(text);
  (void)parse_pull_progress(text);
  (void)parse_verify(text);
  (void)parse_gc(text);
  (void)parse_explanation(text);
  return 0;
}
