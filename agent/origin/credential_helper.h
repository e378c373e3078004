// Docker's credential helpers: programs that know a registry's password.
#pragma once

#include <chrono>
#include <string>

#include "core/base/result.h"

namespace shoal::agent {

// Runs `docker-credential-<name> get`, found in $PATH, with `registry` as its input. Its error
// output is its own and not repeated: it may hold a secret. Errors: invalid (a name that is not
// one), not_found (no such program, or it knows nothing of the registry), timed_out, unavailable
// (it failed).
Result<std::string> run_credential_helper(const std::string& name, const std::string& registry,
                                          std::chrono::milliseconds timeout);

}  // namespace shoal::agent
