#include "agent/model/witness.h"

#include "agent/model/statement.h"

namespace shoal::agent {

Witness::Witness(std::string node, std::shared_ptr<http::TlsContext> tls)
    : node_(std::move(node)), tls_(std::move(tls)) {}

Result<std::string> Witness::sign(const content::PieceTable& table) const {
  assert_owner_thread();
  if (!table.pieces_root()) return fail(Errc::kInvalid, "an empty blob has no root");
  Statement statement{.node = node_,
                      .blob = table.digest(),
                      .size = table.layout().size(),
                      .pieces_root = *table.pieces_root()};
  if (tls_) {
    Result<http::TlsContext::Signature> signature = tls_->sign(signed_text(statement));
    if (!signature) return fail(signature.error());
    statement.certificate = std::move(signature->certificate);
    statement.signature = std::move(signature->bytes);
  }
  return statement_text(statement);
}

Status Witness::check(const content::PieceTable& table, const api::Statement& said) const {
  Result<Statement> statement = parse_statement(said.text);
  if (!statement) return fail(statement.error());
  if (statement->node != said.node) return fail(Errc::kDenied, "it is of " + statement->node);
  if (cut_off_.contains(said.node)) {
    return fail(Errc::kDenied, "another statement of this node was withdrawn");
  }
  SHOAL_TRY(table.expect(statement->blob, statement->size, statement->pieces_root));
  if (!tls_) return {};
  if (!statement->is_signed()) return fail(Errc::kDenied, "it is not signed");
  Result<http::Identity> signer =
      tls_->verify(signed_text(*statement), {statement->certificate, statement->signature});
  if (!signer) return fail(signer.error());
  if (!signer->is_node(said.node)) {
    return fail(Errc::kDenied, "'" + signer->uri() + "' signed it, not node " + said.node);
  }
  return {};
}

Result<std::string> Witness::vouched_by(const content::PieceTable& table,
                                        const std::vector<api::Statement>& statements) const {
  assert_owner_thread();
  std::string why = "no node has signed that it read the whole file";
  if (table.pieces_root() && withdrawn(table.digest(), *table.pieces_root())) {
    return fail(Errc::kNotFound, "the statement about this piece table was withdrawn");
  }
  for (const api::Statement& said : statements) {
    Status good = check(table, said);
    if (good) return said.node;
    why = "the statement of " + said.node + " is not believed: " + good.error().message();
  }
  return fail(Errc::kNotFound, why);
}

bool Witness::withdraw(const content::Digest& blob, const content::Hash32& root,
                       const std::string& signer) {
  assert_owner_thread();
  // Of ourselves we know better; others do not believe us either.
  if (!signer.empty() && signer != node_) cut_off_.insert(signer);
  return withdrawn_.emplace(blob, root).second;
}

bool Witness::withdrawn(const content::Digest& blob, const content::Hash32& root) const {
  return withdrawn_.contains({blob, root});
}

}  // namespace shoal::agent
