// Why a blob does not get on, in the words that operators read: `status`, prefetch laggards, logs.
#pragma once

#include <string>

#include "agent/swarm/fetcher.h"

namespace shoal::agent {

// "a source of piece 3 of model.safetensors (origin http://o/m answered 403: …)": what is waited
// for, and what last went wrong there. Empty while bytes are on their way, or nothing is wanted.
// `file` is how the reader knows the blob.
std::string wait_text(const Fetcher::Report& report, const std::string& file);

}  // namespace shoal::agent
