// Nodes that read a whole blob and found other bytes than its digest says, though every piece
// matches the table: is it the table that lies, or the node? Two nodes that say so decide; the
// signer of the statement behind the table has no voice in it.
//
// Pure. Thread: one at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/content/digest.h"

namespace shoal::tracker {

class Verdicts {
 public:
  struct Case {
    content::Digest blob = {};
    std::string pieces_root = {};
    std::string signer = {};
    std::set<std::string> against = {};  // nodes
    std::set<std::string> in_favour = {};
  };
  enum class Outcome {
    kNothing,   // nothing to decide
    kOpen,      // others have to look
    kWithdraw,  // the table lies
    kRejected,  // it does not: who said so has another fault
  };
  struct Decision {
    Outcome outcome = Outcome::kNothing;
    Case decided = {};  // all of it, unless kNothing
  };

  // What node `node` says. A decided case is forgotten.
  Decision say(const content::Digest& blob, const std::string& pieces_root,
               const std::string& signer, const std::string& node, bool agrees);

  bool any_open() const { return !cases_.empty(); }
  // Blobs about which the node has not been heard yet.
  std::vector<content::Digest> unheard(const std::string& node) const;

 private:
  static constexpr std::size_t kVoices = 2;
  static constexpr std::size_t kMaxCases = 1024;

  std::map<std::pair<content::Digest, std::string>, Case> cases_;
};

}  // namespace shoal::tracker
