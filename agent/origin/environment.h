// What this process was told by environment variables and files of its user, behind one function,
// so that tests bring their own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/base/result.h"

namespace shoal::agent {

struct Environment {
  // The value of a variable; empty when it is not set.
  std::function<std::string(const std::string& name)> get;

  // Of this process.
  static Environment of_process();

  // "~" and below as $HOME, "" when there is none.
  std::string home(const std::string& below) const;
};

// A small file, whole. Nothing if there is no such file. Errors: those of reading; invalid above
// `most` bytes.
Result<std::optional<std::string>> read_small_file(const std::string& path, std::size_t most);

}  // namespace shoal::agent
