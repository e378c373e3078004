// The libtorrent session: which torrents it seeds, from which blobs, what happens to it. Hides
// libtorrent from the rest of the agent: its settings, its alerts, its shutdown (ADR 0003).
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "agent/bittorrent/open_blobs.h"
#include "core/base/error.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/base/units.h"
#include "core/content/torrent.h"

namespace shoal::agent::bittorrent {

// Which blob a torrent's file is, by its pieces root.
using SeedFiles = std::map<content::Hash32, content::Digest>;

// Thread: the control thread, but for prepare() and close().
// Lifetime: stop() and then close() before destruction.
class Session : OneThreadOnly {
 public:
  struct Options {
    std::string listen;      // ADDRESS:PORT; port 0 for any
    std::string announce;    // URL of the only tracker
    std::string user_agent;  // as peers and the tracker see it
    Rate upload_limit;       // sizes what is read ahead; the limit itself is Hooks::pace
  };
  struct Hooks {
    using Clock = std::chrono::steady_clock;
    // Any thread.
    OpenBlobs::Find find;
    // Takes bytes of the upload limit or says when to ask again; empty: no limit. Any thread.
    std::function<std::optional<Clock::time_point>(std::uint64_t bytes, Clock::time_point now)>
        pace;
    // A torrent does not work: what its files are made of is not there, or libtorrent will not
    // have it. It stays until remove(). Control thread.
    std::function<void(const content::TruncatedInfoHash&, const Error&)> failed;
  };
  struct Stats {
    std::uint64_t seeding = 0;  // torrents for which peers may come
    std::uint64_t peers = 0;
    std::uint64_t sent = 0;  // bytes of files, since the session began
  };
  // A torrent that is ready to be added.
  class Seed;

  // Starts libtorrent's threads and listens. Blocks for milliseconds. Errors: unavailable (cannot
  // listen there).
  static Result<std::unique_ptr<Session>> open(Executor control, Options options, Hooks hooks);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Parses the torrent, which has its piece layers, and checks them: milliseconds for large ones.
  // Any thread. Errors: invalid (libtorrent's words).
  static Result<std::shared_ptr<Seed>> prepare(const content::Torrent& torrent, SeedFiles files);

  // Seeds it from now on. All of its blobs are complete in the store. It must not be there already
  // (checked).
  void add(std::shared_ptr<Seed> seed);
  // Its peers are disconnected, the tracker is told. Nothing if it is not there.
  void remove(const content::TruncatedInfoHash& torrent);
  std::size_t torrents() const;

  // A blob left the store: whoever reads it still must not keep its bytes on the disk.
  void blob_gone(const content::Digest& blob);

  // To be called every second or so: asks for new stats(), closes blobs that nobody has read for a
  // while.
  void tick();
  const Stats& stats() const;
  // Where it listens.
  std::uint16_t port() const;

  // Takes no more events; hooks are not called any more, but for find and pace. Idempotent.
  void stop();
  // Disconnects all peers, tells the tracker (and waits for it for two seconds), ends libtorrent's
  // threads and closes all blobs. Blocks; any thread, after stop(). Idempotent.
  void close();

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::agent::bittorrent
