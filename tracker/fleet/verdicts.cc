#include "tracker/fleet/verdicts.h"

namespace shoal::tracker {

Verdicts::Decision Verdicts::say(const content::Digest& blob, const std::string& pieces_root,
                                 const std::string& signer, const std::string& node, bool agrees) {
  auto it = cases_.find({blob, pieces_root});
  if (it == cases_.end()) {
    if (agrees || node == signer || cases_.size() >= kMaxCases) return {};
    it =
        cases_.emplace(std::pair(blob, pieces_root), Case{blob, pieces_root, signer, {}, {}}).first;
  }
  Case& open = it->second;
  if (open.signer.empty()) open.signer = signer;
  if (node == open.signer) return {Outcome::kOpen, open};
  (agrees ? open.in_favour : open.against).insert(node);
  (agrees ? open.against : open.in_favour).erase(node);
  Decision decision{Outcome::kOpen, open};
  if (open.against.size() >= kVoices) decision.outcome = Outcome::kWithdraw;
  if (open.in_favour.size() >= kVoices) decision.outcome = Outcome::kRejected;
  if (decision.outcome != Outcome::kOpen) cases_.erase(it);
  return decision;
}

std::vector<content::Digest> Verdicts::unheard(const std::string& node) const {
  std::vector<content::Digest> blobs;
  for (const auto& [key, open] : cases_) {
    if (node != open.signer && !open.against.contains(node) && !open.in_favour.contains(node)) {
      blobs.push_back(open.blob);
    }
  }
  return blobs;
}

}  // namespace shoal::tracker
