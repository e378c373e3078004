#include "cli/publication.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "cli/node_progress.h"
#include "cli/progress.h"
#include "cli/rate_meter.h"

namespace shoal::cli {
namespace {

using agent_client::PublicationState;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{250};

void show(const PublicationState& state, RateMeter& meter, ProgressView& view) {
  view.parts.clear();
  for (const PublicationState::File& file : state.files) {
    Bar bar;
    bar.label = file.path;
    bar.done = std::min(file.bytes_done, file.size);
    bar.total = file.size;
    bar.state = bar.done == bar.total ? Bar::State::kDone : Bar::State::kRunning;
    view.parts.push_back(std::move(bar));
  }
  view.total.done = state.bytes_done;
  view.total.total = state.bytes_total;
  view.total.origin = state.bytes_origin;
  view.total.peers = state.bytes_peers;
  view.total.local = state.bytes_local;
  view.total.note = state.waiting_for;
  view.total.rate = meter.update(state.bytes_done, Clock::now());
  view.total.eta = estimate(view.total.done, view.total.total, view.total.rate);
}

}  // namespace

Result<PublicationState> run_publication(Session& session,
                                         const agent_client::PublicationRequest& request,
                                         const std::string& title) {
  agent_client::Client agent = session.agent();
  Result<std::string> id = agent.start_publication(request);
  if (!id) return fail(id.error());
  auto cancel = [&] {
    // The agent may be gone: then there is nothing left to cancel.
    [[maybe_unused]] Status cancelled = session.agent_for_cleanup().cancel_publication(*id);
  };
  std::unique_ptr<ProgressDisplay> display = session.out().progress();
  RateMeter meter(Clock::now());
  ProgressView view;
  view.title = title;
  view.noun = "file";
  view.total.state = Bar::State::kRunning;
  for (;;) {
    if (session.interrupted()) {
      cancel();
      return fail(Errc::kCancelled, "interrupted");
    }
    Result<PublicationState> state = agent.publication(*id, kPoll);
    if (!state) {
      if (state.error().code() == Errc::kCancelled) cancel();
      return fail(state.error());
    }
    show(*state, meter, view);
    switch (state->phase) {
      case PublicationState::Phase::kRunning:
        display->update(view, Clock::now());
        break;
      case PublicationState::Phase::kComplete:
        view.total.state = Bar::State::kDone;
        view.total.done = view.total.total;
        display->finish(view);
        return state;
      case PublicationState::Phase::kFailed:
        return fail(*state->error);
      case PublicationState::Phase::kCancelled:
        return fail(Errc::kCancelled, "somebody cancelled the publication");
    }
  }
}

}  // namespace shoal::cli
