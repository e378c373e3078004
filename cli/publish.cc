// shoal publish DIR|URL… --as NAME:TAG

#include <algorithm>
#include <chrono>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/node_progress.h"
#include "cli/progress.h"
#include "cli/publication.h"
#include "cli/publish_source.h"
#include "cli/rate_meter.h"
#include "cli/source_tree.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/units.h"
#include "core/content/manifest.h"
#include "core/content/reference.h"
#include "core/content/relative_path.h"
#include "core/http/url.h"

namespace shoal::cli {
namespace {

using agent_client::IngestMode;
using agent_client::IngestState;
using Clock = std::chrono::steady_clock;

// The agent hashes a file on one core; a few at a time keep its cores and the disk busy.
constexpr std::size_t kParallelIngests = 4;
constexpr std::size_t kMaxSources = 1'000;  // URLs of one model
constexpr std::chrono::milliseconds kPoll{250};

struct PublishedFile {
  std::string path;
  content::Digest digest;
  std::uint64_t size = 0;
  std::string how;
};

// The agent's side of one file.
struct Job {
  std::size_t file;
  PublishSource::Job reading;
};

// Lets the agent read all files of a source, and waits for it.
class Ingestion {
 public:
  Ingestion(Session& session, const PublishSource& source, IngestMode mode, std::string title)
      : session_(session), source_(source), mode_(mode), agent_(session.agent()) {
    view_.title = std::move(title);
    view_.noun = "file";
    view_.total.total = source.total_size();
    view_.total.state = Bar::State::kRunning;
    for (const PublishSource::File& file : source.files()) {
      Bar bar;
      bar.label = file.path.str();
      bar.total = file.size;
      view_.parts.push_back(std::move(bar));
    }
    states_.resize(source.files().size());
  }

  // After an error nothing that was begun goes on, and the agent keeps nothing of what is done.
  Status run() {
    Status status = run_jobs();
    if (!status) cancel_all();
    return status;
  }

  const std::vector<IngestState>& states() const { return states_; }
  agent_client::Client& agent() { return agent_; }

 private:
  Status run_jobs() {
    std::unique_ptr<ProgressDisplay> display = session_.out().progress();
    RateMeter meter(Clock::now());
    std::size_t next = 0;
    while (next < source_.files().size() || !running_.empty()) {
      if (session_.interrupted()) return fail(Errc::kCancelled, "interrupted");
      while (next < source_.files().size() && running_.size() < kParallelIngests) {
        Result<bool> started = start(next);
        if (!started) return fail(started.error());
        if (!*started) break;  // the agent has enough to do
        ++next;
      }
      if (running_.empty()) {
        if (!session_.pause(kPoll)) return fail(Errc::kCancelled, "interrupted");
        continue;
      }
      SHOAL_TRY(poll());
      view_.total.done = 0;
      for (const Bar& bar : view_.parts) view_.total.done += bar.done;
      view_.total.rate = meter.update(view_.total.done, Clock::now());
      view_.total.eta = estimate(view_.total.done, view_.total.total, view_.total.rate);
      display->update(view_, Clock::now());
    }
    view_.total.state = Bar::State::kDone;
    view_.total.done = view_.total.total;
    display->finish(view_);
    return {};
  }

  // False if the agent asks to come later.
  Result<bool> start(std::size_t index) {
    Result<PublishSource::Job> job = source_.start(agent_, mode_, index);
    if (!job) {
      if (job.error().code() == Errc::kOverloaded) return false;
      return fail(job.error().with_context(path_of(index)));
    }
    running_.push_back({index, std::move(*job)});
    view_.parts[index].state = Bar::State::kRunning;
    return true;
  }

