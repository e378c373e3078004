// The words for what a download waits for.
#include "agent/swarm/wait_text.h"

#include <gtest/gtest.h>

namespace shoal::agent {
namespace {

using Wait = swarm::Explanation::Wait;

Fetcher::Report report(Wait wait) {
  Fetcher::Report out;
  out.swarm.wait = wait;
  out.swarm.piece = content::PieceIndex(3);
  return out;
}

TEST(WaitText, NamesThePieceTheFileAndWhatWentWrongThere) {
  Fetcher::Report origin = report(Wait::kOrigin);
  origin.origin_error = "origin http://o/w answered 403: this node has no access to it";
  origin.peer_error = "peer n7: answered 200 to a range";
  EXPECT_EQ(wait_text(origin, "w.bin"),
            "the origin to answer again for piece 3 of w.bin (origin http://o/w answered 403: this "
            "node has no access to it)");
  Fetcher::Report disk = report(Wait::kHeld);
  disk.store_error = "disk full";
  EXPECT_EQ(wait_text(disk, "w.bin"), "the disk to take piece 3 of w.bin (disk full)");
}

TEST(WaitText, AnOriginThatIsNotUsedAnyMoreIsWhyThereIsNoSource) {
  Fetcher::Report none = report(Wait::kSource);
  EXPECT_EQ(wait_text(none, "w"), "a source of piece 3 of w");
  none.peer_error = "peer n7 sends nothing";
  EXPECT_EQ(wait_text(none, "w"), "a source of piece 3 of w (peer n7 sends nothing)");
  none.origin_error = "the file changed at origin o";
  EXPECT_EQ(wait_text(none, "w"), "a source of piece 3 of w (the file changed at origin o)");
}

TEST(WaitText, IsEmptyWhileBytesAreOnTheirWay) {
  for (Wait wait : {Wait::kNothing, Wait::kTransfer}) {
    Fetcher::Report moving = report(wait);
    moving.peer_error = "peer n7: an old story";
    EXPECT_EQ(wait_text(moving, "w"), "");
  }
}

}  // namespace
}  // namespace shoal::agent
