// shoal verify NAME:TAG

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "cli/rate_meter.h"
#include "cli/text.h"
#include "cli/verb.h"
#include "core/base/units.h"
#include "core/content/reference.h"

namespace shoal::cli {
namespace {

using agent_client::VerifyState;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{500};

class Verify final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "NAME:TAG", 1, 1);
    table.usage_example("shoal verify llama/8b:v1",
                        "Hashes every piece of the model in this node's store; exits with 1 if "
                        "one is wrong, with 3 if files are missing here.");
  }

  int run(Session& session) override {
    Result<content::Reference> reference = content::Reference::parse(words_[0]);
    if (!reference) return session.usage_error(reference.error().message());
    agent_client::Client agent = session.agent();
    Result<std::string> job = agent.start_verify(reference->str());
    if (!job) return session.fail_with(job.error());
    std::unique_ptr<ProgressDisplay> display = session.out().progress();
    RateMeter meter(Clock::now());
    ProgressView view;
    view.title = "verifying " + reference->str();
    view.total.state = Bar::State::kRunning;
    for (;;) {
      Result<VerifyState> state = agent.verify(*job, kPoll);
      if (!state) return session.fail_with(state.error());
      view.total.done = state->bytes_done;
      view.total.total = state->bytes_total;
      view.total.rate = meter.update(state->bytes_done, Clock::now());
      view.total.eta = estimate(state->bytes_done, state->bytes_total, view.total.rate);
      if (state->phase == VerifyState::Phase::kRunning) {
        display->update(view, Clock::now());
        continue;
      }
      view.total.state = Bar::State::kDone;
      display->finish(view);
      if (state->phase == VerifyState::Phase::kFailed) return session.fail_with(*state->error);
      return report(session, reference->str(), *state);
    }
  }

 private:
  static int report(Session& session, const std::string& reference, const VerifyState& state) {
    nlohmann::json bad = nlohmann::json::array();
    Table table({"FILE", ">BAD PIECES", "DIGEST"});
    for (const VerifyState::BadFile& file : state.bad) {
      table.add({file.path, std::to_string(file.pieces), file.digest.str()});
      bad.push_back({{"path", file.path}, {"digest", file.digest.str()}, {"pieces", file.pieces}});
    }
    nlohmann::json object{{"reference", reference},
                          {"bytes_verified", state.bytes_done},
                          {"bad", std::move(bad)},
                          {"missing", state.missing}};
    if (state.bad.empty() && !state.missing.empty()) {
      std::string message = reference + ": not whole on this node: " + state.missing.front();
      if (state.missing.size() > 1) {
        message += " and " + counted(state.missing.size() - 1, "other file");
      }
      message += "; what is here is right. `shoal pull` or `shoal prefetch` brings the rest";
      session.out().complain(message);
      session.out().result(std::move(object), false, Error(Errc::kNotFound, message));
      return kExitPartly;
    }
    if (state.bad.empty()) {
      session.out().print(reference + ": " + format_bytes(state.bytes_done) + " verified\n");
      session.out().result(std::move(object), true);
      return kExitOk;
    }
    session.out().print(table);
    return session.fail_with(
        Error(Errc::kCorrupt, counted(state.bad.size(), "file") + " of " + reference +
                                  " have pieces that do not match their hashes; the agent fetches "
                                  "them again. If this repeats, the disk of this node is bad."),
        std::move(object));
  }

  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_verify() { return std::make_unique<Verify>(); }

}  // namespace shoal::cli
