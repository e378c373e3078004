// shoal nodes

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/text.h"
#include "cli/verb.h"
#include "core/api/message.h"
#include "core/base/units.h"

namespace shoal::cli {
namespace {

// "region/zone/rack"; parts that a node does not have are "-".
std::string place_of(const api::Topology& topology) {
  auto part = [](const std::string& text) { return text.empty() ? std::string("-") : text; };
  return part(topology.region) + "/" + part(topology.zone) + "/" + part(topology.rack);
}

class Nodes final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.usage_example("shoal nodes",
                        "Every agent that the tracker has heard of in the last hour.");
  }

  int run(Session& session) override {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return session.fail_with(tracker.error());
    Result<api::NodeList> list = (*tracker)->nodes();
    if (!list) return session.fail_with(list.error());
    Table table({"NODE", "STATE", "ADDRESS", "REGION/ZONE/RACK", ">COMPLETE", ">PULLS", ">USED",
                 ">CAPACITY", ">HEARD", "VERSION"});
    for (const api::NodeInfo& node : list->nodes) {
      table.add({node.node, node.state, node.address, place_of(node.topology),
                 std::to_string(node.complete) + " of " + std::to_string(node.blobs),
                 std::to_string(node.pulls), format_bytes(node.store.used),
                 node.store.capacity == 0 ? "-" : format_bytes(node.store.capacity),
                 format_duration(std::chrono::milliseconds(node.last_heard_ms_ago)) + " ago",
                 node.version});
    }
    if (!table.empty()) session.out().print(table);
    if (table.empty()) {
      session.out().remark("no agent has registered with the tracker");
    }
    session.out().result(nlohmann::json::parse(api::encode(*list)), true);
    return kExitOk;
  }
};

}  // namespace

std::unique_ptr<Verb> make_nodes() { return std::make_unique<Nodes>(); }

}  // namespace shoal::cli
