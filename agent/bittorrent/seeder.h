// Seeds the models that are whole on this node to BitTorrent clients: every one that the cluster's
// catalogue names, for as long as it is named and here.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/bittorrent/session.h"
#include "agent/blob_cache.h"
#include "agent/lane/upload_gate.h"
#include "agent/model/library.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/thread_check.h"
#include "core/content/torrent.h"
#include "core/store/blob_store.h"

namespace shoal::agent::bittorrent {

// Thread: the control thread. Lifetime: borrows its parts, which outlive it; stop() before
// destruction if start() was called.
class Seeder : OneThreadOnly {
 public:
  struct Parts {
    store::BlobStore& store;
    BlobCache& blobs;
    Library& library;
    UploadGate& gate;  // what peers get is taken from its limit, in the class background
    BlockingPool& pool;
  };
  // The manifests that references of the catalogue name.
  using Named = std::function<Task<Result<std::set<content::Digest>>>()>;

  // options.upload_limit is the gate's.
  Seeder(Executor executor, Parts parts, Session::Options options, Named named);
  ~Seeder();

  // Listens. Errors: those of Session::open.
  Status start();
  // Disconnects the peers; the tracker is told, if it answers within two seconds.
  Task<void> stop();

  // Something changed about which models are here whole: it is looked at now and not in a few
  // seconds.
  void look_soon();
  // A blob left the store.
  void blob_gone(const content::Digest& blob);
  // The tracker is there (again): references may have come and gone.
  void names_changed();
  // No reference names these manifests any more.
  void unnamed(const std::vector<content::Digest>& manifests);

  bool seeds(const content::TruncatedInfoHash& torrent) const {
    return torrents_.contains(torrent);
  }
  // Where it listens.
  std::uint16_t port() const { return session_->port(); }

 private:
  using Clock = std::chrono::steady_clock;
  using Model = std::shared_ptr<const Library::Model>;
  struct Torrent {
    std::string name;
    // More than one: they differ in what a torrent does not say.
    std::set<content::Digest> manifests;
  };
  struct Made {
    content::TruncatedInfoHash hash{};
    std::string name;
    std::string info_hash;  // hex
    std::shared_ptr<Session::Seed> seed;
  };

  Task<void> run();
  Task<void> look();
  // `here` outlives the task.
  Task<void> ask_names(const std::map<content::Digest, Model>* here);
  Task<void> seed(Model model);
  std::map<content::Digest, Model> whole_models() const;
  Result<Made> make(const Library::Model& model) const;
  std::string why_not(const content::Digest& manifest) const;
  void drop(const content::Digest& manifest, const std::string& why);
  void failed(const content::TruncatedInfoHash& hash, const Error& why);
  void measure();

  // Constant after construction
  const Executor executor_;
  const Parts parts_;
  const Session::Options options_;
  const Named named_;

  std::unique_ptr<Session> session_;  // null before start() and after stop()
  std::map<content::TruncatedInfoHash, Torrent> torrents_;
  std::map<content::Digest, content::TruncatedInfoHash> seeded_;  // by manifest
  // Manifests that are left alone until then: no torrent can be made of them, or it failed.
  std::map<content::Digest, Clock::time_point> not_before_;

  std::set<content::Digest> names_;     // what the catalogue named when it was asked last
  std::set<content::Digest> unnamed_;   // since it was asked; its answer may be older
  bool ask_ = true;                     // it should be asked, whatever is here
  std::set<content::Digest> nameless_;  // whole here when it was asked, and not named
  std::chrono::seconds pause_{0};       // until it is asked again because of those
  Clock::time_point asked_;

  std::uint64_t sent_ = 0;  // counted so far
  bool look_now_ = false;
  Condition wake_;
  TaskGroup tasks_;
};

}  // namespace shoal::agent::bittorrent
