// shoal prefetch NAME:TAG

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/node_progress.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/api/message.h"
#include "core/base/units.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{2'000};
// The order lives on the tracker's disk: a tracker that restarts is waited for.
constexpr std::chrono::seconds kTrackerMayBeAway{60};
constexpr std::chrono::seconds kRetryPause{1};

// Worth asking the tracker again: it restarts, or the agent lost its connection to it.
bool may_pass(Errc code) {
  return code == Errc::kUnavailable || code == Errc::kTimedOut || code == Errc::kOverloaded;
}

class Prefetch final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "NAME:TAG", 1, 1);
    table.add(nodes_, {.name = "nodes",
                       .doc = "Which nodes: all, a list of ids, or labels that must all match "
                              "(region, zone, rack and host count as labels).",
                       .example = "zone=z1,gpu=h100",
                       .flag_only = true});
    table.add(wait_, {.name = "wait",
                      .doc = "Return when it is done; Ctrl-C then cancels the order.",
                      .flag_only = true});
    table.add(pin_, {.name = "pin", .doc = "Pin it in the nodes' stores.", .flag_only = true});
    table.add(timeout_, {.name = "timeout",
                         .doc = "Give up after this time; what is on the nodes by then stays.",
                         .example = "30m",
                         .min = "1s",
                         .max = "30d",
                         .flag_only = true});
    table.usage_example("shoal prefetch llama/8b:v1 --wait",
                        "Brings the model to all nodes and shows how far each is.");
    table.usage_example("shoal prefetch llama/8b:v1 --nodes gpu-1,gpu-2 --pin --timeout 30m",
                        "Orders it for two nodes and returns at once.");
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(words_[0]);
    if (!reference) return session.usage_error(reference.error().message());
    api::PrefetchRequest request;
    request.reference = reference->str();
    request.pin = pin_;
    if (timeout_) request.timeout = *timeout_;
    Result<api::NodeSelector> selector = parse_selector(nodes_);
    if (!selector) return session.usage_error("--nodes: " + selector.error().message());
    request.nodes = *selector;

    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return session.fail_with(tracker.error());
    Result<api::PrefetchResponse> ordered = (*tracker)->prefetch(request);
    if (!ordered) return session.fail_with(ordered.error());
    if (!wait_) {
      session.out().print(ordered->id + "\n");
      session.out().remark("ordered for " + counted(ordered->nodes.size(), "node") +
                           "; `shoal status " + request.reference + "` shows how far it is");
      session.out().result(nlohmann::json::parse(api::encode(*ordered)), true);
      return kExitOk;
    }
    Result<api::PrefetchStatus> status = watch(session, **tracker, request.reference, ordered->id);
    if (!status) {
      if (status.error().code() == Errc::kCancelled) cancel(session, ordered->id);
      return session.fail_with(status.error(), {{"id", ordered->id}});
    }
    return report(session, *status);
  }

 private:
  static Result<api::PrefetchStatus> watch(Session& session, TrackerApi& tracker,
                                           const std::string& reference, const std::string& id) {
    std::unique_ptr<ProgressDisplay> display = session.out().progress();
    std::uint64_t since = 0;
    Clock::time_point last_answer = Clock::now();
    ProgressView view;
    view.title = "prefetching " + reference;
    for (;;) {
      if (session.interrupted()) return fail(Errc::kCancelled, "interrupted");
      Result<api::PrefetchStatus> status = tracker.prefetch_status(id, since, kPoll);
      if (!status) {
        bool away =
            may_pass(status.error().code()) && Clock::now() - last_answer < kTrackerMayBeAway;
        if (!away) return status;
        view.total.note = "no answer from the tracker: " + status.error().message();
        display->update(view, Clock::now());
        if (!session.pause(kRetryPause)) return fail(Errc::kCancelled, "interrupted");
        continue;
      }
      last_answer = Clock::now();
      since = status->version;
      view = view_of("prefetching " + reference, status->totals, status->nodes);
      if (status->state != api::PrefetchState::kRunning) {
        display->finish(view);
        return status;
      }
      display->update(view, last_answer);
    }
  }

  void cancel(Session& session, const std::string& id) {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker_for_cleanup();
    Status cancelled;
    if (!tracker) {
      cancelled = fail(tracker.error());
    } else if (Result<api::PrefetchStatus> status = (*tracker)->cancel_prefetch(id); !status) {
      cancelled = fail(status.error());
    }
    if (cancelled) {
      session.out().complain("cancelled the order; what the nodes have verified stays there");
    } else {
      session.out().complain("the order could not be cancelled: " +
                             printable(cancelled.error().message()));
    }
  }

  int report(Session& session, const api::PrefetchStatus& status) {
    std::vector<const api::NodeProgress*> laggards;
    for (const api::NodeProgress& node : status.nodes) {
      if (node.state != api::NodePhase::kComplete) laggards.push_back(&node);
    }
    bool complete = status.state == api::PrefetchState::kComplete;
    nlohmann::json object = nlohmann::json::parse(api::encode(status));
    object["laggards"] = nlohmann::json::array();
    for (const api::NodeProgress* node : laggards) {
      object["laggards"].push_back({{"node", node->node}, {"reason", reason_of(*node)}});
    }
    if (complete) {
      Table table = table_of(status.nodes);
      session.out().print(table);
      session.out().remark(status.reference + " is on " + counted(status.totals.complete, "node") +
                           ": from peers " + format_bytes(status.totals.by_source.peers) +
                           ", origin " + format_bytes(status.totals.by_source.origin) +
                           ", already there " + format_bytes(status.totals.by_source.local));
      session.out().result(std::move(object), true);
      return kExitOk;
    }
    Table table({"NODE", ">DONE", "REASON"});
    for (const api::NodeProgress* node : laggards) {
      table.add({node->node, percent_of(node->bytes_done, node->bytes_total), reason_of(*node)});
    }
    session.out().print(table);
    std::string why = status.state == api::PrefetchState::kTimedOut    ? "the time-out passed"
                      : status.state == api::PrefetchState::kCancelled ? "it was cancelled"
                                                                       : "some nodes failed";
    std::string message = status.reference + " is on " + std::to_string(status.totals.complete) +
                          " of " + counted(status.totals.nodes, "node") + ": " + why;
    session.out().complain(message);
    session.out().result(
        std::move(object), false,
        Error(status.state == api::PrefetchState::kTimedOut ? Errc::kTimedOut : Errc::kUnavailable,
              message));
    return kExitPartly;
  }

  std::vector<std::string> words_;
  std::vector<std::string> nodes_{"all"};
  bool wait_ = false;
  bool pin_ = false;
  std::optional<std::chrono::milliseconds> timeout_;
};

}  // namespace

std::unique_ptr<Verb> make_prefetch() { return std::make_unique<Prefetch>(); }

}  // namespace shoal::cli
