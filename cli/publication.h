// Lets the agent publish a model from its origin, and waits for it.
#pragma once

#include <string>

#include "cli/session.h"
#include "core/agent_client/client.h"
#include "core/base/result.h"

namespace shoal::cli {

// Shows how it goes under `title`. Interrupted, it is cancelled and nothing of it stays. Errors:
// what the agent says, naming the file where it is about one; cancelled.
Result<agent_client::PublicationState> run_publication(
    Session& session, const agent_client::PublicationRequest& request, const std::string& title);

}  // namespace shoal::cli
