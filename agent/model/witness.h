// Who vouches for a piece table whose root no manifest names: a node of the cluster that read the
// whole blob once and signed what it found. Signs this node's own statements, judges those of
// others, and remembers what was withdrawn.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/api/catalogue.h"
#include "core/base/result.h"
#include "core/base/thread_check.h"
#include "core/content/piece_table.h"
#include "core/http/tls.h"

namespace shoal::agent {

// Annotation of a stored blob whose root rests on the statement of the node it names; gone once
// this node has read the whole blob itself and found it right.
inline constexpr std::string_view kVouchedByKey = "vouched-by";

// Thread: the control thread.
class Witness : OneThreadOnly {
 public:
  // Without `tls` (an insecure cluster) statements are unsigned, and unsigned ones are believed.
  Witness(std::string node, std::shared_ptr<http::TlsContext> tls);

  // What this node says of a blob whose bytes it has hashed itself, all of them. Errors: those of
  // TlsContext::sign; invalid for an empty blob, about which there is nothing to say.
  Result<std::string> sign(const content::PieceTable& table) const;

  // Which node vouches for the table. Errors: not_found (none of the statements does; the message
  // says what is wrong with them).
  Result<std::string> vouched_by(const content::PieceTable& table,
                                 const std::vector<api::Statement>& statements) const;

  // A table with that root is not believed any more, nor what its signer says. `signer` may be
  // empty. False if that was known.
  bool withdraw(const content::Digest& blob, const content::Hash32& root,
                const std::string& signer);
  bool withdrawn(const content::Digest& blob, const content::Hash32& root) const;

 private:
  Status check(const content::PieceTable& table, const api::Statement& said) const;

  const std::string node_;
  const std::shared_ptr<http::TlsContext> tls_;  // null: insecure; shared with all connections
  std::set<std::pair<content::Digest, content::Hash32>> withdrawn_;
  std::set<std::string> cut_off_;
};

}  // namespace shoal::agent
