// What a node says about adjacent pieces of a blob that nobody has the table of: these are the
// hashes of what I read. docs/formats/hash-claim.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::agent {

// Without the hashes themselves, which go beside it.
struct HashClaim {
  std::string node = {};
  content::Digest blob = {};
  std::uint64_t size = 0;           // of the blob, bytes
  content::PieceRange pieces = {};  // not empty
  content::Digest hashes = {};      // SHA-256 of the hashes, one after the other
  std::string certificate = {};     // DER; both empty: unsigned, of a cluster without
  std::string signature = {};       // certificates. Raw bytes, of signed_text()

  bool is_signed() const { return !signature.empty(); }
  friend bool operator==(const HashClaim&, const HashClaim&) = default;
};

struct HashClaimWithHashes {
  HashClaim claim;
  std::vector<content::Hash32> hashes;  // one for each piece

  friend bool operator==(const HashClaimWithHashes&, const HashClaimWithHashes&) = default;
};

// No claim is about more pieces, and no answer has more claims.
inline constexpr std::uint32_t kMaxClaimPieces = 1024;
inline constexpr std::size_t kMaxClaims = 256;
// Of an answer: a claim without hashes has at most 8 KiB.
inline constexpr std::size_t kMaxClaimsBody = 4 << 20;

content::Digest digest_of_hashes(std::span<const content::Hash32> hashes);

// What is signed.
std::string signed_text(const HashClaim& claim);
// Appends claim and hashes to a message. Every message has one spelling.
void append_claim(std::string& message, const HashClaim& claim,
                  std::span<const content::Hash32> hashes);
// A whole message. The hashes are those that each claim is about; nothing else is verified. Errors:
// invalid.
Result<std::vector<HashClaimWithHashes>> parse_claims(std::string_view message);

}  // namespace shoal::agent
