// Who read which pieces of blobs whose tables nobody has yet: makes and signs this node's claims,
// judges those of others, and passes on both.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/swarm/hash_claim.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/http/message.h"
#include "core/http/tls.h"
#include "core/store/blob.h"

namespace shoal::agent {

// Thread: the control thread.
class HashBook : OneThreadOnly {
 public:
  // Without `tls` (an insecure cluster) claims are unsigned, and unsigned ones are believed.
  HashBook(std::string node, std::shared_ptr<http::TlsContext> tls);

  // Claims about those of `pieces` that are here (none beyond kMaxClaimPieces is looked at), as a
  // message. What is here and in nobody's claim this node vouches for. `name` is how the asker
  // calls the blob: one that is settled here may have another by now. Errors: those of signing.
  Result<std::string> claims(const content::Digest& name, const store::Blob& blob,
                             content::PieceRange pieces);

  // The answer to GET /v1/blobs/{name}/hashes?first=F&count=N on the lane.
  http::Response answer(BlobCache& blobs, const http::Request& request);

  // Learns what a peer's message says about the blob. Errors: invalid (no such message); denied (a
  // claim is not of whom it says, or about another blob); conflict (it contradicts what is here:
  // two nodes have read different bytes); those of Blob::learn(). What stood before the claim that
  // is refused is learnt.
  Status take(store::Blob& blob, std::string_view message);

  struct Read {
    std::string node;
    content::PieceRange pieces;
  };
  // By whose word the blob's pieces are what they are; those in no claim are this node's own.
  std::vector<Read> readers(const content::Digest& blob) const;

  void forget(const content::Digest& blob);

 private:
  struct Kept {
    HashClaim claim;                                 // without its certificate
    std::shared_ptr<const std::string> certificate;  // shared by the claims of a node
  };
  struct Entry {
    std::vector<Kept> claims;
    content::PieceSet covered;  // by claims
  };

  Entry& entry(const content::Digest& name, const store::Blob& blob);
  void keep(Entry& entry, HashClaim claim);
  void drop_refuted(Entry& entry, const store::Blob& blob, content::PieceRange pieces);
  Result<HashClaim> own_claim(const content::Digest& name, const store::Blob& blob,
                              content::PieceRange pieces) const;
  Status check(const store::Blob& blob, const HashClaim& claim) const;

  const std::string node_;
  const std::shared_ptr<http::TlsContext> tls_;  // null: insecure; shared with all connections
  std::map<content::Digest, Entry> blobs_;
  std::map<std::string, std::shared_ptr<const std::string>> certificates_;  // the last of each node
};

}  // namespace shoal::agent
