#include "agent/swarm/hash_book.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

namespace shoal::agent {

using content::Hash32;
using content::PieceIndex;
using content::PieceRange;

namespace {

bool meet(PieceRange a, PieceRange b) { return !content::overlap(a, b).empty(); }

std::optional<std::uint32_t> number(const http::Request& request, std::string_view name) {
  std::string_view text = request.query_value(name);
  std::uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

// The hashes as the blob knows them now; none if one of them is not known.
std::optional<std::vector<Hash32>> hashes_of(const store::Blob& blob, PieceRange pieces) {
  std::vector<Hash32> hashes;
  hashes.reserve(pieces.count);
  for (PieceIndex piece : pieces) {
    std::optional<Hash32> hash = blob.piece_hash(piece);
    if (!hash) return std::nullopt;
    hashes.push_back(*hash);
  }
  return hashes;
}

}  // namespace

HashBook::HashBook(std::string node, std::shared_ptr<http::TlsContext> tls)
    : node_(std::move(node)), tls_(std::move(tls)) {}

HashBook::Entry& HashBook::entry(const content::Digest& name, const store::Blob& blob) {
  Entry& entry = blobs_[name];
  if (entry.covered.size() == 0) entry.covered = content::PieceSet(blob.layout().piece_count());
  return entry;
}

void HashBook::keep(Entry& entry, HashClaim claim) {
  std::shared_ptr<const std::string>& certificate = certificates_[claim.node];
  if (!certificate || *certificate != claim.certificate) {
    certificate = std::make_shared<const std::string>(std::move(claim.certificate));
  }
  claim.certificate.clear();
  entry.covered.set_range(claim.pieces);
  entry.claims.push_back({std::move(claim), certificate});
}

// Claims about pieces that by now are known to have other hashes.
void HashBook::drop_refuted(Entry& entry, const store::Blob& blob, PieceRange pieces) {
  const std::size_t dropped = std::erase_if(entry.claims, [&](const Kept& kept) {
    if (!meet(kept.claim.pieces, pieces)) return false;
    std::optional<std::vector<Hash32>> now = hashes_of(blob, kept.claim.pieces);
    return !now || digest_of_hashes(*now) != kept.claim.hashes;
  });
  if (dropped == 0) return;
  entry.covered = content::PieceSet(entry.covered.size());
  for (const Kept& kept : entry.claims) entry.covered.set_range(kept.claim.pieces);
}

Result<HashClaim> HashBook::own_claim(const content::Digest& name, const store::Blob& blob,
                                      PieceRange pieces) const {
  std::optional<std::vector<Hash32>> hashes = hashes_of(blob, pieces);
  if (!hashes) return fail(Errc::kUnavailable, "a piece was taken back");
  HashClaim claim{.node = node_,
                  .blob = name,
                  .size = blob.layout().size(),
                  .pieces = pieces,
                  .hashes = digest_of_hashes(*hashes)};
  if (tls_) {
    Result<http::TlsContext::Signature> signature = tls_->sign(signed_text(claim));
    if (!signature) return fail(signature.error());
    claim.certificate = std::move(signature->certificate);
    claim.signature = std::move(signature->bytes);
  }
  return claim;
}

Result<std::string> HashBook::claims(const content::Digest& name, const store::Blob& blob,
                                     PieceRange pieces) {
  assert_owner_thread();
  pieces.count = std::min(pieces.count, kMaxClaimPieces);
  Entry& book = entry(name, blob);
  drop_refuted(book, blob, pieces);
  for (PieceIndex at = pieces.first; at < pieces.end();) {
    PieceRange run{at, 0};
    while (run.end() < pieces.end() && blob.has(run.end()) && !book.covered.test(run.end())) {
      ++run.count;
    }
    at = run.end() + 1;
    if (run.empty()) continue;
    Result<HashClaim> own = own_claim(name, blob, run);
    if (!own) return fail(own.error());
    keep(book, std::move(*own));
  }
  std::string message;
  std::size_t count = 0;
  for (const Kept& kept : book.claims) {
    if (!meet(kept.claim.pieces, pieces) || count == kMaxClaims) continue;
    std::optional<std::vector<Hash32>> hashes = hashes_of(blob, kept.claim.pieces);
    if (!hashes) continue;  // taken back this moment
    HashClaim claim = kept.claim;
    claim.certificate = *kept.certificate;
    append_claim(message, claim, *hashes);
    ++count;
  }
  return message;
}

http::Response HashBook::answer(BlobCache& blobs, const http::Request& request) {
  std::string_view name = request.path;
  name.remove_prefix(std::string_view("/v1/blobs/").size());
  name.remove_suffix(std::string_view("/hashes").size());
  Result<content::Digest> digest = content::Digest::parse_name(name);
  if (!digest) return http::Response::error(digest.error());
  auto blob = blobs.find(*digest);
  if (!blob) return http::Response::error(blob.error());
  std::optional<std::uint32_t> first = number(request, "first"), count = number(request, "count");
  const std::uint32_t all = (*blob)->layout().piece_count();
  if (!first || !count || *first >= all || *count == 0 || *count > all - *first) {
    return http::Response::error(Error(Errc::kInvalid, "first and count: pieces of the blob"));
  }
  Result<std::string> message = claims(*digest, **blob, {PieceIndex(*first), *count});
  if (!message) return http::Response::error(message.error());
  http::Response response;
  response.headers.set("Content-Type", "application/octet-stream");
  response.body = std::move(*message);
  return response;
}

Status HashBook::check(const store::Blob& blob, const HashClaim& claim) const {
  if (claim.blob != blob.digest() || claim.size != blob.layout().size()) {
    return fail(Errc::kDenied, "a claim about another blob");
  }
  if (!tls_) return {};
  if (!claim.is_signed())
    return fail(Errc::kDenied, "the claim of " + claim.node + " is not signed");
  Result<http::Identity> signer =
      tls_->verify(signed_text(claim), {claim.certificate, claim.signature});
  if (!signer) return fail(signer.error().with_context("the claim of " + claim.node));
  if (!signer->is_node(claim.node)) {
    return fail(Errc::kDenied, "'" + signer->uri() + "' signed it, not node " + claim.node);
  }
  return {};
}

Status HashBook::take(store::Blob& blob, std::string_view message) {
  assert_owner_thread();
  Result<std::vector<HashClaimWithHashes>> parsed = parse_claims(message);
  if (!parsed) return fail(parsed.error());
  Entry& book = entry(blob.digest(), blob);
  for (HashClaimWithHashes& one : *parsed) {
    HashClaim& claim = one.claim;
    const bool known = std::any_of(book.claims.begin(), book.claims.end(), [&](const Kept& kept) {
      return kept.claim.pieces == claim.pieces && kept.claim.hashes == claim.hashes;
    });
    if (known) continue;
    SHOAL_TRY(check(blob, claim));
    if (Status learnt = blob.learn(claim.pieces.first, one.hashes); !learnt) {
      return fail(learnt.error().with_context("what " + claim.node + " says it read"));
    }
    drop_refuted(book, blob, claim.pieces);
    keep(book, std::move(claim));
  }
  return {};
}

std::vector<HashBook::Read> HashBook::readers(const content::Digest& blob) const {
  assert_owner_thread();
  std::vector<Read> out;
  auto it = blobs_.find(blob);
  if (it == blobs_.end()) return out;
  for (const Kept& kept : it->second.claims) {
    out.push_back({kept.claim.node, kept.claim.pieces});
  }
  return out;
}

void HashBook::forget(const content::Digest& blob) {
  assert_owner_thread();
  blobs_.erase(blob);
}

}  // namespace shoal::agent
