// shoal ls

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/units.h"

namespace shoal::cli {
namespace {

std::string age(std::int64_t unix_ms) {
  auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  auto age = std::max<std::int64_t>(0, now.count() - unix_ms);
  return format_duration(std::chrono::milliseconds(age)) + " ago";
}

class List final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.add(local_, {.name = "local",
                       .doc = "List the blobs in this node's store instead of the catalogue.",
                       .flag_only = true});
    table.usage_example("shoal ls", "The models that the cluster knows, by name.");
    table.usage_example("shoal ls --local", "What this node's disk holds, and for which models.");
  }

  int run(Session& session) override { return local_ ? list_store(session) : list_names(session); }

 private:
  static int list_names(Session& session) {
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return session.fail_with(tracker.error());
    Result<std::vector<api::ReferenceRecord>> records = (*tracker)->references();
    if (!records) return session.fail_with(records.error());
    Table table({"NAME", ">FILES", ">SIZE", "UPDATED", "MANIFEST"});
    nlohmann::json list = nlohmann::json::array();
    for (const api::ReferenceRecord& record : *records) {
      // By digest: the name may be that of another model just now, which is still being published.
      const std::string name = record.reference.substr(0, record.reference.rfind(':'));
      Result<api::Resolved> resolved = (*tracker)->resolve(name + "@" + record.manifest.str());
      if (!resolved) {
        // Removed since the list was made.
        if (resolved.error().code() == Errc::kNotFound) continue;
        return session.fail_with(resolved.error());
      }
      table.add({record.reference, std::to_string(resolved->files),
                 format_bytes(resolved->bytes_total), age(record.updated_unix_ms),
                 resolved->manifest.str()});
      list.push_back({{"reference", record.reference},
                      {"manifest", resolved->manifest.str()},
                      {"files", resolved->files},
                      {"bytes_total", resolved->bytes_total},
                      {"created_unix_ms", record.created_unix_ms},
                      {"updated_unix_ms", record.updated_unix_ms}});
    }
    Result<std::vector<api::IngestStatus>> ingests = (*tracker)->ingests();
    if (!ingests) return session.fail_with(ingests.error());
    std::erase_if(*ingests, [](const api::IngestStatus& ingest) {
      return ingest.state != api::IngestState::kRunning;
    });
    nlohmann::json publishing = nlohmann::json::array();
    if (!table.empty()) session.out().print(table);
    for (const api::IngestStatus& ingest : *ingests) {
      session.out().remark(printable(ingest.reference) + " is being published by node " +
                           printable(ingest.node) + ", begun " + age(ingest.created_unix_ms) +
                           ": it can be prefetched");
      publishing.push_back({{"reference", ingest.reference},
                            {"node", ingest.node},
                            {"created_unix_ms", ingest.created_unix_ms}});
    }
    if (table.empty() && ingests->empty()) {
      session.out().remark("nothing is published yet: see `shoal publish --help`");
    }
    session.out().result({{"references", std::move(list)}, {"publishing", std::move(publishing)}},
                         true);
    return kExitOk;
  }

  static int list_store(Session& session) {
    Result<std::vector<agent_client::BlobInfo>> blobs = session.agent().blobs();
    if (!blobs) return session.fail_with(blobs.error());
    Table table({"DIGEST", ">SIZE", ">HERE", "STATE", "HELD", "LAST USED", "REFERENCES"});
    nlohmann::json list = nlohmann::json::array();
    for (const agent_client::BlobInfo& blob : *blobs) {
      std::string held = blob.pinned && blob.opened ? "pinned, open"
                         : blob.pinned              ? "pinned"
                         : blob.opened              ? "open"
                                                    : "";
      std::string references;
      for (const std::string& reference : blob.references) {
        references += (references.empty() ? "" : " ") + reference;
      }
      table.add({blob.digest.str(), format_bytes(blob.size), format_bytes(blob.bytes_have),
                 blob.state, held,
                 blob.last_used_ago ? format_duration(*blob.last_used_ago) + " ago" : "never",
                 references});
      nlohmann::json entry{{"digest", blob.digest.str()},   {"size", blob.size},
                           {"bytes_have", blob.bytes_have}, {"state", blob.state},
                           {"pinned", blob.pinned},         {"opened", blob.opened},
                           {"references", blob.references}};
      if (blob.last_used_ago) entry["last_used_ms_ago"] = blob.last_used_ago->count();
      list.push_back(std::move(entry));
    }
    if (!table.empty()) session.out().print(table);
    if (table.empty()) session.out().remark("the store of this node is empty");
    session.out().result({{"blobs", std::move(list)}}, true);
    return kExitOk;
  }

  bool local_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_list() { return std::make_unique<List>(); }

}  // namespace shoal::cli
