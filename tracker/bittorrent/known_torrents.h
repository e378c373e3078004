// The torrents that clients may announce here: those of the models that a reference in the
// catalogue names, by the rule of core/content/torrent.h. Hides how info-hashes are found and kept
// up to date.
//
// Thread: the control thread. Lifetime: every refresh() has ended before destruction.
#pragma once

#include "core/async/task.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/torrent.h"
#include "tracker/service/control.h"

namespace shoal::tracker {

class KnownTorrents {
 public:
  KnownTorrents(Executor executor, Control& control);

  // Catches up with the catalogue: at once if no reference changed since the last time. A model of
  // which no torrent can be made (a root that neither its manifest nor a piece table says, too
  // large) is left out, and tried again with the next change. Errors: the catalogue's, timed_out,
  // cancelled (after close()); what was known stays known.
  Task<Status> refresh(Deadline deadline);
  // Ends refresh(), now and in future. Sticky.
  void close() { loaded_.close(); }

  bool contains(const content::TruncatedInfoHash& torrent) const {
    return torrents_.contains(torrent);
  }
  std::size_t size() const { return torrents_.size(); }
  // Another number after each refresh() that had something to do.
  std::uint64_t version() const { return version_; }

 private:
  Task<Status> load();

  Control& control_;
  std::map<content::Digest, content::TruncatedInfoHash> by_manifest_;
  std::set<content::TruncatedInfoHash> torrents_;
  std::uint64_t version_ = 0;  // of the catalogue's references
  bool loading_ = false;
  Condition loaded_;  // or given up
};

}  // namespace shoal::tracker
