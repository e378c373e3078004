// The tracker's state as its routes share it: the fleet, the prefetch orders, the catalogue behind
// its thread, and the long polls that wait for news. Hides who must be woken after which change.
//
// Thread: the control thread, except for what runs in with_catalogue().
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/async/blocking_pool.h"
#include "core/async/deadline.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/http/message.h"
#include "tracker/catalogue/catalogue.h"
#include "tracker/connect_back/connect_back.h"
#include "tracker/fleet/fleet.h"
#include "tracker/fleet/verdicts.h"
#include "tracker/ingests/ingest_book.h"
#include "tracker/prefetch/prefetch_book.h"

namespace shoal::tracker {

std::int64_t unix_ms_now();

class Control : OneThreadOnly {
 public:
  struct Options {
    Fleet::Options fleet = {};
    PrefetchBook::Options prefetch = {};
    IngestBook::Options ingests = {};
    std::chrono::milliseconds connect_back_timeout{3'000};
    // Changes of neighbours are gathered for so long before agents are told.
    std::chrono::milliseconds gather{20};
    // Those who watch a prefetch are told of progress at most so often.
    std::chrono::milliseconds progress_interval{100};
    std::chrono::milliseconds collect_interval = std::chrono::hours(1);
  };

  Control(Executor executor, Options options, std::unique_ptr<Catalogue> catalogue,
          std::shared_ptr<http::TlsContext> tls);
  ~Control();

  // Reads the catalogue into the fleet and the book, and starts the background work.
  Task<Status> start();
  // Ends long polls and connect-backs, now and in future: before the server stops.
  void end_waits();
  // Ends background work, after the server has stopped.
  Task<void> stop();

  // Runs fn(Catalogue&), which gives a Result, on the catalogue's thread; `fn` has a name and is
  // taken from there (BlockingPool::run). Errors: overloaded (too many wait), and fn's.
  template <typename F>
  auto with_catalogue(F& fn) {
    auto job = [catalogue = catalogue_.get(), fn = std::move(fn)] { return fn(*catalogue); };
    return pool_.run(job);
  }

  const Options& options() const { return options_; }
  const std::string& epoch() const { return epoch_; }
  bool secure() const { return secure_; }
  swarm::Time now() const { return std::chrono::steady_clock::now(); }
  std::chrono::milliseconds uptime() const;
  // Why the tracker is not ready to serve; nothing when it is.
  std::optional<std::string> not_ready() const;

  Fleet& fleet() { return fleet_; }
  PrefetchBook& book() { return book_; }
  const IngestBook& ingests() const { return ingests_; }
  ConnectBack& connect_back() { return connect_back_; }
  TaskGroup& tasks() { return tasks_; }

  // After a reference was made, moved or removed in the catalogue.
  void references_changed() { ++references_version_; }
  // Another number after each such change.
  std::uint64_t references_version() const { return references_version_; }

  // What node `node` found when it read the whole blob. Makes others look, withdraws a table that
  // lies and tells everybody. Gives whether it is withdrawn. Errors: the catalogue's.
  Task<Result<bool>> verdict(std::string node, api::Verdict verdict);
  api::EventTrust trust_of(const std::string& node) const;

  // What a publisher says of its ingest; gives how that stands. Errors: those of the catalogue's
  // calls about ingests, and conflict (the node is registered with another epoch).
  Task<Result<api::IngestStatus>> ingest(content::Digest manifest, api::IngestUpdate said);
  // After the catalogue failed an ingest by itself, which gave up its manifest.
  void ingest_failed(const StoredIngest& ingest);
  // After a manifest lost its last name.
  void manifest_unnamed(const content::Digest& manifest);

  // After the node was registered: its part of running orders, and a new start for its events.
  void node_registered(const Node& node);
  // After a node that was taken for dead was heard again.
  void node_came(const Node& node);
  // After any change of fleet or book: wakes who must know. Orders at once, neighbours gathered.
  void changed();
  // Connects back to each and takes those for dead that do not answer.
  void check(std::vector<Fleet::Suspect> suspects);

  struct News {
    std::uint64_t version = 0;
    bool orders = false;
    bool neighbours = false;
    bool trust = false;
  };
  // Waits until the node has news after `since`, a newer poll of it begins, or `deadline`.
  Task<News> wait_for_news(std::string node, std::uint64_t since, Deadline deadline);
  // Waits until the prefetch has another version than `since`, or `deadline`; its version then.
  Task<std::uint64_t> wait_for_progress(std::string id, std::uint64_t since, Deadline deadline);
  // The same of an ingest.
  Task<std::uint64_t> wait_for_ingest(content::Digest manifest, std::uint64_t since,
                                      Deadline deadline);

 private:
  // What one node's events poll waits on.
  struct Feed {
    explicit Feed(Executor executor) : changed(std::move(executor)) {}
    std::uint64_t version = 0;
    std::uint64_t orders_at = 0;
    std::uint64_t neighbours_at = 0;
    std::uint64_t trust_at = 0;
    std::vector<content::Digest> checks;  // told with trust_at
    std::uint64_t polls = 0;              // begun
    std::size_t waiting = 0;
    Condition changed;
  };

  Feed& feed(std::string_view node);
  Task<void> tick_loop();
  Task<void> news_loop();
  void tell_neighbours();
  void tell_trust(bool all);
  std::vector<content::Digest> checks_of(const std::string& node) const;
  Task<void> check_suspect(Fleet::Suspect suspect);
  Task<Status> store_ended(StoredPrefetch prefetch);
  Task<Result<api::IngestStatus>> begin_ingest(content::Digest manifest, api::IngestUpdate said);
  Task<Result<api::IngestStatus>> settle_ingest(content::Digest manifest, api::IngestUpdate said);
  Task<Result<api::IngestStatus>> fail_ingest(content::Digest manifest, std::string node,
                                              std::string epoch, Error error);
  void restore_ingests(const std::vector<StoredIngest>& ingests);
  void watch_publisher(const StoredIngest& ingest);
  void fail_lost_ingests();
  Task<Status> fail_lost_ingest(content::Digest manifest, std::string node, std::string epoch,
                                Error why);
  Task<Status> collect();
  void died(const std::string& node, const std::string& epoch, std::string_view why);
  void update_metrics();

  // Constant after construction
  const Executor executor_;
  const Options options_;
  const std::string epoch_;
  const bool secure_;
  const swarm::Time started_;
  const std::unique_ptr<Catalogue> catalogue_;

  // Control thread only
  Fleet fleet_;
  PrefetchBook book_;
  IngestBook ingests_;
  Verdicts verdicts_;
  std::vector<api::Withdrawal> withdrawn_;  // newest first
  ConnectBack connect_back_;
  std::map<std::string, std::unique_ptr<Feed>, std::less<>> feeds_;
  Condition news_;         // the fleet has some to be gathered, or progress to be told
  Condition progress_;     // of any prefetch
  Condition ingest_news_;  // of any ingest
  bool progress_due_ = false;
  bool loaded_ = false;
  std::uint64_t references_version_ = 1;
  Event stop_;
  BlockingPool pool_;
  TaskGroup tasks_;
};

}  // namespace shoal::tracker
