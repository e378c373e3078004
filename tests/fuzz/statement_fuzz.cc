// A statement that is accepted is written back byte for byte.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/model/statement.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  shoal::Result<shoal::agent::Statement> statement = shoal::agent::parse_statement(text);
  if (statement && shoal::agent::statement_text(*statement) != text) std::abort();
  return 0;
}
