// Messages of piece hashes: no crash, and what is accepted is written back as it came.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/swarm/hash_claim.h"
#include "core/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal::agent;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto claims = parse_claims(text);
  if (!claims) return 0;
  std::string again;
  for (const HashClaimWithHashes& one : *claims) append_claim(again, one.claim, one.hashes);
  SHOAL_CHECK(again == text, "a message has one spelling");
  return 0;
}
