// Publishing what an origin has before it is read: the tracker gets a provisional manifest at once,
// this node and others read the files under leases and exchange what they have, and when all of it
// is here and hashed the model gets its final manifest. ADR 0008.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/model/publisher.h"
#include "agent/model/settler.h"
#include "agent/origin/origin.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/hash_book.h"
#include "agent/swarm/inventory.h"
#include "agent/tracker/catalogue_client.h"
#include "core/api/catalogue.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/async/task_group.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/content/manifest.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// A file of an origin that shall be part of a model.
struct PublicationFile {
  content::RelativePath path;
  Origin* origin = nullptr;  // outlives the publication
  OriginFile file;
  std::optional<content::Digest> digest;  // which the origin declares
};

struct PublicationView {
  enum class State { kRunning, kComplete, kFailed, kCancelled };
  struct File {
    std::string path;
    std::uint64_t size = 0;
    std::uint64_t bytes_done = 0;  // are here
    content::Digest digest;        // once it is done
    std::string how;               // then: "copy", or "present" if it was here before
  };
  State state = State::kRunning;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  api::BytesBySource by_source;
  content::Digest provisional;  // the manifest until then; all zero while nobody knows of it
  content::Digest manifest;     // once complete
  std::string waiting_for;      // while no bytes come
  std::vector<File> files;      // ascending by path
  std::optional<Error> error;
};

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class Publications : OneThreadOnly {
 public:
  struct Request {
    std::string reference;  // "name:tag"
    std::string title;
    std::vector<PublicationFile> files;  // ascending by path
    std::map<std::string, std::string> annotations;
    api::Origin readers;  // its nodes and labels: who can read the files where they are
  };
  struct Parts {
    store::BlobStore& store;
    Fetcher& fetcher;
    Inventory& inventory;
    HashBook& hashes;
    CatalogueClient& catalogue;
    Publisher& publisher;
    Settler& settler;
    // Whether somebody else here wants that blob.
    std::function<bool(const content::Digest&)> wanted_elsewhere;
    // A blob that came here for a publication that came to nothing.
    std::function<void(const content::Digest&)> unwanted;
  };

  Publications(Executor executor, std::string node, std::string epoch, std::size_t threads,
               Parts parts);
  ~Publications();

  // Returns the publication's id. It goes on whoever asked for it. Errors: invalid (no file, or
  // files that cannot be one model); conflict (this node is publishing that reference already).
  Result<std::string> start(Request request);
  // Nothing of it stays. False: no such publication.
  bool cancel(const std::string& id);
  // Returns once it has ended, else at the deadline. Errors: not_found.
  Task<Result<PublicationView>> wait(std::string id, Deadline deadline);

  // From the fetcher.
  void pieces_arrived(const content::Digest& blob, std::uint64_t bytes, bool from_origin);
  void blob_arrived(const content::Digest& blob);
  bool wants(const content::Digest& blob) const;

  Task<void> stop();

  static constexpr std::chrono::minutes kKept{10};

 private:
  struct Part;
  struct Publication;

  Task<void> run(std::shared_ptr<Publication> publication);
  Task<Status> work(std::shared_ptr<Publication> publication);
  Task<Status> announce(Publication* publication);
  Task<Status> begin(Publication* publication, Part* part);
  Task<void> read(std::shared_ptr<Publication> publication, Part* part);
  Task<Status> hash(Publication* publication, Part* part);
  Task<Status> settle(Publication* publication, Part* part, content::Digest digest);
  Task<Status> audit(Publication* publication, Part* part);
  Task<Status> finish(Publication* publication);
  Task<void> clean_up(Publication* publication, Error why);
  Task<void> tick();
  std::vector<BlobOrigins> origins(const Publication& publication, bool settled) const;
  Result<content::PieceTable> stored_table(const content::Digest& digest) const;
  bool ending(const Publication& publication) const;
  // Whether one of them, but for that, has yet to bring the blob.
  bool wanted(const content::Digest& blob, const Publication* except) const;

  const Executor executor_;
  const std::string node_;
  const std::string epoch_;
  const Parts parts_;
  TaskGroup tasks_;
  Event stop_;
  Condition ended_;
  std::unordered_map<std::string, std::shared_ptr<Publication>> publications_;  // shared with tasks
  BlockingPool pool_;
};

}  // namespace shoal::agent
