// What a node says about a blob that it has read whole: with these bytes go this digest and this
// pieces root. docs/formats/statement.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"

namespace shoal::agent {

struct Statement {
  std::string node = {};
  content::Digest blob = {};
  std::uint64_t size = 0;  // bytes, not 0: an empty blob has no root
  content::Hash32 pieces_root = {};
  // Both empty (unsigned, of a cluster without certificates) or both set; raw bytes.
  std::string certificate = {};  // DER
  std::string signature = {};    // of signed_text()

  bool is_signed() const { return !signature.empty(); }
  friend bool operator==(const Statement&, const Statement&) = default;
};

inline constexpr std::size_t kMaxStatement = 8 * 1024;  // of the text

// What is signed.
std::string signed_text(const Statement& statement);
// The whole text. Every statement has one spelling.
std::string statement_text(const Statement& statement);
// The inverse of statement_text(); nothing is verified. Errors: invalid.
Result<Statement> parse_statement(std::string_view text);

}  // namespace shoal::agent
