// shoal status [NAME:TAG]

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/node_progress.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/api/message.h"
#include "core/base/units.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

using agent_client::AgentStatus;
using agent_client::Explanation;

std::string rate_text(double bytes_per_second) {
  return bytes_per_second <= 0 ? "-" : format_rate(bytes_per_second);
}

std::string describe(const AgentStatus& status) {
  std::string tracker = status.tracker_url.empty() ? "none" : status.tracker_url;
  tracker +=
      status.tracker_connected ? " (connected)" : " (not connected: " + status.tracker_error + ")";
  std::string capacity =
      status.store_capacity == 0 ? "" : " of " + format_bytes(status.store_capacity);
  std::vector<std::pair<std::string, std::string>> lines{
      {"node", status.node},
      {"version", status.version},
      {"tracker", tracker},
      {"store", counted(status.blobs, "blob") + ", " + format_bytes(status.store_used) + capacity +
                    " used, " + format_bytes(status.store_free) + " free on its disk"},
      {"receiving", "from peers " + rate_text(status.peers_rate) + ", from origins " +
                        rate_text(status.origin_rate)},
      {"sending", rate_text(status.upload_rate)},
      {"peers", std::to_string(status.peers)},
  };
  std::string out;
  for (const auto& [name, text] : lines) out += padded(name, 11) + printable(text) + "\n";
  return out;
}

nlohmann::json json_of(const AgentStatus& status) {
  return {{"node", status.node},
          {"epoch", status.epoch},
          {"version", status.version},
          {"tracker",
           {{"url", status.tracker_url},
            {"connected", status.tracker_connected},
            {"error", status.tracker_error}}},
          {"store",
           {{"used", status.store_used},
            {"capacity", status.store_capacity},
            {"free", status.store_free},
            {"blobs", status.blobs}}},
          {"rates",
           {{"peers", status.peers_rate},
            {"origin", status.origin_rate},
            {"upload", status.upload_rate}}},
          {"peers", status.peers}};
}

// What this node's agent says of its own part: file by file.
std::string describe(const Explanation& explanation) {
  std::string out = printable(explanation.reference) + ": " + printable(explanation.state);
  if (!explanation.waiting_for.empty()) {
    out += ", " + printable(waiting_text(explanation.waiting_for));
  }
  out += "\n";
  for (const Explanation::File& file : explanation.files) {
    out += "\n" + printable(file.path) + "  " + format_bytes(file.size) + "  pieces " +
           std::to_string(file.pieces_have) + " of " + std::to_string(file.pieces_total) + "\n";
    for (const Explanation::Source& source : file.sources) {
      out += "  from " + printable(source.kind + " " + source.name) + ": " +
             rate_text(source.rate) + ", " + format_bytes(source.in_flight) + " in flight\n";
    }
    for (const Explanation::Wait& wait : file.waits) {
      out += "  waits for " + printable(wait.kind) + " since " + format_duration(wait.since) +
             ": " + printable(wait.text) + "\n";
    }
    for (const std::string& error : file.last_errors) {
      out += "  last error: " + printable(error) + "\n";
    }
  }
  return out;
}

nlohmann::json json_of(const Explanation& explanation) {
  nlohmann::json files = nlohmann::json::array();
  for (const Explanation::File& file : explanation.files) {
    nlohmann::json sources = nlohmann::json::array();
    for (const Explanation::Source& source : file.sources) {
      sources.push_back({{"kind", source.kind},
                         {"name", source.name},
                         {"rate", source.rate},
                         {"in_flight", source.in_flight}});
    }
    nlohmann::json waits = nlohmann::json::array();
    for (const Explanation::Wait& wait : file.waits) {
      waits.push_back({{"kind", wait.kind}, {"text", wait.text}, {"since_ms", wait.since.count()}});
    }
    files.push_back({{"path", file.path},
                     {"digest", file.digest.str()},
                     {"size", file.size},
                     {"pieces_have", file.pieces_have},
                     {"pieces_total", file.pieces_total},
                     {"sources", std::move(sources)},
                     {"waits", std::move(waits)},
                     {"last_errors", file.last_errors}});
  }
  return {{"reference", explanation.reference},
          {"manifest", explanation.manifest.str()},
          {"state", explanation.state},
          {"waiting_for", explanation.waiting_for},
          {"files", std::move(files)}};
}

