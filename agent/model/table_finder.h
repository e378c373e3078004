// Finds the piece table of a blob: in the catalogue, else with peers, which is where a crowd should
// look.
#pragma once

#include "core/async/task.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/model/witness.h"
#include "agent/tracker/catalogue_client.h"
#include "agent/transfer.h"
#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/content/piece_table.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows catalogue and witness; calls end before
// destruction.
class TableFinder {
 public:
  struct Options {
    std::string node;                       // ours
    std::shared_ptr<http::TlsContext> tls;  // null: plain
  };
  // Peers that may have it, in any order.
  using Peers = std::function<std::vector<PeerAddress>()>;

  TableFinder(Executor executor, CatalogueClient& catalogue, const Witness& witness, Peers peers,
              Options options);

  struct Found {
    content::PieceTable table;
    std::string
        vouched_by;  // the node whose statement it rests on; empty: the manifest has the root
  };
  // One round: the catalogue, and unless it had the table, some peers. The table is checked against
  // the blob's size and root; without a root from the manifest a node of the cluster must have
  // signed that it read the whole blob.
  // Errors: unavailable (nobody had it now, or nobody vouches for it), and what the catalogue said.
  Task<Result<Found>> find(content::Digest blob, std::uint64_t size,
                           std::optional<content::Hash32> pieces_root, Deadline deadline);

 private:
  Task<Result<content::PieceTable>> table(content::Digest blob, std::uint64_t size,
                                          std::optional<content::Hash32> pieces_root,
                                          Deadline deadline);
  Task<Result<content::PieceTable>> ask_peer(PeerAddress peer, content::Digest blob,
                                             Deadline deadline);

  const Executor executor_;
  CatalogueClient& catalogue_;
  const Witness& witness_;
  const Peers peers_;
  const Options options_;
};

}  // namespace shoal::agent
