// What the readers of this node want of blobs that arrive: the demand behind the classes fault,
// window and plan. The fetcher knows classes, not readers; here is who wants what, so that one
// reader's demand changes and ends without touching another's.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "agent/swarm/fetcher.h"
#include "core/base/thread_check.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/swarm/types.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows the fetcher.
class Readers : OneThreadOnly {
 public:
  using Id = std::uint64_t;

  struct Want {
    swarm::Class cls = swarm::Class::kWindow;
    std::vector<content::PieceRange> pieces;
    swarm::Time deadline = swarm::kNever;

    friend bool operator==(const Want&, const Want&) = default;
  };

  explicit Readers(Fetcher& fetcher) : fetcher_(fetcher) {}

  // A number that no other reader has.
  Id open() { return ++last_; }

  // Replaces all that the reader wanted of the blob; at most one Want per class. A blob that is not
  // being fetched (it is complete) takes no demand.
  void want(Id reader, const content::Digest& blob, std::vector<Want> wants);
  // The reader wants nothing of the blob any more, or of any.
  void end(Id reader, const content::Digest& blob) { want(reader, blob, {}); }
  void end(Id reader);

  // Tells the fetcher anew, which has forgotten the blob and was given it again.
  void renew(const content::Digest& blob);

  // Whether some reader wants something of the blob.
  bool any(const content::Digest& blob) const { return wants_.contains(blob); }

 private:
  bool wanted_still(const content::Digest& blob, const Want& old_want) const;
  void tell(const content::Digest& blob, const Want& want);
  void refresh(const content::Digest& blob, swarm::Class cls);

  Fetcher& fetcher_;
  Id last_ = 0;
  // By blob and reader; without empty entries.
  std::unordered_map<content::Digest, std::map<Id, std::vector<Want>>> wants_;
};

}  // namespace shoal::agent
