#include "agent/model/table_finder.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "agent/lane/peer_client.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

constexpr std::size_t kPeersPerRound = 3;
constexpr std::chrono::seconds kPeerTimeout{5};

}  // namespace

TableFinder::TableFinder(Executor executor, CatalogueClient& catalogue, const Witness& witness,
                         Peers peers, Options options)
    : executor_(executor),
      catalogue_(catalogue),
      witness_(witness),
      peers_(std::move(peers)),
      options_(std::move(options)) {}

Task<Result<TableFinder::Found>> TableFinder::find(content::Digest blob, std::uint64_t size,
                                                   std::optional<content::Hash32> pieces_root,
                                                   Deadline deadline) {
  auto table = co_await this->table(blob, size, pieces_root, deadline);
  if (!table) co_return fail(table.error());
  Found found{std::move(*table), ""};
  const std::optional<content::Hash32>& root = found.table.pieces_root();
  if (root && witness_.withdrawn(blob, *root)) {
    co_return fail(Errc::kUnavailable, "it was withdrawn: two nodes found that it lies");
  }
  if (pieces_root || !root) co_return found;
  auto statements = co_await catalogue_.statements(blob, deadline);
  if (!statements) co_return fail(statements.error());
  Result<std::string> node = witness_.vouched_by(found.table, *statements);
  if (!node) co_return fail(Errc::kUnavailable, node.error().message());
  found.vouched_by = std::move(*node);
  co_return found;
}

Task<Result<content::PieceTable>> TableFinder::table(content::Digest blob, std::uint64_t size,
                                                     std::optional<content::Hash32> pieces_root,
                                                     Deadline deadline) {
  CatalogueClient::TableAnswer answer = co_await catalogue_.table(blob, deadline);
  if (answer.table) {
    if (Status fits = answer.table->expect(blob, size, pieces_root); !fits) {
      co_return fail(fits.error().with_context("piece table from the tracker"));
    }
    co_return std::move(*answer.table);
  }
  std::vector<PeerAddress> peers = peers_();
  SeededRandom random(random_u64());
  for (std::size_t tries = 0; tries < kPeersPerRound && !peers.empty(); ++tries) {
    std::size_t pick = random.below(peers.size());
    PeerAddress peer = peers[pick];
    peers.erase(peers.begin() + static_cast<std::ptrdiff_t>(pick));
    auto table = co_await ask_peer(peer, blob, std::min(deadline, Deadline::after(kPeerTimeout)));
    if (table && table->expect(blob, size, pieces_root)) co_return table;
  }
  co_return fail(answer.table.error());
}

Task<Result<content::PieceTable>> TableFinder::ask_peer(PeerAddress peer, content::Digest blob,
                                                        Deadline deadline) {
  http::Client client(executor_,
                      peer_client_options(peer, options_.tls, content::kMaxPieceTableSize));
  http::Request request =
      peer_get("/v1/blobs/" + blob.str() + "/table", options_.node, options_.tls == nullptr);
  auto answer = co_await client.request(std::move(request), deadline);
  if (!answer) co_return fail(answer.error());
  co_return content::PieceTable::parse(std::as_bytes(std::span(answer->body)));
}

}  // namespace shoal::agent
