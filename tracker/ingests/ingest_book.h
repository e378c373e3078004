// Which models are served while their publishers still read them, and whether those publishers are
// there. What is known survives a restart of the tracker in the catalogue; whether a publisher is
// there is soft.
//
// Pure: no I/O, no clock. What take_lost() gives is the caller's to write to the catalogue, and
// comes back through put().
//
// Thread: one at a time (the control thread).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/api/ingest.h"
#include "core/base/result.h"
#include "core/swarm/types.h"
#include "tracker/catalogue/catalogue.h"

namespace shoal::tracker {

class IngestBook {
 public:
  struct Options {
    // A publisher that is absent for longer is gone.
    std::chrono::milliseconds publisher_grace = std::chrono::minutes(1);
    // When the catalogue did not take a failure, it is tried again after this.
    std::chrono::milliseconds retry = std::chrono::seconds(10);
    // How long those that ended are listed, and how long they can be asked for.
    std::chrono::milliseconds list_ended = std::chrono::hours(1);
    std::chrono::milliseconds keep_ended{Catalogue::kKeepUnreferencedMs};
  };
  explicit IngestBook(Options options) : options_(options) {}
  IngestBook(const IngestBook&) = delete;
  IngestBook& operator=(const IngestBook&) = delete;

  // As the catalogue has it now. Until node_came() its publisher counts as absent, from now on.
  void put(const StoredIngest& ingest, swarm::Time now);

  // A node registered, or is heard again; or it is dead.
  void node_came(std::string_view node, std::string_view epoch);
  void node_left(std::string_view node, swarm::Time now);

  struct Lost {
    StoredIngest ingest;
    Error why;
  };
  // Running ones whose publisher was started again, or has been absent for too long.
  std::vector<Lost> take_lost(swarm::Time now);
  // Forgets what ended long ago.
  void tick(std::int64_t now_unix_ms);

  // Null if there is none. Valid until the next call that is not const.
  const StoredIngest* find(const content::Digest& manifest) const;
  const StoredIngest* running_for(std::string_view reference) const;
  // Errors: not_found.
  Result<api::IngestStatus> status(const content::Digest& manifest) const;
  // Grows with every change of status(), also over restarts. 0: not known.
  std::uint64_t version(const content::Digest& manifest) const;
  // Running ones and those that ended lately, newest first; at most api::kMaxIngests.
  api::IngestList list(std::int64_t now_unix_ms) const;
  std::size_t running() const;

 private:
  struct Entry {
    StoredIngest stored;
    std::uint64_t version = 0;
    std::optional<swarm::Time> absent_since;  // none: its publisher is there
    bool restarted = false;                   // the publisher is there, but in another life
    std::optional<swarm::Time> taken;         // by take_lost(), last
  };
  static api::IngestStatus status_of(const Entry& entry);

  const Options options_;
  std::map<content::Digest, Entry> entries_;
};

}  // namespace shoal::tracker
