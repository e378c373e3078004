#include "agent/model/statement.h"

#include <charconv>
#include <optional>
#include <span>

#include "core/base/hex.h"
#include "core/http/identity.h"

namespace shoal::agent {
namespace {

constexpr std::string_view kHead = "shoal-statement 1\n";

Error bad(std::string_view what) {
  return {Errc::kInvalid, "not a statement: " + std::string(what)};
}

// Takes "NAME VALUE\n" from the front of `rest`.
std::optional<std::string_view> take_line(std::string_view& rest, std::string_view name) {
  if (!rest.starts_with(name) || rest.size() <= name.size() || rest[name.size()] != ' ') return {};
  const std::size_t end = rest.find('\n');
  if (end == std::string_view::npos) return {};
  std::string_view value = rest.substr(0, end).substr(name.size() + 1);
  rest.remove_prefix(end + 1);
  return value;
}

std::string hex_of(const std::string& bytes) {
  return to_hex(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

bool bytes_of_hex(std::string_view text, std::string& out) {
  if (text.empty() || text.size() % 2 != 0) return false;
  out.resize(text.size() / 2);
  return from_hex(text, std::as_writable_bytes(std::span(out.data(), out.size())));
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
  auto size = take_line(rest, "size");
  if (!size || size->empty() || size->front() == '0') return fail(bad("size"));
  auto [end, error] = std::from_chars(size->data(), size->data() + size->size(), statement.size);
  if (error != std::errc() || end != size->data() + size->size() ||
      statement.size > content::kMaxBlobSize) {
    return fail(bad("size"));
  }
  auto root = take_line(rest, "pieces-root");
  if (!root || !from_hex(*root, statement.pieces_root)) return fail(bad("pieces-root"));
  if (rest.empty()) return statement;
  auto certificate = take_line(rest, "certificate");
  if (!certificate || !bytes_of_hex(*certificate, statement.certificate)) {
    return fail(bad("certificate"));
  }
  auto signature = take_line(rest, "signature");
  if (!signature || !bytes_of_hex(*signature, statement.signature)) return fail(bad("signature"));
  if (!rest.empty()) return fail(bad("more than a signature"));
  return statement;
}

}  // namespace shoal::agent