  // Asks for the state of each running job; waits a little for the oldest.
  Status poll() {
    std::deque<Job> still_running;
    std::chrono::milliseconds wait = kPoll;
    Status result;
    for (Job& job : running_) {
      if (!result) {
        still_running.push_back(std::move(job));
        continue;
      }
      Result<IngestState> state = agent_.ingest(job.reading.id, wait);
      wait = std::chrono::milliseconds(0);
      if (!state) {
        result = fail(state.error().with_context(path_of(job.file)));
        still_running.push_back(std::move(job));
        continue;
      }
      Bar& bar = view_.parts[job.file];
      switch (state->phase) {
        case IngestState::Phase::kRunning:
          bar.done = std::min(state->bytes_done, bar.total);
          still_running.push_back(std::move(job));
          break;
        case IngestState::Phase::kFailed:
          result = fail(state->error->with_context(path_of(job.file)));
          break;
        case IngestState::Phase::kDone:
          bar.done = bar.total;
          bar.state = Bar::State::kDone;
          result = source_.check(job.file, job.reading);
          if (result && state->size != source_.files()[job.file].size) {
            result = fail(Errc::kConflict, "'" + path_of(job.file) +
                                               "' changed while it was being published: its size "
                                               "was another when the agent read it");
          }
          states_[job.file] = std::move(*state);
          done_.push_back(job.reading.id);
          break;
      }
    }
    running_ = std::move(still_running);
    return result;
  }

  void cancel_all() {
    if (running_.empty() && done_.empty()) return;
    agent_client::Client cleanup = session_.agent_for_cleanup();
    std::vector<std::string> ids;
    for (const Job& job : running_) ids.push_back(job.reading.id);
    ids.insert(ids.end(), done_.begin(), done_.end());
    for (const std::string& id : ids) {
      // The agent may be gone: then there is nothing left to cancel.
      [[maybe_unused]] Status cancelled = cleanup.cancel_ingest(id);
    }
    running_.clear();
    done_.clear();
  }

  const std::string& path_of(std::size_t file) const { return source_.files()[file].path.str(); }

