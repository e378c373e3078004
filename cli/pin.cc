// shoal pin, shoal unpin

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/text.h"
#include "cli/verb.h"
#include "core/content/digest.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

class Pin final : public Verb {
 public:
  explicit Pin(bool pin) : pin_(pin) {}

  void declare(daemon::Settings& table) override {
    table.positionals(words_, "NAME:TAG|sha256:…", 1, 1);
    if (pin_) {
      table.usage_example("shoal pin llama/8b:v1",
                          "This node's store keeps the model whatever else comes.");
    } else {
      table.usage_example("shoal unpin llama/8b:v1",
                          "The model goes when space is needed and nothing else was used less "
                          "recently.");
    }
  }

  int run(Session& session) override {
    if (!content::Digest::parse(words_[0])) {
      if (Result<content::Reference> reference = content::Reference::parse(words_[0]); !reference) {
        return session.usage_error(reference.error().message());
      }
    }
    agent_client::Client agent = session.agent();
    Result<std::vector<agent_client::Pinned>> pinned =
        pin_ ? agent.pin(words_[0]) : agent.unpin(words_[0]);
    if (!pinned) return session.fail_with(pinned.error());
    Table table({"PINNED", "MANIFEST"});
    nlohmann::json list = nlohmann::json::array();
    for (const agent_client::Pinned& entry : *pinned) {
      table.add({entry.reference.empty() ? "(by digest)" : entry.reference, entry.manifest.str()});
      list.push_back({{"reference", entry.reference}, {"manifest", entry.manifest.str()}});
    }
    if (!table.empty()) session.out().print(table);
    if (table.empty()) session.out().remark("nothing is pinned on this node");
    session.out().result({{"pinned", std::move(list)}}, true);
    return kExitOk;
  }

 private:
  const bool pin_;
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_pin() { return std::make_unique<Pin>(true); }
std::unique_ptr<Verb> make_unpin() { return std::make_unique<Pin>(false); }

}  // namespace shoal::cli