// What the tracker heard of a node's part.
std::string describe(const api::NodeProgress& node) {
  std::string out = printable(node.node) + ": " + std::string(phase_name(node.state)) + ", " +
                    percent_of(node.bytes_done, node.bytes_total) + " of " +
                    format_bytes(node.bytes_total) + "\n";
  for (const api::PullSource& source : node.sources) {
    out += "  from " + printable(source.kind + " " + source.name) + ": " +
           rate_text(static_cast<double>(source.rate)) + ", " + format_bytes(source.bytes) +
           " so far\n";
  }
  for (const api::PullWait& wait : node.waits) {
    out += "  " + printable(wait.kind) + ": " + printable(waiting_text(wait.text)) + "\n";
  }
  if (node.error) out += "  failed: " + printable(node.error->message()) + "\n";
  for (const std::string& error : node.last_errors) {
    out += "  last error: " + printable(error) + "\n";
  }
  return out;
}

class StatusVerb final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "[NAME:TAG]", 0, 1);
    table.add(node_,
              {.name = "node", .doc = "Only this node.", .example = "gpu-17", .flag_only = true});
    table.add(explain_,
              {.name = "explain",
               .doc = "Say per source how fast it is, what is waited for and which errors "
                      "came last.",
               .flag_only = true});
    table.usage_example("shoal status", "How this node's agent is.");
    table.usage_example("shoal status llama/8b:v1", "Which nodes have how much of it.");
    table.usage_example("shoal status llama/8b:v1 --node gpu-17 --explain",
                        "Why gpu-17 does not have it yet.");
  }

  int run(Session& session) override {
    if (words_.empty()) {
      if (node_ || explain_) return session.usage_error("--node and --explain need a NAME:TAG");
      return show_agent(session);
    }
    Result<content::Reference> reference = content::Reference::parse(words_[0]);
    if (!reference) return session.usage_error(reference.error().message());
    if (explain_ && is_local(session)) return explain_here(session, reference->str());
    return show_fleet(session, reference->str());
  }

 private:
  static int show_agent(Session& session) {
    Result<AgentStatus> status = session.agent().status();
    if (!status) return session.fail_with(status.error());
    session.out().print(describe(*status));
    session.out().result(json_of(*status), true);
    return kExitOk;
  }

  // The agent itself knows more than it tells the tracker, and answers when the tracker is away.
  bool is_local(Session& session) const {
    if (!node_) return true;
    Result<AgentStatus> status = session.agent().status();
    return status && status->node == *node_;
  }

  static int explain_here(Session& session, const std::string& reference) {
    Result<Explanation> explanation = session.agent().explain(reference);
    if (!explanation) return session.fail_with(explanation.error());
    session.out().print(describe(*explanation));
    session.out().result(json_of(*explanation), true);
    return kExitOk;
  }

  int show_fleet(Session& session, const std::string& reference) {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return session.fail_with(tracker.error());
    Result<api::StatusReport> report = (*tracker)->status(reference);
    if (!report) return session.fail_with(report.error());
    if (node_) {
      std::erase_if(report->nodes,
                    [this](const api::NodeProgress& node) { return node.node != *node_; });
      if (report->nodes.empty()) {
        return session.fail_with(
            Error(Errc::kNotFound, "node " + *node_ + " has nothing of " + reference +
                                       " and does not fetch it (`shoal nodes` lists the nodes)"));
      }
    }
    if (explain_) {
      for (const api::NodeProgress& node : report->nodes) session.out().print(describe(node));
    } else {
      session.out().print(table_of(report->nodes));
    }
    if (!node_) {
      session.out().remark(
          reference + ": complete on " + std::to_string(report->totals.complete) + " of " +
          counted(report->totals.nodes, "node") +
          (report->totals.nodes == 1 ? " that has some of it" : " that have some of it"));
    }
    session.out().result(nlohmann::json::parse(api::encode(*report)), true);
    return kExitOk;
  }

  std::vector<std::string> words_;
  std::optional<std::string> node_;
  bool explain_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_status() { return std::make_unique<StatusVerb>(); }

}  // namespace shoal::cli