  Session& session_;
  const PublishSource& source_;
  const IngestMode mode_;
  agent_client::Client agent_;
  ProgressView view_;
  std::deque<Job> running_;
  std::vector<std::string> done_;  // ids
  std::vector<IngestState> states_;
};

// The name of the directory that a torrent of the model would have: the reference's last component.
std::string title_of(const content::Reference& reference) {
  const std::string& name = reference.name();
  return name.substr(name.rfind('/') + 1);
}

constexpr std::string_view kFileScheme = "file://";

// Kinds of origins whose URLs are their own: the agents read them.
bool is_store_url(std::string_view url) {
  return url.starts_with("s3://") || url.starts_with("hf://");
}

// The URL of the folder that --origin names, with a slash at its end. Errors: invalid.
Result<std::string> origin_url(const std::string& given) {
  constexpr std::string_view kFolder = "dir:";
  std::string url = given;
  if (given.starts_with(kFolder) || given.starts_with(kFileScheme)) {
    const bool is_url = given.starts_with(kFileScheme);
    const std::string path = given.substr(is_url ? kFileScheme.size() : kFolder.size());
    if (!path.starts_with('/')) {
      return fail(Errc::kInvalid, "write dir:/folder, with the whole path");
    }
    Result<content::RelativePath> inside = content::RelativePath::parse(
        path.substr(1, path.ends_with('/') ? path.size() - 2 : std::string::npos));
    if (!inside) return fail(inside.error());
    url = std::string(kFileScheme) + (is_url ? path : http::percent_encode_path(path));
  } else if (is_store_url(given)) {
    const bool plain =
        content::is_plain_text(given) && given.find_first_of(" ?#") == std::string::npos;
    if (!plain || given.size() <= std::string_view("s3://").size()) {
      return fail(Errc::kInvalid,
                  "write s3://bucket/folder or hf://org/repo@commit, encoded as a URL");
    }
  } else {
    Result<http::Url> parsed = http::parse_url(given);
    if (!parsed) return fail(parsed.error());
    if (parsed->scheme == http::Url::Scheme::kUnix || given.find('?') != std::string::npos) {
      return fail(Errc::kInvalid,
                  "give an http://, https://, s3:// or hf:// URL without a query, or dir:/folder");
    }
  }
  if (!url.ends_with('/')) url += '/';
  return url;
}

class Publish final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "DIR|URL… --as NAME:TAG", 1, kMaxSources);
    table.add(as_, {.name = "as",
                    .doc = "The reference under which the cluster will know it.",
                    .example = "llama/8b:v1",
                    .required = true,
                    .flag_only = true});
    table.add(in_place_, {.name = "in-place",
                          .doc = "Take no copy: the files stay the only place of their bytes on "
                                 "this node and must not change.",
                          .flag_only = true});
    table.add(origin_, {.name = "origin",
                        .doc = "Where the same files can be read, each at its path: an http:// or "
                               "https:// URL, s3://bucket/folder, hf://org/repo@commit, or "
                               "dir:/folder on all nodes that shall read it.",
                        .example = "https://models.example/llama-8b/",
                        .flag_only = true});
    table.add(no_store_, {.name = "no-store",
                          .doc = "Keep nothing on this node; needs --origin, or a URL to publish.",
                          .flag_only = true});
    table.add(include_, {.name = "include",
                         .doc = "Of a URL only files whose paths match one of these patterns.",
                         .example = "*.safetensors,*.json",
                         .flag_only = true});
    table.add(exclude_, {.name = "exclude",
                         .doc = "Of a URL no file whose path matches one of these patterns.",
                         .example = "original/*,*.bin",
                         .flag_only = true});
    table.add(platform_, {.name = "platform",
                          .doc = "Of an oci:// URL that is an index: the entry for this platform.",
                          .example = "linux/arm64",
                          .flag_only = true});
    table.add(origin_nodes_, {.name = "origin-nodes",
                              .doc = "Which nodes can read the origin: all, publisher, ids, or "
                                     "label=value; all with --origin, else the publisher.",
                              .example = "pool=ingest",
                              .flag_only = true});
    table.usage_example("shoal publish ./llama-8b --as llama/8b:v1",
                        "Copies (or reflinks) the files into this node's store and tells the "
                        "cluster about them.");
    table.usage_example("shoal publish /data/llama-8b --as llama/8b:v1 --in-place",
                        "The same without a second copy on this node's disk.");
    table.usage_example(
        "shoal publish /mnt/models/llama-8b --as llama/8b:v1 --origin dir:/mnt/models/llama-8b "
        "--no-store",
        "The same from a shared folder; the agents need --origin-allow dir:/mnt/models.");
    table.usage_example(
        "shoal publish ./llama-8b --as llama/8b:v1 --origin https://models.example/llama-8b/ "
        "--no-store",
        "Only hashes the files: the nodes will read them from the web server, once between them.");
    table.usage_example(
        "shoal publish ./llama-8b --as llama/8b:v1 --origin s3://models/llama-8b --no-store",
        "The same from a bucket; each agent has its own credentials, as for AWS's own tools.");
    table.usage_example(
        "shoal publish hf://org/llama-8b@main --as llama/8b:v1 --exclude 'original/*'",
        "Lets the agent read a repository of the Hugging Face Hub, pinned to the "
        "commit that the branch is at; nodes can prefetch it while it is being read. Also s3://, "
        "oci://, http:// and dir:.");
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(as_);
    if (!reference) return session.usage_error("--as: " + reference.error().message());
    if (reference->tag() == nullptr) {
      return session.usage_error("--as: give a tag, NAME:TAG: the digest is what publishing finds");
    }
    const bool remote = is_remote_source(words_[0]);
    if (std::string wrong = misused(remote); !wrong.empty()) return session.usage_error(wrong);
    if (origin_) {
      Result<std::string> url = origin_url(*origin_);
      if (!url) return session.usage_error("--origin: " + url.error().message());
      origin_ = std::move(*url);
    }
    agent_client::PublishRequest request;
    Result<agent_client::OriginReaders> readers = origin_readers(remote);
    if (!readers) return session.usage_error("--origin-nodes: " + readers.error().message());
    // A manifest may leave the cluster: it says only where everybody can read.
    const bool ours = origin_ && (origin_->starts_with(kFileScheme) || is_store_url(*origin_));
    Clock::time_point begin = Clock::now();
    std::map<std::string, std::string> annotations;
    const std::string title = "publishing " + reference->str();
    if (remote && !no_store_) {
      agent_client::PublicationRequest publication;
      publication.reference = reference->str();
      publication.title = title_of(*reference);
      publication.readers = std::move(*readers);
      Result<std::vector<agent_client::OriginFile>> files =
          listing(session, publication.annotations);
      if (!files) return session.fail_with(files.error());
      // Names that cannot be a model's are told before anything is begun.
      if (auto named = remote_source(*files); !named) return session.fail_with(named.error());
      publication.files = std::move(*files);
      return publish_from_origin(session, *reference, publication, title, begin);
    }
    request.readers = std::move(*readers);
    Result<std::unique_ptr<PublishSource>> source =
        remote ? listed(session, annotations) : scanned(words_[0]);
    if (!source) return session.fail_with(source.error());

