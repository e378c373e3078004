#include "agent/mirror/cluster_content.h"

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "core/content/manifest.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallTimeout{5'000};
constexpr milliseconds kConflictPause{50};
constexpr std::size_t kNamesKept = 1024;
constexpr std::size_t kManifestsKept = 64;  // of one name, beyond those the library knows by it
// How often the catalogue is searched for what a name has not: everybody on the node may ask.
constexpr std::chrono::seconds kSearchPause{5};
constexpr std::size_t kSearchedManifests = 64;  // the newest
constexpr std::size_t kSearchedPages = 16;

std::string_view name_of(std::string_view reference) {
  return reference.substr(0, reference.find(':'));
}

// The catalogue's order is by name, then by tag: these come before and behind every tag of a name.
std::string before_tags(const std::string& name) { return name + ":"; }
std::string behind_tags(const std::string& name) { return name + ":~"; }

// The catalogue has no answer now, which says nothing about what there is.
bool is_away(const Error& error) { return error.code() != Errc::kNotFound; }

std::optional<MirrorBlob> part_of(const content::ModelManifest& manifest,
                                  const content::Digest& digest) {
  const content::Descriptor& config = manifest.config;
  if (config.digest == digest) {
    return MirrorBlob{digest, config.size, config.pieces_root(), config.media_type};
  }
  for (const content::ModelFile& file : manifest.files) {
    if (file.digest == digest) {
      return MirrorBlob{digest, file.size, file.pieces_root, file.media_type};
    }
  }
  return std::nullopt;
}

}  // namespace

ClusterContent::ClusterContent(Executor executor, store::BlobStore& store, Library& library,
                               Inventory& inventory, CatalogueClient& catalogue, BlockingPool& pool,
                               Fills& fills)
    : store_(store),
      library_(library),
      inventory_(inventory),
      catalogue_(catalogue),
      pool_(pool),
      fills_(fills),
      changed_(executor),
      stop_(executor) {}

ClusterContent::~ClusterContent() = default;

Task<void> ClusterContent::stop() {
  stop_.set();
  changed_.close();
  co_await fills_.stop();
}

ClusterContent::Name& ClusterContent::remember(const std::string& name) {
  assert_owner_thread();
  if (!names_.contains(name) && names_.size() >= kNamesKept) {
    auto oldest = names_.end();
    for (auto it = names_.begin(); it != names_.end(); ++it) {
      if (it->second.searching) continue;  // a task refers to it
      if (oldest == names_.end() || it->second.used < oldest->second.used) oldest = it;
    }
    if (oldest != names_.end()) names_.erase(oldest);
  }
  Name& entry = names_[name];
  entry.used = ++uses_;
  return entry;
}

std::vector<std::string> ClusterContent::library_tags(const std::string& name) const {
  std::vector<std::string> tags;
  for (const auto& model : library_.list()) {
    for (const std::string& reference : model->references) {
      if (name_of(reference) == name) tags.push_back(reference.substr(name.size() + 1));
    }
  }
  std::sort(tags.begin(), tags.end());
  return tags;
}

// --- Manifests
// -------------------------------------------------------------------------------------

Task<Result<MirrorManifest>> ClusterContent::manifest(content::Reference reference,
                                                      bool head_only) {
  const std::string name = reference.name();
  MirrorManifest out;
  out.media_type = content::kManifestMediaType;
  std::string tagged;  // the reference that the library shall know it by
  if (reference.digest() != nullptr) {
    out.digest = *reference.digest();
    auto known = co_await knows(name);
    if (!known) co_return fail(known.error());
    if (!*known) co_return fail(Errc::kNotFound, "nothing here has the name " + name);
  } else {
    tagged = reference.str();
    auto resolved = co_await catalogue_.resolve(tagged, Deadline::after(kCallTimeout));
    if (resolved) {
      out.digest = resolved->manifest;
      out.size = resolved->manifest_size;
    } else if (!is_away(resolved.error())) {
      co_return fail(resolved.error());
    } else if (auto here = library_.find(tagged)) {
      out.digest = here->digest;
    } else {
      co_return fail(resolved.error());
    }
  }
  if (head_only && out.size != 0 && library_.find(out.digest)) co_return out;
  auto bytes = co_await fetch_manifest(tagged, out.digest);
  if (!bytes) co_return fail(bytes.error());
  Name& entry = remember(name);
  if (entry.manifests.size() >= kManifestsKept) entry.manifests.clear();
  entry.manifests.insert(out.digest);
  out.size = bytes->size();
  if (!head_only) out.bytes = std::move(*bytes);
  co_return out;
}

