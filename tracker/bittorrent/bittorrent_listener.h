// The tracker of the catalogue's torrents, for BitTorrent clients: /announce and /scrape over plain
// HTTP, as such clients speak it. docs/formats/bittorrent.md.
//
// Thread: the control thread. Lifetime: stop() has ended before destruction, and before Control's.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>

#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/http/message.h"
#include "core/http/server.h"
#include "core/http/url.h"
#include "tracker/bittorrent/announce.h"
#include "tracker/bittorrent/known_torrents.h"
#include "tracker/bittorrent/swarm_table.h"
#include "tracker/service/control.h"

namespace shoal::tracker {

class BitTorrentListener {
 public:
  struct Options {
    http::Endpoint listen = {};
    // How often clients shall announce, and may. A client is forgotten after SwarmTable's lifetime,
    // which leaves it time for a second try.
    std::chrono::seconds interval = std::chrono::minutes(5);
    std::chrono::seconds min_interval = std::chrono::minutes(1);
    std::chrono::milliseconds expiry =
        std::chrono::seconds(30);  // between two looks for silent ones
    SwarmTable::Options swarms = {};
  };

  // `control` outlives this.
  BitTorrentListener(Executor executor, Options options, Control& control);

  // Errors: those of http::Server::start.
  Status start();
  // With the real port; after start().
  const http::Endpoint& local() const { return server_.local(); }
  Task<void> stop(Deadline deadline);

 private:
  Task<http::Response> announce(http::Request request);
  Task<http::Response> scrape(http::Request request);
  Task<Status> catch_up();
  Task<void> expire_loop();
  void update_metrics() const;

  // Constant after construction
  const Options options_;
  Control& control_;

  // Control thread only
  KnownTorrents known_;
  SwarmTable swarms_;
  std::uint64_t retained_ = 0;  // KnownTorrents::version() that swarms_ was cut down to
  Event stop_;
  TaskGroup tasks_;
  http::Server server_;
};

}  // namespace shoal::tracker
