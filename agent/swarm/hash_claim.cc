#include "agent/swarm/hash_claim.h"

#include <cstring>
#include <optional>

#include "agent/swarm/text_lines.h"
#include "core/http/identity.h"

namespace shoal::agent {
namespace {

constexpr std::string_view kHead = "shoal-hash-claim 1\n";

Error bad(std::string_view what) {
  return {Errc::kInvalid, "not a hash claim: " + std::string(what)};
}

Result<HashClaimWithHashes> take_claim(std::string_view& rest) {
  if (!rest.starts_with(kHead)) return fail(bad("another format"));
  rest.remove_prefix(kHead.size());
  HashClaimWithHashes out;
  HashClaim& claim = out.claim;
  auto node = take_line(rest, "node");
  if (!node || !http::valid_node_id(*node)) return fail(bad("node"));
  claim.node = *node;
  auto blob = content::Digest::parse_name(take_line(rest, "blob").value_or(""));
  if (!blob) return fail(bad("blob"));
  claim.blob = *blob;
  auto size = take_number(rest, "size");
  if (!size || *size == 0 || !content::BlobLayout::of_size(*size)) return fail(bad("size"));
  claim.size = *size;
  const content::BlobLayout layout(claim.size);
  auto first = take_number(rest, "first");
  auto count = take_number(rest, "count");
  if (!first || !count || *count == 0 || *count > kMaxClaimPieces ||
      *first >= layout.piece_count() || *count > layout.piece_count() - *first) {
    return fail(bad("pieces"));
  }
  claim.pieces = {content::PieceIndex(static_cast<std::uint32_t>(*first)),
                  static_cast<std::uint32_t>(*count)};
  auto hashes = content::Digest::parse(take_line(rest, "hashes").value_or(""));
  if (!hashes) return fail(bad("hashes"));
  claim.hashes = *hashes;
  if (rest.starts_with("certificate ")) {
    if (!take_hex(rest, "certificate", claim.certificate)) return fail(bad("certificate"));
    if (!take_hex(rest, "signature", claim.signature)) return fail(bad("signature"));
  }
  if (!rest.starts_with("\n")) return fail(bad("its end"));
  rest.remove_prefix(1);
  const std::size_t length = std::size_t{claim.pieces.count} * sizeof(content::Hash32);
  if (rest.size() < length) return fail(bad("fewer hashes than pieces"));
  out.hashes.resize(claim.pieces.count);
  std::memcpy(out.hashes.data(), rest.data(), length);
  rest.remove_prefix(length);
  if (digest_of_hashes(out.hashes) != claim.hashes) return fail(bad("other hashes than it says"));
  return out;
}

}  // namespace

content::Digest digest_of_hashes(std::span<const content::Hash32> hashes) {
  return content::digest_of(std::as_bytes(hashes));
}

std::string signed_text(const HashClaim& claim) {
  return std::string(kHead) + "node " + claim.node + "\nblob " + claim.blob.str() + "\nsize " +
         std::to_string(claim.size) + "\nfirst " + std::to_string(claim.pieces.first.value()) +
         "\ncount " + std::to_string(claim.pieces.count) + "\nhashes " + claim.hashes.str() + "\n";
}

void append_claim(std::string& message, const HashClaim& claim,
                  std::span<const content::Hash32> hashes) {
  message += signed_text(claim);
  if (claim.is_signed()) {
    message += "certificate " + hex_of(claim.certificate) + "\nsignature " +
               hex_of(claim.signature) + "\n";
  }
  message += "\n";
  const auto bytes = std::as_bytes(hashes);
  message.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::vector<HashClaimWithHashes>> parse_claims(std::string_view message) {
  if (message.size() > kMaxClaimsBody) return fail(bad("too long"));
  std::vector<HashClaimWithHashes> claims;
  while (!message.empty()) {
    if (claims.size() == kMaxClaims) return fail(bad("too many in one answer"));
    Result<HashClaimWithHashes> claim = take_claim(message);
    if (!claim) return fail(claim.error());
    claims.push_back(std::move(*claim));
  }
  return claims;
}

}  // namespace shoal::agent
