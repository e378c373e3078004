// shoal rm NAME:TAG

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "core/api/message.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

class Remove final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "NAME:TAG", 1, 1);
    table.usage_example("shoal rm llama/8b:v1",
                        "The catalogue forgets the name. Nodes keep the bytes until they need the "
                        "space; pins that a prefetch made end with the last name.");
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(words_[0]);
    if (!reference) return session.usage_error(reference.error().message());
    if (reference->tag() == nullptr) {
      return session.usage_error(
          "give the name to remove, NAME:TAG; digests are removed with "
          "their last name");
    }
    Result<std::unique_ptr<TrackerApi>> tracker = session.tracker();
    if (!tracker) return session.fail_with(tracker.error());
    Result<api::ReferenceRecord> removed = (*tracker)->remove(reference->str());
    if (!removed) return session.fail_with(removed.error());
    session.out().remark("removed " + removed->reference + " (was " + removed->manifest.str() +
                         ")");
    session.out().result(nlohmann::json::parse(api::encode(*removed)), true);
    return kExitOk;
  }

 private:
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_remove() { return std::make_unique<Remove>(); }

}  // namespace shoal::cli