Task<Result<std::string>> ClusterContent::stored_manifest(content::Digest digest) {
  auto work = [this, digest] { return read_whole(store_, digest, content::kMaxManifestSize); };
  co_return co_await pool_.run(work);
}

// From here, else from the catalogue; then this node knows the model, under the reference if there
// is one. Once at a time: the store makes a blob for one caller only.
Task<Result<std::string>> ClusterContent::fetch_manifest(std::string reference,
                                                         content::Digest digest) {
  while (fetching_.contains(digest)) {
    Status woken = co_await changed_.wait(Deadline::never());
    if (!woken) co_return fail(woken.error());
  }
  auto known = library_.find(digest);
  if (known && (reference.empty() || known->references.contains(reference))) {
    auto bytes = co_await stored_manifest(digest);
    if (bytes || fetching_.contains(digest)) co_return bytes;
  }
  fetching_.insert(digest);
  auto bytes = co_await record_manifest(std::move(reference), digest);
  fetching_.erase(digest);
  changed_.notify_all();
  co_return bytes;
}

Task<Result<std::string>> ClusterContent::record_manifest(std::string reference,
                                                          content::Digest digest) {
  Result<std::string> bytes = fail(Errc::kNotFound, "");
  if (library_.find(digest)) bytes = co_await stored_manifest(digest);
  if (!bytes) {
    auto answer = co_await catalogue_.manifest(digest, Deadline::after(kCallTimeout));
    if (!answer) co_return fail(answer.error());
    bytes = std::move(answer->bytes);
  }
  auto parsed = content::ModelManifest::parse(*bytes);
  if (parsed && parsed->provisional) {
    co_return fail(Errc::kNotFound, "the model is still being published");
  }
  auto work = [this, reference, text = *bytes] { return library_.record(reference, text, {}); };
  auto model = co_await pool_.run(work);
  // A pull may be storing it at this moment.
  for (const Deadline deadline = Deadline::after(kCallTimeout);
       !model && model.error().code() == Errc::kConflict && !deadline.expired();) {
    SHOAL_CO_TRY(co_await sleep_until(Deadline::after(kConflictPause), &stop_));
    model = co_await pool_.run(work);
  }
  if (!model) co_return fail(model.error());
  inventory_.set_complete(digest, bytes->size());
  co_return bytes;
}

// --- Blobs of a name
// -------------------------------------------------------------------------------------

std::optional<MirrorBlob> ClusterContent::find_here(const std::string& name,
                                                    const content::Digest& digest) {
  std::set<content::Digest> handed_out;
  if (auto it = names_.find(name); it != names_.end()) handed_out = it->second.manifests;
  for (const auto& model : library_.list()) {
    const bool named =
        handed_out.contains(model->digest) ||
        std::any_of(model->references.begin(), model->references.end(),
                    [&](const std::string& reference) { return name_of(reference) == name; });
    if (!named) continue;
    if (auto part = part_of(model->manifest, digest)) return part;
  }
  return std::nullopt;
}

Task<Result<MirrorBlob>> ClusterContent::blob(std::string name, content::Digest digest) {
  if (auto part = find_here(name, digest)) co_return *part;
  SHOAL_CO_TRY(co_await search(name, digest));
  if (auto part = find_here(name, digest)) co_return *part;
  co_return fail(Errc::kNotFound, "no manifest of " + name + " has the blob " + digest.str());
}

// In the manifests of the name's tags that this node does not know. One search at a time, and none
// soon after another: a client that has its manifest from here has no need of it.
Task<Status> ClusterContent::search(std::string name, content::Digest digest) {
  for (;;) {
    Name& entry = remember(name);
    if (entry.searching) {
      if (Status woken = co_await changed_.wait(Deadline::never()); !woken) co_return woken;
      if (find_here(name, digest)) co_return Status();
      continue;
    }
    if (entry.searched && Clock::now() - *entry.searched < kSearchPause) co_return Status();
    entry.searching = true;
    break;
  }
  Status done = co_await look_through(name, digest);
  Name& entry = remember(name);
  entry.searching = false;
  if (done) entry.searched = Clock::now();
  changed_.notify_all();
  co_return done;
}

