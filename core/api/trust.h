// Messages about statements that turn out to be wrong. docs/formats/statement.md.
#pragma once

#include <string>
#include <vector>

#include "core/api/limits.h"
#include "core/api/message.h"
#include "core/content/digest.h"

namespace shoal::api {

// A piece table that two nodes found to be of other bytes than its digest says.
struct Withdrawal {
  content::Digest blob = {};
  std::string pieces_root = {};  // required; 64 hex digits
  std::string signer = {};       // whose statement vouched for it; empty: nobody's

  friend bool operator==(const Withdrawal&, const Withdrawal&) = default;
};

// The part of an EventsResponse about trust.
struct EventTrust {
  std::vector<Withdrawal> withdrawn = {};    // the newest ones
  std::vector<content::Digest> checks = {};  // blobs that this node shall read whole, and say so

  friend bool operator==(const EventTrust&, const EventTrust&) = default;
};

// POST /v1/nodes/{id}/verdicts: what came out when a node read a whole blob.
struct Verdict {
  std::string epoch = {};  // required
  content::Digest blob = {};
  std::string pieces_root = {};  // required; of its piece table, which all pieces match
  std::string signer = {};       // whose statement it rests on here; may be empty
  bool agrees = false;           // the bytes have the digest

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

struct VerdictResponse {
  std::string tracker_epoch = {};
  bool withdrawn = false;  // it was, now or before

  friend bool operator==(const VerdictResponse&, const VerdictResponse&) = default;
};

}  // namespace shoal::api
