#include "cli/node_progress.h"

#include <algorithm>

#include "core/base/units.h"

namespace shoal::cli {
namespace {

Bar::State bar_state(api::NodePhase phase) {
  switch (phase) {
    case api::NodePhase::kAbsent:
    case api::NodePhase::kOrdered:
    case api::NodePhase::kQueued:
    case api::NodePhase::kPartial:
      return Bar::State::kWaiting;
    case api::NodePhase::kRunning:
      return Bar::State::kRunning;
    case api::NodePhase::kComplete:
      return Bar::State::kDone;
    case api::NodePhase::kFailed:
    case api::NodePhase::kCancelled:
      return Bar::State::kFailed;
  }
  return Bar::State::kWaiting;
}

Bar bar_of(const api::NodeProgress& node) {
  Bar bar;
  bar.label = node.node;
  bar.state = bar_state(node.state);
  bar.done = node.bytes_done;
  bar.total = node.bytes_total;
  bar.peers = node.by_source.peers;
  bar.origin = node.by_source.origin;
  bar.local = node.by_source.local;
  bar.rate = static_cast<double>(node.rate);
  bar.eta = estimate(bar.done, bar.total, bar.rate);
  if (node.state != api::NodePhase::kComplete) {
    bool flowing = node.state == api::NodePhase::kRunning && node.waiting_for.empty();
    if (!flowing) bar.note = reason_of(node);
  }
  return bar;
}

}  // namespace

Result<api::NodeSelector> parse_selector(const std::vector<std::string>& words) {
  api::NodeSelector selector;
  if (words.size() == 1 && words[0] == "all") {
    selector.all = true;
    return selector;
  }
  for (const std::string& word : words) {
    std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      selector.ids.push_back(word);
    } else if (!selector.labels.emplace(word.substr(0, equals), word.substr(equals + 1)).second) {
      return fail(Errc::kInvalid, "the label " + word.substr(0, equals) + " is given twice");
    }
  }
  if (words.empty() || (!selector.ids.empty() && !selector.labels.empty())) {
    return fail(Errc::kInvalid, "give `all`, node ids (gpu-1,gpu-2) or labels (zone=z1,gpu=h100)");
  }
  return selector;
}

ProgressView view_of(std::string title, const api::ProgressTotals& totals,
                     const std::vector<api::NodeProgress>& nodes) {
  ProgressView view;
  view.title = std::move(title);
  view.noun = "node";
  for (const api::NodeProgress& node : nodes) view.parts.push_back(bar_of(node));
  Bar& total = view.total;
  total.state = totals.complete == totals.nodes ? Bar::State::kDone : Bar::State::kRunning;
  total.done = totals.bytes_done;
  total.total = totals.bytes_total;
  total.peers = totals.by_source.peers;
  total.origin = totals.by_source.origin;
  total.local = totals.by_source.local;
  total.rate = static_cast<double>(totals.rate);
  total.eta = estimate(total.done, total.total, total.rate);
  return view;
}

Table table_of(const std::vector<api::NodeProgress>& nodes) {
  Table table(
      {"NODE", "STATE", ">DONE", ">PEERS", ">ORIGIN", ">ALREADY HERE", ">RATE", "WAITS FOR"});
  for (const api::NodeProgress& node : nodes) {
    bool complete = node.state == api::NodePhase::kComplete;
    bool flowing = node.state == api::NodePhase::kRunning && node.waiting_for.empty();
    table.add({node.node, std::string(phase_name(node.state)),
               percent_of(node.bytes_done, node.bytes_total), format_bytes(node.by_source.peers),
               format_bytes(node.by_source.origin), format_bytes(node.by_source.local),
               node.rate == 0 ? "-" : format_rate(static_cast<double>(node.rate)),
               complete || flowing ? "" : reason_of(node)});
  }
  return table;
}

std::string_view phase_name(api::NodePhase phase) {
  switch (phase) {
    case api::NodePhase::kAbsent:
      return "absent";
    case api::NodePhase::kOrdered:
      return "ordered";
    case api::NodePhase::kQueued:
      return "queued";
    case api::NodePhase::kRunning:
      return "running";
    case api::NodePhase::kPartial:
      return "partial";
    case api::NodePhase::kComplete:
      return "complete";
    case api::NodePhase::kFailed:
      return "failed";
    case api::NodePhase::kCancelled:
      return "cancelled";
  }
  return "";
}

std::string reason_of(const api::NodeProgress& node) {
  if (node.error) return node.error->message();
  if (!node.waiting_for.empty()) return waiting_text(node.waiting_for);
  switch (node.state) {
    case api::NodePhase::kAbsent:
      return node.last_heard_ms_ago < 0
                 ? "the tracker has never heard of this node"
                 : "not heard for " +
                       format_duration(std::chrono::milliseconds(node.last_heard_ms_ago));
    case api::NodePhase::kOrdered:
      return "has not reported on the order yet";
    case api::NodePhase::kQueued:
      return "other pulls of this node come first";
    case api::NodePhase::kRunning:
      return "still running";
    case api::NodePhase::kPartial:
      return "holds a part and does not fetch the rest";
    case api::NodePhase::kComplete:
      return "";
    case api::NodePhase::kFailed:
      return "failed without saying why";
    case api::NodePhase::kCancelled:
      return "cancelled on the node";
  }
  return "";
}

std::string waiting_text(std::string_view waiting_for) {
  constexpr std::string_view kPrefix = "waiting for ";
  return (waiting_for.starts_with(kPrefix) ? "" : std::string(kPrefix)) + std::string(waiting_for);
}

std::string percent_of(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return "-";
  auto percent = static_cast<unsigned>(100.0 * static_cast<double>(std::min(done, total)) /
                                       static_cast<double>(total));
  return std::to_string(percent) + "%";
}

}  // namespace shoal::cli