Task<Status> ClusterContent::look_through(std::string name, content::Digest digest) {
  std::vector<api::ReferenceRecord> tags;
  std::string after = before_tags(name);
  for (std::size_t page = 0; page < kSearchedPages && !after.empty(); ++page) {
    auto list = co_await catalogue_.references(after, Deadline::after(kCallTimeout));
    if (!list) co_return fail(list.error());
    after = list->next;
    for (api::ReferenceRecord& record : list->references) {
      if (name_of(record.reference) != name) {
        after.clear();
        break;
      }
      if (!library_.find(record.manifest)) tags.push_back(std::move(record));
    }
  }
  std::sort(tags.begin(), tags.end(),
            [](const auto& a, const auto& b) { return a.updated_unix_ms > b.updated_unix_ms; });
  if (tags.size() > kSearchedManifests) tags.resize(kSearchedManifests);
  for (const api::ReferenceRecord& tag : tags) {
    auto answer = co_await catalogue_.manifest(tag.manifest, Deadline::after(kCallTimeout));
    if (!answer) co_return fail(answer.error());
    Result<content::ModelManifest> parsed =
        content::ModelManifest::parse(std::string_view(answer->bytes));
    if (!parsed || !part_of(*parsed, digest)) continue;
    auto stored = co_await fetch_manifest(tag.reference, tag.manifest);
    if (!stored) co_return fail(stored.error());
    co_return Status();
  }
  co_return Status();
}

// --- Names and tags
// -------------------------------------------------------------------------------------

Task<Result<bool>> ClusterContent::knows(std::string name) {
  if (auto it = names_.find(name); it != names_.end() && !it->second.manifests.empty()) {
    co_return true;
  }
  if (!library_tags(name).empty()) co_return true;
  const OciPage one{1, ""};
  auto list = co_await tags(name, one);
  if (list) co_return true;
  if (!is_away(list.error())) co_return false;
  co_return fail(list.error());
}

Task<Result<MirrorList>> ClusterContent::tags(std::string name, OciPage page) {
  MirrorList out;
  bool any = false;
  std::string after = before_tags(name) + page.last;
  while (!after.empty() && !out.more) {
    auto list = co_await catalogue_.references(after, Deadline::after(kCallTimeout));
    if (!list) {
      // Without the catalogue, what is known here.
      std::vector<std::string> here = library_tags(name);
      if (here.empty()) co_return fail(list.error());
      auto first = std::upper_bound(here.begin(), here.end(), page.last);
      out.entries.assign(first, here.end());
      out.more = out.entries.size() > page.n;
      if (out.more) out.entries.resize(page.n);
      co_return out;
    }
    after = list->next;
    for (const api::ReferenceRecord& record : list->references) {
      if (name_of(record.reference) != name) {
        after.clear();
        break;
      }
      any = true;
      if (out.entries.size() == page.n) {
        out.more = true;
        break;
      }
      out.entries.push_back(record.reference.substr(name.size() + 1));
    }
  }
  if (any || !page.last.empty()) co_return out;
  co_return fail(Errc::kNotFound, "nothing here has the name " + name);
}

Task<Result<MirrorList>> ClusterContent::names(OciPage page) {
  MirrorList out;
  std::string after = page.last.empty() ? std::string() : behind_tags(page.last);
  // A page of references is asked for again behind each name, so that a name with many tags costs
  // no more than one with few.
  for (bool more = true; more && !out.more;) {
    auto list = co_await catalogue_.references(after, Deadline::after(kCallTimeout));
    if (!list) {
      std::set<std::string> here;
      for (const auto& model : library_.list()) {
        for (const std::string& reference : model->references) here.emplace(name_of(reference));
      }
      out.entries.clear();
      auto first = here.upper_bound(page.last);
      out.entries.assign(first, here.end());
      out.more = out.entries.size() > page.n;
      if (out.more) out.entries.resize(page.n);
      co_return out;
    }
    more = !list->next.empty();
    for (const api::ReferenceRecord& record : list->references) {
      std::string name(name_of(record.reference));
      if (!out.entries.empty() && out.entries.back() == name) continue;
      if (out.entries.size() == page.n) {
        out.more = true;
        break;
      }
      out.entries.push_back(std::move(name));
    }
    if (!out.entries.empty()) after = behind_tags(out.entries.back());
  }
  co_return out;
}

// --- Reading
// -------------------------------------------------------------------------------------

MirrorContent::ReaderId ClusterContent::begin_reading(MirrorBlob blob, ByteRange range,
                                                      std::string pull_id) {
  return fills_.begin(std::move(blob), range, std::move(pull_id));
}

Task<Result<std::shared_ptr<store::Blob>>> ClusterContent::opened(ReaderId reader,
                                                                  Deadline deadline) {
  return fills_.opened(reader, deadline);
}

std::string ClusterContent::advance(ReaderId reader, std::uint64_t offset) {
  return fills_.advance(reader, offset);
}

void ClusterContent::end_reading(ReaderId reader) { fills_.end(reader); }

}  // namespace shoal::agent
