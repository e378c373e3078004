// SHOAL_CHECK: a broken invariant is a bug, and a bug stops the program with a message.
#pragma once

#include <string_view>

namespace shoal {

[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               std::string_view message);

}  // namespace shoal

#define SHOAL_CHECK(condition, message)                                 \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::shoal::check_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
