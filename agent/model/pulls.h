// Bringing whole models here: from a reference to every verified byte. One pull per order of the
// tracker or request of a local caller; pulls share what they have in common.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/model/library.h"
#include "agent/model/order_pins.h"
#include "agent/model/settler.h"
#include "agent/model/table_finder.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/inventory.h"
#include "agent/tracker/catalogue_client.h"
#include "core/api/ingest.h"
#include "core/api/node.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/thread_check.h"
#include "core/swarm/types.h"

namespace shoal::agent {

// What a caller sees of a pull.
struct PullView {
  std::string id;
  std::uint64_t version = 0;
  api::PullState state = api::PullState::kQueued;
  std::string reference;
  content::Digest manifest;  // all zero until it is known
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  api::BytesBySource by_source;
  double rate = 0;  // bytes per second, over the last seconds
  std::optional<std::chrono::milliseconds> eta;
  std::string waiting_for;
  struct File {
    std::string path;
    content::Digest digest;
    std::uint64_t size = 0;
    std::uint64_t bytes_done = 0;
  };
  std::vector<File> files;
  std::optional<Error> error;
};

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Pulls : OneThreadOnly {
 public:
  struct Request {
    std::string id;         // empty: one is made up; the same id again is the same pull
    std::string reference;  // "name:tag" or "name@sha256:…"
    std::optional<content::Digest> manifest;  // what it was resolved to, if that is known
    swarm::Class cls = swarm::Class::kPrefetch;
    bool pin = false;
    bool ordered = false;  // by the tracker: a full disk is waited out, the pin ends with the model
  };

  Pulls(Executor executor, store::BlobStore& store, Library& library, Inventory& inventory,
        Fetcher& fetcher, CatalogueClient& catalogue, TableFinder& tables, OrderPins& pins,
        BlobCache& blobs, Settler& settler, BlockingPool& pool);
  ~Pulls();

  // Returns the pull's id. It goes on until it has ended, whoever asked for it.
  std::string start(Request request);
  // Stops wanting; verified pieces stay. False for an id that is not known.
  bool cancel(const std::string& id);

  // Nothing for an id that is not known. Ended pulls are known for kKept.
  std::optional<PullView> view(const std::string& id) const;
  // Returns once the pull's version is past `since`, else at the deadline. Errors: not_found.
  Task<Result<PullView>> wait(std::string id, std::uint64_t since, Deadline deadline);

  // For heartbeats: those that changed since the last call, or all that have not ended.
  std::vector<api::PullReport> reports(bool full);
  // What a running pull of that manifest waits for at this moment; empty if for nothing.
  std::string waiting_for(const content::Digest& manifest) const;
  // Whether somebody beside the pulls wants a blob that is being fetched.
  void set_wanted_elsewhere(std::function<bool(const content::Digest&)> wanted) {
    wanted_elsewhere_ = std::move(wanted);
  }
  // Whether a running pull wants the blob.
  bool wants(const content::Digest& blob) const { return wanted_elsewhere(blob, nullptr); }

  // Called when a pull ends.
  void on_ended(std::function<void()> callback) { on_ended_ = std::move(callback); }

  // From the fetcher.
  void pieces_arrived(const content::Digest& blob, std::uint64_t bytes, bool from_origin);
  void blob_arrived(const content::Digest& blob);

  // What can be had of the blob is not what its digest says: pulls of it fail.
  void blob_withdrawn(const content::Digest& blob, const Error& why);

  Task<void> stop();

  static constexpr std::chrono::minutes kKept{10};

 private:
  struct Part {
    content::Digest digest;
    std::uint64_t size = 0;
    std::optional<content::Hash32> pieces_root;
    std::string path;  // of one file that has it; "config" for the config
    std::uint64_t done = 0;
    bool complete = false;
  };
  struct Pull {
    explicit Pull(Executor executor) : stop(executor) {}
    PullView view;
    swarm::Class cls = swarm::Class::kPrefetch;
    bool pin = false;
    std::optional<Error> failure;  // from outside its task
    std::shared_ptr<const Library::Model> model;
    std::map<content::Digest, Part> parts;
    std::size_t missing = 0;             // parts not complete
    std::string doing;                   // what it waits for outside the fetcher
    bool ordered = false;                // by the tracker
    unsigned full = 0;                   // how often there was no room
    std::vector<store::ReadLease> kept;  // not to be evicted meanwhile: manifest, config, what is
                                         // not settled
    // Bytes of files that came while their model was still being published, by digest.
    std::map<content::Digest, std::uint64_t> streamed;
    bool reported = false;  // the newest version was given to reports()
    std::chrono::steady_clock::time_point last_bytes;
    std::uint64_t rate_bytes = 0;  // since the last tick
    std::chrono::steady_clock::time_point ended;
    Event stop;
  };

  // A publication that pulls of its provisional manifest wait for.
  struct Ingest {
    api::IngestStatus status;
    std::optional<Error> gone;  // the tracker does not know it
    std::size_t pulls = 0;
  };

  Task<void> run(std::shared_ptr<Pull> pull);
  Task<Status> work(Pull* pull);
  void add_parts(Pull& pull);
  // Of a model that is still being published (pulls_provisional.cc)
  Task<Status> stream(Pull* pull);
  Task<Status> begin_unsettled(Pull* pull, content::Digest name);
  Task<Status> settle(Pull* pull, std::map<std::string, content::Digest> names);
  Task<void> follow(content::Digest manifest, std::shared_ptr<Ingest> ingest);
  Task<void> drop_unsettled(Pull* pull, Error why);
  void want_all(Pull& pull, const std::shared_ptr<store::Blob>& blob,
                const std::vector<api::Origin>& origins);
  Task<Result<std::shared_ptr<const Library::Model>>> find_model(Pull* pull);
  Task<void> keep(Pull* pull, content::Digest digest);
  Task<Status> begin_part(Pull* pull, content::Digest digest);
  Task<Status> pause(Pull* pull, Error why, std::string doing);
  void end(Pull& pull, api::PullState state, std::optional<Error> error);
  void changed(Pull& pull);
  bool wanted_elsewhere(const content::Digest& blob, const Pull* except) const;
  Task<void> tick();
  bool may_get_room(Pull& pull, const Error& error, std::uint64_t size) const;
  std::string waits_for(const Pull& pull) const;

  // Constant after construction
  const Executor executor_;
  store::BlobStore& store_;
  Library& library_;
  Inventory& inventory_;
  Fetcher& fetcher_;
  CatalogueClient& catalogue_;
  TableFinder& tables_;
  OrderPins& pins_;
  BlobCache& blobs_;
  Settler& settler_;
  BlockingPool& pool_;

  std::function<void()> on_ended_;
  std::function<bool(const content::Digest&)> wanted_elsewhere_;
  TaskGroup tasks_;
  Event stop_;
  Condition progress_;
  std::map<std::string, std::shared_ptr<Pull>> pulls_;          // shared with their tasks
  std::map<content::Digest, std::shared_ptr<Ingest>> ingests_;  // shared with their tasks and pulls
};

}  // namespace shoal::agent
