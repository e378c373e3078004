// shoal gc

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/units.h"

namespace shoal::cli {
namespace {

class Gc final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.add(dry_run_,
              {.name = "dry-run", .doc = "Only say what would be evicted.", .flag_only = true});
    table.add(target_, {.name = "free",
                        .doc = "Free this much, instead of what the low watermark asks for.",
                        .example = "200GiB",
                        .flag_only = true});
    table.usage_example("shoal gc --dry-run", "What the store would evict now, and what it keeps.");
    table.usage_example("shoal gc --free 200GiB",
                        "Evicts the least recently used blobs that nobody holds, 200 GiB of them.");
  }

  int run(Session& session) override {
    std::optional<std::uint64_t> target;
    if (target_) target = target_->value();
    Result<agent_client::GcResult> result = session.agent().gc(dry_run_, target);
    if (!result) return session.fail_with(result.error());
    Table table({"DIGEST", "RESULT"});
    nlohmann::json evicted = nlohmann::json::array();
    nlohmann::json kept = nlohmann::json::array();
    for (const content::Digest& digest : result->evicted) {
      table.add({digest.str(), dry_run_ ? "would be evicted" : "evicted"});
      evicted.push_back(digest.str());
    }
    for (const agent_client::GcResult::Kept& entry : result->kept) {
      table.add({entry.digest.str(), "kept: " + entry.reason});
      kept.push_back({{"digest", entry.digest.str()}, {"reason", entry.reason}});
    }
    if (!table.empty()) session.out().print(table);
    session.out().remark((dry_run_ ? "would free " : "freed ") + format_bytes(result->freed_bytes));
    session.out().result({{"dry_run", dry_run_},
                          {"freed_bytes", result->freed_bytes},
                          {"evicted", std::move(evicted)},
                          {"kept", std::move(kept)}},
                         true);
    if (target && result->freed_bytes < *target && !dry_run_) {
      session.out().complain("only " + format_bytes(result->freed_bytes) + " of " +
                             format_bytes(*target) + " could be freed: the rest is held");
      return kExitPartly;
    }
    return kExitOk;
  }

 private:
  bool dry_run_ = false;
  std::optional<ByteCount> target_;
};

}  // namespace

std::unique_ptr<Verb> make_gc() { return std::make_unique<Gc>(); }

}  // namespace shoal::cli
