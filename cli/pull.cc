// shoal pull NAME:TAG -o DIR

#include <fcntl.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/node_progress.h"
#include "cli/progress.h"
#include "cli/rate_meter.h"
#include "cli/target_tree.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/units.h"
#include "core/content/manifest.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

using agent_client::PullProgress;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{1'000};
constexpr std::size_t kConflictsShown = 10;
constexpr std::size_t kOpensPerConnection = 100;

struct File {
  content::RelativePath path;
  content::Digest digest;
  std::uint64_t size;
};

// The files of a finished pull, as names that may safely be written.
Result<std::vector<File>> files_of(const PullProgress& pull) {
  std::vector<File> files;
  std::vector<content::RelativePath> paths;
  for (const agent_client::FileProgress& file : pull.files) {
    Result<content::RelativePath> path = content::RelativePath::parse(file.path);
    if (!path) return fail(path.error());
    files.push_back({*path, file.digest, file.size});
    paths.push_back(*path);
  }
  SHOAL_TRY(content::check_paths_coexist(paths));
  if (files.empty())
    return fail(Errc::kInvalid, "this reference has no files that could be written");
  return files;
}

class Pull final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "NAME:TAG -o DIR", 1, 1);
    table.add(directory_, {.name = "output",
                           .doc = "Directory to write the files to; made if it does not exist.",
                           .example = "/models/llama-8b",
                           .required = true,
                           .flag_only = true,
                           .short_flag = 'o'});
    table.add(
        force_,
        {.name = "force", .doc = "Replace files that are there and differ.", .flag_only = true});
    table.usage_example("shoal pull llama/8b:v1 -o /models/llama-8b",
                        "Brings the model into this node's store, then writes its files (as "
                        "reflinks where the file system can). Files that are there already and "
                        "are the same stay as they are.");
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(words_[0]);
    if (!reference) return session.usage_error(reference.error().message());
    Clock::time_point begin = Clock::now();
    agent_client::Client agent = session.agent();
    Result<PullProgress> pulled = bring(session, agent, reference->str());
    if (!pulled) return session.fail_with(pulled.error());
    Result<std::vector<File>> files = files_of(*pulled);
    if (!files) return session.fail_with(files.error());
    if (Status written = materialise(session, *files); !written) {
      return session.fail_with(written.error());
    }
    return report(session, *pulled, *files, Clock::now() - begin);
  }

 private:
  Result<PullProgress> bring(Session& session, agent_client::Client& agent,
                             const std::string& reference) {
    Result<agent_client::PullStarted> started =
        agent.start_pull(reference, false, agent_client::PullClass::kPlan);
    if (!started) return fail(started.error());
    Result<PullProgress> result = watch(session, agent, started->pull, reference);
    if (!result) {
      // Whatever ended the watching: nobody is interested in the pull any more.
      [[maybe_unused]] Status cancelled = session.agent_for_cleanup().cancel_pull(started->pull);
    }
    return result;
  }

  Result<PullProgress> watch(Session& session, agent_client::Client& agent, const std::string& pull,
                             const std::string& reference) {
    std::unique_ptr<ProgressDisplay> display = session.out().progress();
    std::uint64_t since = 0;
    for (;;) {
      Result<PullProgress> progress = agent.pull(pull, since, kPoll);
      if (!progress) return progress;
      since = progress->version;
      ProgressView view = view_of_pull(*progress, reference);
      switch (progress->phase) {
        case PullProgress::Phase::kRunning:
          // Before the manifest is known there is nothing to show but what it waits for.
          if (view.total.total != 0 || !view.total.note.empty()) {
            display->update(view, Clock::now());
          }
          continue;
        case PullProgress::Phase::kComplete:
          display->finish(view);
          return progress;
        case PullProgress::Phase::kFailed:
          display->finish(view);
          return fail(progress->error.value_or(Error(Errc::kInternal, "the pull failed")));
        case PullProgress::Phase::kCancelled:
          display->finish(view);
          return fail(Errc::kConflict, "somebody else cancelled the pull");
      }
    }
  }

  static ProgressView view_of_pull(const PullProgress& progress, const std::string& reference) {
    ProgressView view;
    view.title = "pulling " + reference;
    view.noun = "file";
    view.total.done = progress.bytes_done;
    view.total.total = progress.bytes_total;
    view.total.peers = progress.bytes_peers;
    view.total.origin = progress.bytes_origin;
    view.total.local = progress.bytes_local;
    view.total.rate = progress.rate;
    view.total.eta = progress.eta;
    view.total.state =
        progress.phase == PullProgress::Phase::kComplete ? Bar::State::kDone : Bar::State::kRunning;
    if (!progress.waiting_for.empty()) view.total.note = waiting_text(progress.waiting_for);
    for (const agent_client::FileProgress& file : progress.files) {
      Bar bar;
      bar.label = file.path;
      bar.done = file.bytes_done;
      bar.total = file.size;
      bar.state = file.bytes_done >= file.size ? Bar::State::kDone
                  : file.bytes_done > 0        ? Bar::State::kRunning
                                               : Bar::State::kWaiting;
      view.parts.push_back(std::move(bar));
    }
    return view;
  }

  // Opened data of a file, checked to be whole. The agent keeps what was opened from eviction, with
  // two descriptors each, until the connection ends: so that a model of many files does not use up
  // the agent's descriptors, the connection changes now and then.
  Result<UniqueFd> open(const Session& session, const File& file) {
    // An empty file has no blob that a store would have to hold.
    if (file.size == 0) return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (opener_ == nullptr || ++opened_ % kOpensPerConnection == 0) {
      opener_ = std::make_unique<agent_client::Client>(session.agent());
    }
    Result<agent_client::OpenedBlob> opened = opener_->open(file.digest);
    if (!opened) return fail(opened.error().with_context(file.path.str()));
    if (opened->state != "complete" || opened->size != file.size) {
      return fail(Errc::kConflict, file.path.str() + ": is not complete in the store (" +
                                       opened->state + "): it was evicted or withdrawn meanwhile");
    }
    return std::move(opened->data);
  }

  // First looks at everything that is there, so that a conflict leaves the directory untouched.
  Status materialise(Session& session, const std::vector<File>& files) {
    Result<TargetTree> target = TargetTree::open(directory_);
    if (!target) return fail(target.error());
    std::unique_ptr<ProgressDisplay> display = session.out().progress();
    ProgressView view;
    view.title = "writing " + directory_.string();
    view.total.state = Bar::State::kRunning;
    for (const File& file : files) view.total.total += file.size;
    RateMeter meter(Clock::now());
    TargetTree::Advance advance = [&](std::uint64_t bytes) {
      view.total.done += bytes;
      view.total.rate = meter.update(view.total.done, Clock::now());
      view.total.eta = estimate(view.total.done, view.total.total, view.total.rate);
      display->update(view, Clock::now());
      return !session.interrupted();
    };
    std::vector<const File*> to_write;
    std::string conflicts;
    std::size_t conflict_count = 0;
    for (const File& file : files) {
      Result<UniqueFd> data = open(session, file);
      if (!data) return fail(data.error());
      std::uint64_t before = view.total.done;
      Result<TargetTree::Present> present =
          target->compare(file.path, data->get(), file.size, advance);
      if (!present) return fail(present.error());
      bool blocked = *present == TargetTree::Present::kObstacle ||
                     (*present == TargetTree::Present::kDifferent && !force_);
      if (blocked && ++conflict_count <= kConflictsShown) {
        conflicts += (conflicts.empty() ? "" : ", ") + file.path.str();
        if (*present == TargetTree::Present::kObstacle) conflicts += " (not a file)";
      }
      if (*present == TargetTree::Present::kSame) {
        ++counts_[static_cast<std::size_t>(Written::kKept)];
      } else {
        view.total.done = before;
        to_write.push_back(&file);
      }
    }
    if (conflict_count > 0) {
      std::string more = conflict_count > kConflictsShown
                             ? " and " + std::to_string(conflict_count - kConflictsShown) + " more"
                             : std::string();
      return fail(Errc::kConflict, "different files are in " + directory_.string() +
                                       " already: " + conflicts + more +
                                       "; nothing was written (--force replaces files)");
    }
    for (const File* file : to_write) {
      Result<UniqueFd> data = open(session, *file);
      if (!data) return fail(data.error());
      Result<Written> written = target->write(file->path, data->get(), file->size, advance);
      if (!written) return fail(written.error());
      ++counts_[static_cast<std::size_t>(*written)];
    }
    view.total.state = Bar::State::kDone;
    view.total.done = view.total.total;
    display->finish(view);
    return {};
  }

  int report(Session& session, const PullProgress& pulled, const std::vector<File>& files,
             Clock::duration duration) {
    auto count = [&](Written written) { return counts_[static_cast<std::size_t>(written)]; };
    auto took = std::chrono::duration_cast<std::chrono::milliseconds>(duration);
    session.out().print(directory_.string() + "\n");
    session.out().remark(
        counted(files.size(), "file") + ", " + format_bytes(pulled.bytes_total) + " in " +
        format_duration(took) + ": from peers " + format_bytes(pulled.bytes_peers) + ", origin " +
        format_bytes(pulled.bytes_origin) + ", already here " + format_bytes(pulled.bytes_local) +
        "; " + std::to_string(count(Written::kReflink)) + " reflinked, " +
        std::to_string(count(Written::kCopy)) + " copied, " +
        std::to_string(count(Written::kKept)) + " kept");
    session.out().result({{"reference", pulled.reference},
                          {"manifest", pulled.manifest.str()},
                          {"directory", directory_.string()},
                          {"bytes_total", pulled.bytes_total},
                          {"bytes_peers", pulled.bytes_peers},
                          {"bytes_origin", pulled.bytes_origin},
                          {"bytes_local", pulled.bytes_local},
                          {"seconds", static_cast<double>(took.count()) / 1000},
                          {"files", files.size()},
                          {"reflinked", count(Written::kReflink)},
                          {"copied", count(Written::kCopy)},
                          {"kept", count(Written::kKept)}},
                         true);
    return kExitOk;
  }

  std::vector<std::string> words_;
  std::filesystem::path directory_;
  bool force_ = false;
  std::array<std::size_t, 3> counts_{};  // by Written
  std::unique_ptr<agent_client::Client> opener_;
  std::size_t opened_ = 0;
};

}  // namespace

std::unique_ptr<Verb> make_pull() { return std::make_unique<Pull>(); }

}  // namespace shoal::cli
