// The fetcher's dealings with blobs that nobody has the piece table of: before pieces of one are
// asked of a peer, the peer says what their hashes are and who read them (hash_book.h).
#include <chrono>
#include <string>
#include <utility>

#include "agent/lane/peer_client.h"
#include "agent/swarm/fetcher.h"
#include "core/base/log.h"
#include "core/base/metrics.h"

namespace shoal::agent {
namespace {

using swarm::Outcome;

constexpr std::chrono::seconds kHashTimeout{5};
constexpr std::size_t kHashConnections = 2;

Outcome outcome_of(const Error& error) {
  switch (error.code()) {
    case Errc::kNotFound:
    case Errc::kConflict:  // it has settled the blob, or has other hashes than we
      return Outcome::kNotHave;
    case Errc::kTimedOut:
      return Outcome::kTimeout;
    case Errc::kOverloaded:
      return Outcome::kBusy;
    case Errc::kUnavailable:
      return Outcome::kDisconnected;
    case Errc::kCancelled:
      return Outcome::kCancelled;
    case Errc::kInternal:
    case Errc::kNoSpace:
      return Outcome::kLocal;
    case Errc::kInvalid:
    case Errc::kDenied:
    case Errc::kCorrupt:
      return Outcome::kRefused;
  }
  return Outcome::kRefused;
}

}  // namespace

Task<Result<std::string>> Fetcher::ask_hashes(swarm::PeerId id, content::Digest blob,
                                              content::PieceRange pieces) {
  if (id.value() >= peers_.size() || !peers_[id.value()]) {
    co_return fail(Errc::kUnavailable, "the peer is gone");
  }
  Peer& peer = *peers_[id.value()];
  if (!peer.hashes) {
    http::Client::Options options = peer_client_options(peer.address, options_.tls, kMaxClaimsBody);
    options.max_connections = kHashConnections;
    peer.hashes = std::make_shared<http::Client>(executor_, std::move(options));
  }
  std::shared_ptr<http::Client> client = peer.hashes;  // the peer may be dropped meanwhile
  http::Request request = peer_get(
      "/v1/blobs/" + blob.str() + "/hashes", options_.node, options_.tls == nullptr,
      {{"first", std::to_string(pieces.first.value())}, {"count", std::to_string(pieces.count)}});
  auto answer = co_await client->request(std::move(request), Deadline::after(kHashTimeout));
  if (!answer) co_return fail(answer.error());
  co_return std::move(answer->body);
}

void Fetcher::close_hash_clients() {
  for (const auto& peer : peers_) {
    if (peer && peer->hashes) peer->hashes->close();
  }
}

Task<void> Fetcher::fetch_hashes_first(Transfer transfer, swarm::PeerId peer, PeerAddress address) {
  auto message = co_await ask_hashes(peer, transfer.blob->digest(), transfer.pieces);
  auto it = running_.find(transfer.id);
  if (it == running_.end() || stopped_) co_return;
  TransferEvent ended;
  ended.id = transfer.id;
  Status learnt = message ? hashes_.take(*transfer.blob, *message) : Status(fail(message.error()));
  if (it->second.cancelled) {
    ended.outcome = Outcome::kCancelled;
  } else if (!learnt) {
    ended.outcome = outcome_of(learnt.error());
    ended.detail = learnt.error().with_context("asked for piece hashes").str();
  } else if (!transfer.blob->knows_hashes(transfer.pieces)) {
    ended.outcome = Outcome::kNotHave;
    ended.detail = "it does not say what the hashes of these pieces are";
  } else if (find_peer(address) != peer) {
    ended.outcome = Outcome::kDisconnected;
    ended.detail = "the peer is gone";
  } else {
    it->second.asks_hashes = false;
    lane_.fetch(std::move(transfer), address);
    co_return;
  }
  on_ended(ended);
  schedule();
}

// A peer's bytes were not what the hashes known here say. If it says the same of them it lies;
// else it has them, in good faith perhaps, from a node that read something else.
Task<void> Fetcher::judge(TransferEvent event, std::shared_ptr<store::Blob> blob,
                          content::PieceRange pieces, swarm::PeerId peer) {
  auto message = co_await ask_hashes(peer, blob->digest(), pieces);
  if (!running_.contains(event.id) || stopped_) co_return;
  // Pieces are stored in order: the bad one is the first that is missing.
  content::PieceIndex bad = pieces.first;
  while (bad < pieces.end() && blob->has(bad)) ++bad;
  bool lies = false;
  auto claims = message ? parse_claims(*message)
                        : Result<std::vector<HashClaimWithHashes>>(fail(message.error()));
  for (const HashClaimWithHashes& one : claims.value_or(std::vector<HashClaimWithHashes>())) {
    if (bad == pieces.end() || !one.claim.pieces.contains(bad)) continue;
    if (blob->piece_hash(bad) == one.hashes[bad - one.claim.pieces.first]) {
      lies = true;
      continue;
    }
    static metrics::Counter& contradictions =
        metrics::counter("shoal_agent_hash_contradictions_total",
                         "Pieces of which two nodes say that they read different bytes.");
    contradictions.add();
    log::warn("nodes have read different bytes",
              {{"digest", blob->digest().str()}, {"piece", bad.value()}, {"node", one.claim.node}});
  }
  if (!lies) {
    event.outcome = Outcome::kNotHave;
    event.detail += " (it may have read other bytes than others did)";
  }
  on_ended(event);
  schedule();
}

}  // namespace shoal::agent
