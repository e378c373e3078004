// What this node can serve, for everybody who asks: one log of changes per blob and the long polls
// that wait for them (docs/formats/lane.md, "Have"; docs/formats/have.md).
#pragma once

#include "core/async/task.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/lane/lane_server.h"
#include "core/async/event.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"
#include "core/http/message.h"
#include "core/swarm/have_map.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: close() and the end of all have() tasks before destruction.
class HaveBoard final : public LaneBackend, OneThreadOnly {
 public:
  explicit HaveBoard(Executor executor);

  // Adds a blob, or corrects one whose pieces are not what was said before.
  void set(const content::Digest& blob, const content::BlobLayout& layout,
           const content::PieceSet& have);
  // More pieces of a blob that was set; ignored for others.
  void add(const content::Digest& blob, content::PieceRange pieces);
  // Pieces that are not there any more.
  void remove_pieces(const content::Digest& blob, const content::PieceSet& lost);
  // The blob is gone from the store.
  void remove(const content::Digest& blob);

  // Null if the blob is not on the board.
  const content::PieceSet* pieces(const content::Digest& blob) const;

  Task<http::Response> have(http::Request request, std::shared_ptr<const LaneAsker> asker) override;
  void askers_left() override { changed_.notify_all(); }

  // Ends the waiting polls, and later ones at once.
  void close();

 private:
  struct Asked {
    std::uint64_t blob;
    std::uint64_t version;
  };

  static Result<std::vector<Asked>> parse_asked(std::string_view text);
  std::vector<swarm::HaveEntry> collect(const std::vector<Asked>& asked) const;

  const Executor executor_;
  Condition changed_;
  Event stop_;
  std::unordered_map<std::uint64_t, swarm::HaveLog> logs_;  // by blob_key()
  std::unordered_map<std::uint64_t, std::uint64_t> gone_;   // removed blobs: a version to announce
};

}  // namespace shoal::agent
