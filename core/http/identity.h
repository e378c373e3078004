// Who is at the other end. A certificate of the cluster's CA carries exactly one URI of ours in its
// subject alternative names:
//
//   shoal://node/<node id>   an agent (and the operator's command on that node)
//   shoal://tracker          the tracker
//
// DNS and IP names may stand beside it. A certificate without such a URI (made by other tools) can
// only prove the names in it.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "core/base/result.h"

namespace shoal::http {

struct Identity {
  enum class Kind { kNone, kNode, kTracker };

  Kind kind = Kind::kNone;
  std::string node;  // kNode only

  bool is_node(std::string_view id) const { return kind == Kind::kNode && node == id; }
  // "shoal://node/gpu-17", "shoal://tracker"; empty for kNone
  std::string uri() const;
  friend bool operator==(const Identity&, const Identity&) = default;
};

Identity node_identity(std::string node_id);
Identity tracker_identity();

// Node ids are 1 to 128 characters of [A-Za-z0-9._-], not starting with a dot or dash.
bool valid_node_id(std::string_view id);

// The inverse of uri(). Errors: invalid.
Result<Identity> parse_identity(std::string_view uri);

// Whom a client insists on talking to. There is no way to ask for nobody in particular outside the
// cluster's CA: the chain is always verified first.
struct ExpectedPeer {
  enum class Kind { kMember, kNode, kTracker };

  Kind kind = Kind::kMember;
  std::string node;  // kNode
  std::string host;  // kTracker: the name or address that was dialled

  // Any node or the tracker of the cluster.
  static ExpectedPeer member() { return {}; }
  static ExpectedPeer node_id(std::string id) { return {Kind::kNode, std::move(id), {}}; }
  // Identity shoal://tracker; or, when the certificate has no URI of ours, a DNS or IP name equal
  // to `host`.
  static ExpectedPeer tracker(std::string host) { return {Kind::kTracker, {}, std::move(host)}; }
};

}  // namespace shoal::http
