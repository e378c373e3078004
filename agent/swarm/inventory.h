// What this node has, told to everybody who must know: peers by the have board, the tracker by the
// fleet report.
#pragma once

#include <memory>

#include "agent/swarm/have_board.h"
#include "agent/tracker/fleet_report.h"
#include "core/content/digest.h"
#include "core/store/blob.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows both.
class Inventory {
 public:
  Inventory(HaveBoard& board, FleetReport& report) : board_(board), report_(report) {}

  // A blob of the store with what it has now; also when that changed by other ways than added().
  void set(const store::Blob& blob);
  // A complete blob that need not be opened for it.
  void set_complete(const content::Digest& blob, std::uint64_t size);
  // Verified pieces of a blob that was set.
  void added(const content::Digest& blob, content::PieceRange pieces);
  // Pieces that were there are not any more.
  void lost(const store::Blob& blob, const content::PieceSet& pieces);
  void complete(const content::Digest& blob);
  void failed(const content::Digest& blob);
  void removed(const content::Digest& blob);
  void wanted(const content::Digest& blob, std::uint64_t size, bool wanted);

  const content::PieceSet* pieces(const content::Digest& blob) const { return board_.pieces(blob); }

 private:
  HaveBoard& board_;
  FleetReport& report_;
};

}  // namespace shoal::agent