    IngestMode mode = no_store_   ? IngestMode::kHash
                      : in_place_ ? IngestMode::kInPlace
                                  : IngestMode::kCopy;
    Ingestion ingestion(session, **source, mode, title);
    if (Status read = ingestion.run(); !read) return session.fail_with(read.error());

    std::vector<content::ModelFile> files;
    for (std::size_t i = 0; i < (*source)->files().size(); ++i) {
      const PublishSource::File& file = (*source)->files()[i];
      const IngestState& state = ingestion.states()[i];
      files.push_back({file.path, state.digest, state.size, state.pieces_root, std::string()});
      if (origin_) {
        request.origins.push_back(
            {state.digest, *origin_ + http::percent_encode_path(file.path.str())});
      } else if (!file.url.empty()) {
        request.origins.push_back({state.digest, file.url, file.version});
      }
    }
    Result<content::ModelDocuments> documents =
        content::make_model(title_of(*reference), std::move(files), ours ? std::nullopt : origin_,
                            std::move(annotations));
    if (!documents) return session.fail_with(documents.error());
    request.reference = reference->str();
    request.manifest = documents->manifest_json;
    request.config = documents->config_json;
    Result<content::Digest> published = ingestion.agent().publish(request);
    if (!published) return session.fail_with(published.error().with_context("publishing"));
    if (*published != documents->manifest_digest) {
      return session.fail_with(
          Error(Errc::kCorrupt, "the agent published another manifest than it was given"));
    }
    std::vector<PublishedFile> published_files;
    for (const content::ModelFile& file : documents->manifest.files) {
      published_files.push_back({file.path.str(), file.digest, file.size, {}});
    }
    for (std::size_t i = 0; i < ingestion.states().size(); ++i) {
      // Both are ascending by path.
      published_files[i].how = ingestion.states()[i].how;
    }
    return report(session, *reference, documents->manifest_digest, published_files,
                  Clock::now() - begin);
  }

 private:
  // What does not go together; empty if all does.
  std::string misused(bool remote) const {
    if (!remote && words_[0].find("://") != std::string::npos) {
      return "'" + printable(words_[0]) +
             "' is no kind of origin: write http(s)://, s3://, hf://, "
             "oci://, file:// or dir:, or a folder of this machine";
    }
    if (!remote && words_.size() > 1) return "several arguments: only URLs may be several";
    for (const std::string& word : words_) {
      if (is_remote_source(word) != remote) return "a folder and a URL cannot be one model";
    }
    if (remote && origin_) return "--origin: what is published has its origin already";
    if (remote && in_place_) return "--in-place: what a URL names is not on this node";
    if (!remote && (!include_.empty() || !exclude_.empty() || !platform_.empty())) {
      return "--include, --exclude and --platform are for URLs: a folder is published whole";
    }
    if (no_store_ && !origin_ && !remote) {
      return "--no-store needs --origin: else nobody could read the files";
    }
    if (no_store_ && in_place_) return "--no-store and --in-place contradict each other";
    if (!origin_nodes_.empty() && !remote && !origin_) return "--origin-nodes needs an origin";
    return {};
  }

  Result<agent_client::OriginReaders> origin_readers(bool remote) const {
    using Kind = agent_client::OriginReaders::Kind;
    agent_client::OriginReaders readers;
    if (origin_nodes_.empty() || origin_nodes_ == std::vector<std::string>{"publisher"}) {
      const bool all = origin_nodes_.empty() && !remote;
      readers.kind = all ? Kind::kAll : Kind::kPublisher;
      return readers;
    }
    Result<api::NodeSelector> selector = parse_selector(origin_nodes_);
    if (!selector) return fail(selector.error());
    readers.kind = selector->all           ? Kind::kAll
                   : selector->ids.empty() ? Kind::kLabels
                                           : Kind::kNodes;
    readers.nodes = std::move(selector->ids);
    readers.labels = std::move(selector->labels);
    return readers;
  }

  static Result<std::unique_ptr<PublishSource>> scanned(const std::string& directory) {
    Result<SourceTree> tree = SourceTree::scan(directory);
    if (!tree) return fail(tree.error());
    return local_source(std::move(*tree));
  }

  // What the agent finds at the URLs, as one model.
  Result<std::unique_ptr<PublishSource>> listed(Session& session,
                                                std::map<std::string, std::string>& annotations) {
    Result<std::vector<agent_client::OriginFile>> files = listing(session, annotations);
    if (!files) return fail(files.error());
    return remote_source(std::move(*files));
  }

  int publish_from_origin(Session& session, const content::Reference& reference,
                          const agent_client::PublicationRequest& publication,
                          const std::string& title, Clock::time_point begin) {
    Result<agent_client::PublicationState> done = run_publication(session, publication, title);
    if (!done) return session.fail_with(done.error().with_context("publishing"));
    std::vector<PublishedFile> files;
    for (const agent_client::PublicationState::File& file : done->files) {
      files.push_back({file.path, file.digest, file.size, file.how});
    }
    return report(session, reference, *done->manifest, files, Clock::now() - begin);
  }

  Result<std::vector<agent_client::OriginFile>> listing(
      Session& session, std::map<std::string, std::string>& annotations) {
    agent_client::Client agent = session.agent();
    std::vector<agent_client::OriginFile> files;
    for (const std::string& word : words_) {
      Result<agent_client::OriginListing> listing =
          agent.list_origin({word, include_, exclude_, platform_});
      if (!listing) return fail(listing.error());
      annotations.merge(listing->annotations);
      std::move(listing->files.begin(), listing->files.end(), std::back_inserter(files));
      sources_.push_back(std::move(listing->source));
    }
    return files;
  }

  int report(Session& session, const content::Reference& reference, const content::Digest& manifest,
             const std::vector<PublishedFile>& published, Clock::duration duration) {
    std::uint64_t bytes = 0;
    std::map<std::string, std::uint64_t> bytes_by_way;
    for (const PublishedFile& file : published) {
      bytes += file.size;
      bytes_by_way[file.how] += file.size;
    }
    double seconds = std::max(1e-3, std::chrono::duration<double>(duration).count());
    std::string ways;
    for (const auto& [how, amount] : bytes_by_way) {
      ways += (ways.empty() ? "" : ", ") + how + " " + format_bytes(amount);
    }
    session.out().print(reference.str() + "  " + manifest.str() + "\n");
    session.out().remark(
        counted(published.size(), "file") + ", " + format_bytes(bytes) + " (" + printable(ways) +
        ") in " + format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(duration)) +
        ", " + format_rate(static_cast<double>(bytes) / seconds));
    for (const std::string& source : sources_) session.out().remark("from " + printable(source));
    session.out().remark("next: shoal prefetch " + reference.str() + " --wait");
    nlohmann::json files = nlohmann::json::array();
    for (const PublishedFile& file : published) {
      files.push_back({{"path", file.path}, {"digest", file.digest.str()}, {"size", file.size}});
    }
    session.out().result({{"reference", reference.str()},
                          {"manifest", manifest.str()},
                          {"sources", sources_},
                          {"bytes_total", bytes},
                          {"bytes_by_way", bytes_by_way},
                          {"seconds", seconds},
                          {"files", std::move(files)}},
                         true);
    return kExitOk;
  }

  std::vector<std::string> words_;
  std::string as_;
  bool in_place_ = false;
  bool no_store_ = false;
  std::optional<std::string> origin_;
  std::vector<std::string> include_;
  std::vector<std::string> exclude_;
  std::string platform_;
  std::vector<std::string> origin_nodes_;
  std::vector<std::string> sources_;  // as the origins pinned them
};

}  // namespace

std::unique_ptr<Verb> make_publish() { return std::make_unique<Publish>(); }

}  // namespace shoal::cli
