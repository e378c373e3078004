#include "agent/swarm/wait_text.h"

namespace shoal::agent {

std::string wait_text(const Fetcher::Report& report, const std::string& file) {
  using Wait = swarm::Explanation::Wait;
  const swarm::Explanation& why = report.swarm;
  const std::string what =
      (why.piece ? "piece " + std::to_string(why.piece->value()) + " of " : "") + file;
  auto because = [](const std::string& error) { return error.empty() ? "" : " (" + error + ")"; };
  switch (why.wait) {
    case Wait::kNothing:
    case Wait::kTransfer:
      return {};
    case Wait::kSource:
      // An origin that is not used any more is what an operator can mend.
      return "a source of " + what +
             because(report.origin_error.empty() ? report.peer_error : report.origin_error);
    case Wait::kPeer:
      return "busy peers that have " + what + because(report.peer_error);
    case Wait::kLease:
      return "the tracker's lease to read " + what + because(report.origin_error);
    case Wait::kRack:
      return "another node of this rack to bring " + what;
    case Wait::kOrigin:
      return "the origin to answer again for " + what + because(report.origin_error);
    case Wait::kLimit:
      return "the download limit";
    case Wait::kHeld:
      return "the disk to take " + what + because(report.store_error);
  }
  return {};
}

}  // namespace shoal::agent
