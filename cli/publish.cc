// shoal publish DIR --as NAME:TAG

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/progress.h"
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
constexpr std::chrono::milliseconds kPoll{250};

// The agent's side of one file.
struct Job {
  std::size_t file;
  UniqueFd fd;
  std::string id;
};

// Hands all files of a tree to the agent and waits until it has read them.
class Ingestion {
 public:
  Ingestion(Session& session, const SourceTree& tree, IngestMode mode, std::string title)
      : session_(session), tree_(tree), mode_(mode), agent_(session.agent()) {
    view_.title = std::move(title);
    view_.noun = "file";
    view_.total.total = tree.total_size();
    view_.total.state = Bar::State::kRunning;
    for (const SourceFile& file : tree.files()) {
      Bar bar;
      bar.label = file.path.str();
      bar.total = file.stamp.size;
      view_.parts.push_back(std::move(bar));
    }
    states_.resize(tree.files().size());
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
    while (next < tree_.files().size() || !running_.empty()) {
      if (session_.interrupted()) return fail(Errc::kCancelled, "interrupted");
      while (next < tree_.files().size() && running_.size() < kParallelIngests) {
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
    const SourceFile& file = tree_.files()[index];
    Result<OpenedFile> opened = tree_.open(file);
    if (!opened) return fail(opened.error());
    Result<std::string> id = agent_.start_ingest(opened->fd.get(), mode_, opened->real_path);
    if (!id) {
      if (id.error().code() == Errc::kOverloaded) return false;
      return fail(id.error().with_context(file.path.str()));
    }
    running_.push_back({index, std::move(opened->fd), *id});
    view_.parts[index].state = Bar::State::kRunning;
    return true;
  }

  // Asks for the state of each running job; waits a little for the oldest.
  Status poll() {
    std::deque<Job> still_running;
    std::chrono::milliseconds wait = kPoll;
    Status result;
    for (Job& job : running_) {
      const SourceFile& file = tree_.files()[job.file];
      if (!result) {
        still_running.push_back(std::move(job));
        continue;
      }
      Result<IngestState> state = agent_.ingest(job.id, wait);
      wait = std::chrono::milliseconds(0);
      if (!state) {
        result = fail(state.error().with_context(file.path.str()));
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
          result = fail(state->error->with_context(file.path.str()));
          break;
        case IngestState::Phase::kDone:
          bar.done = bar.total;
          bar.state = Bar::State::kDone;
          result = SourceTree::check_unchanged(file, job.fd.get());
          if (result && state->size != file.stamp.size) {
            result = fail(Errc::kConflict, "'" + file.path.str() +
                                               "' changed while it was being published: its size "
                                               "was another when the agent read it");
          }
          states_[job.file] = std::move(*state);
          done_.push_back(job.id);
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
    for (const Job& job : running_) ids.push_back(job.id);
    ids.insert(ids.end(), done_.begin(), done_.end());
    for (const std::string& id : ids) {
      // The agent may be gone: then there is nothing left to cancel.
      [[maybe_unused]] Status cancelled = cleanup.cancel_ingest(id);
    }
    running_.clear();
    done_.clear();
  }

  Session& session_;
  const SourceTree& tree_;
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
    table.positionals(words_, "DIR --as NAME:TAG", 1, 1);
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
                          .doc = "Keep nothing on this node; needs --origin.",
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
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(as_);
    if (!reference) return session.usage_error("--as: " + reference.error().message());
    if (reference->tag() == nullptr) {
      return session.usage_error("--as: give a tag, NAME:TAG: the digest is what publishing finds");
    }
    if (no_store_ && !origin_) {
      return session.usage_error("--no-store needs --origin: else nobody could read the files");
    }
    if (no_store_ && in_place_) {
      return session.usage_error("--no-store and --in-place contradict each other");
    }
    if (origin_) {
      Result<std::string> url = origin_url(*origin_);
      if (!url) return session.usage_error("--origin: " + url.error().message());
      origin_ = std::move(*url);
    }
    // A manifest may leave the cluster: it says only where everybody can read.
    const bool ours = origin_ && (origin_->starts_with(kFileScheme) || is_store_url(*origin_));
    Clock::time_point begin = Clock::now();
    Result<SourceTree> tree = SourceTree::scan(words_[0]);
    if (!tree) return session.fail_with(tree.error());

    IngestMode mode = no_store_   ? IngestMode::kHash
                      : in_place_ ? IngestMode::kInPlace
                                  : IngestMode::kCopy;
    Ingestion ingestion(session, *tree, mode, "publishing " + reference->str());
    if (Status read = ingestion.run(); !read) return session.fail_with(read.error());

    std::vector<content::ModelFile> files;
    for (std::size_t i = 0; i < tree->files().size(); ++i) {
      const IngestState& state = ingestion.states()[i];
      files.push_back(
          {tree->files()[i].path, state.digest, state.size, state.pieces_root, std::string()});
    }
    Result<content::ModelDocuments> documents =
        content::make_model(title_of(*reference), std::move(files), ours ? std::nullopt : origin_);
    if (!documents) return session.fail_with(documents.error());
    agent_client::PublishRequest request;
    request.reference = reference->str();
    request.manifest = documents->manifest_json;
    request.config = documents->config_json;
    if (origin_) {
      for (const content::ModelFile& file : documents->manifest.files) {
        request.origins.push_back(
            {file.digest, *origin_ + http::percent_encode_path(file.path.str())});
      }
    }
    Result<content::Digest> published = ingestion.agent().publish(request);
    if (!published) return session.fail_with(published.error().with_context("publishing"));
    if (*published != documents->manifest_digest) {
      return session.fail_with(
          Error(Errc::kCorrupt, "the agent published another manifest than it was given"));
    }
    return report(session, *reference, *documents, ingestion.states(), Clock::now() - begin);
  }

 private:
  int report(Session& session, const content::Reference& reference,
             const content::ModelDocuments& documents, const std::vector<IngestState>& states,
             Clock::duration duration) {
    std::uint64_t bytes = documents.manifest.total_size();
    std::map<std::string, std::uint64_t> bytes_by_way;
    for (const IngestState& state : states) bytes_by_way[state.how] += state.size;
    double seconds = std::max(1e-3, std::chrono::duration<double>(duration).count());
    std::string ways;
    for (const auto& [how, amount] : bytes_by_way) {
      ways += (ways.empty() ? "" : ", ") + how + " " + format_bytes(amount);
    }
    session.out().print(reference.str() + "  " + documents.manifest_digest.str() + "\n");
    session.out().remark(
        counted(states.size(), "file") + ", " + format_bytes(bytes) + " (" + printable(ways) +
        ") in " + format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(duration)) +
        ", " + format_rate(static_cast<double>(bytes) / seconds));
    session.out().remark("next: shoal prefetch " + reference.str() + " --wait");
    nlohmann::json files = nlohmann::json::array();
    for (const content::ModelFile& file : documents.manifest.files) {
      files.push_back(
          {{"path", file.path.str()}, {"digest", file.digest.str()}, {"size", file.size}});
    }
    session.out().result({{"reference", reference.str()},
                          {"manifest", documents.manifest_digest.str()},
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
};

}  // namespace

std::unique_ptr<Verb> make_publish() { return std::make_unique<Publish>(); }

}  // namespace shoal::cli
