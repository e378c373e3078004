#include "agent/model/statement.h"

#include <optional>

#include "agent/swarm/text_lines.h"
#include "core/base/hex.h"
#include "core/http/identity.h"

namespace shoal::agent {
namespace {

constexpr std::string_view kHead = "shoal-statement 1\n";

Error bad(std::string_view what) {
  return {Errc::kInvalid, "not a statement: " + std::string(what)};
}

}  // namespace

std::string signed_text(const Statement& statement) {
  return std::string(kHead) + "node " + statement.node + "\nblob " + statement.blob.str() +
         "\nsize " + std::to_string(statement.size) + "\npieces-root " +
         to_hex(statement.pieces_root) + "\n";
}

std::string statement_text(const Statement& statement) {
  std::string text = signed_text(statement);
  if (statement.is_signed()) {
    text += "certificate " + hex_of(statement.certificate) + "\nsignature " +
            hex_of(statement.signature) + "\n";
  }
  return text;
}

Result<Statement> parse_statement(std::string_view text) {
  if (text.size() > kMaxStatement) return fail(bad("too long"));
  if (!text.starts_with(kHead)) return fail(bad("another format"));
  std::string_view rest = text.substr(kHead.size());
  Statement statement;
  auto node = take_line(rest, "node");
  if (!node || !http::valid_node_id(*node)) return fail(bad("node"));
  statement.node = *node;
  auto blob = take_line(rest, "blob");
  Result<content::Digest> digest = content::Digest::parse(blob.value_or(""));
  if (!digest) return fail(bad("blob"));
  statement.blob = *digest;
  auto size = take_number(rest, "size");
  if (!size || *size == 0 || *size > content::kMaxBlobSize) return fail(bad("size"));
  statement.size = *size;
  auto root = take_line(rest, "pieces-root");
  if (!root || !from_hex(*root, statement.pieces_root)) return fail(bad("pieces-root"));
  if (rest.empty()) return statement;
  if (!take_hex(rest, "certificate", statement.certificate)) return fail(bad("certificate"));
  if (!take_hex(rest, "signature", statement.signature)) return fail(bad("signature"));
  if (!rest.empty()) return fail(bad("more than a signature"));
  return statement;
}

}  // namespace shoal::agent
