// What the tracker says of nodes, in the words that people see. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/progress.h"
#include "cli/table.h"
#include "core/api/operate.h"
#include "core/base/result.h"

namespace shoal::cli {

// {"all"}, ids, or label=value pairs, as --nodes has them. Errors: invalid (a mixture, a label
// twice).
Result<api::NodeSelector> parse_selector(const std::vector<std::string>& words);

ProgressView view_of(std::string title, const api::ProgressTotals& totals,
                     const std::vector<api::NodeProgress>& nodes);

Table table_of(const std::vector<api::NodeProgress>& nodes);

// "complete", "absent", …
std::string_view phase_name(api::NodePhase phase);

// Why a node does not have it all: its error, what it waits for, or what its state means.
std::string reason_of(const api::NodeProgress& node);

// "waiting for a source of piece 3", whether or not the text begins so.
std::string waiting_text(std::string_view waiting_for);

// "31%", rounded down; "-" for nothing of nothing.
std::string percent_of(std::uint64_t done, std::uint64_t total);

}  // namespace shoal::cli
