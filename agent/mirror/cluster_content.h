// The cluster's models as the content of the mirror: names and tags are references of the tracker's
// catalogue, and while it cannot be asked, what this node's library knows.
//
// A blob is given under a name only if a manifest that the name knows has it: one that a tag of the
// name leads to, or that was handed out here under the name before.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/mirror/content.h"
#include "agent/mirror/fills.h"
#include "agent/model/library.h"
#include "agent/swarm/inventory.h"
#include "agent/tracker/catalogue_client.h"
#include "core/async/blocking_pool.h"
#include "core/async/event.h"
#include "core/base/thread_check.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class ClusterContent final : public MirrorContent, OneThreadOnly {
 public:
  ClusterContent(Executor executor, store::BlobStore& store, Library& library, Inventory& inventory,
                 CatalogueClient& catalogue, BlockingPool& pool, Fills& fills);
  ~ClusterContent() override;

  Task<Result<MirrorManifest>> manifest(content::Reference reference, bool head_only) override;
  Task<Result<MirrorBlob>> blob(std::string name, content::Digest digest) override;
  Task<Result<bool>> knows(std::string name) override;
  Task<Result<MirrorList>> tags(std::string name, OciPage page) override;
  Task<Result<MirrorList>> names(OciPage page) override;

  ReaderId begin_reading(MirrorBlob blob, ByteRange range, std::string pull_id) override;
  Task<Result<std::shared_ptr<store::Blob>>> opened(ReaderId reader, Deadline deadline) override;
  std::string advance(ReaderId reader, std::uint64_t offset) override;
  void end_reading(ReaderId reader) override;
  Task<void> stop() override;

 private:
  using Clock = std::chrono::steady_clock;
  // What is remembered of a name besides what the library knows.
  struct Name {
    std::set<content::Digest> manifests;  // handed out under it
    bool searching = false;               // in the catalogue
    std::optional<Clock::time_point> searched;
    std::uint64_t used = 0;  // the higher the later
  };

  Name& remember(const std::string& name);
  std::vector<std::string> library_tags(const std::string& name) const;
  std::optional<MirrorBlob> find_here(const std::string& name, const content::Digest& digest);
  Task<Status> search(std::string name, content::Digest digest);
  Task<Status> look_through(std::string name, content::Digest digest);
  Task<Result<std::string>> stored_manifest(content::Digest digest);
  Task<Result<std::string>> fetch_manifest(std::string reference, content::Digest digest);
  Task<Result<std::string>> record_manifest(std::string reference, content::Digest digest);

  store::BlobStore& store_;
  Library& library_;
  Inventory& inventory_;
  CatalogueClient& catalogue_;
  BlockingPool& pool_;
  Fills& fills_;

  std::map<std::string, Name> names_;
  std::uint64_t uses_ = 0;
  std::set<content::Digest> fetching_;  // manifests
  Condition changed_;                   // a search or a fetch has ended
  Event stop_;
};

}  // namespace shoal::agent
