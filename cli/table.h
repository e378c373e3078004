// A table of text: what `ls`, `nodes` and `status` print. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace shoal::cli {

class Table {
 public:
  // A heading that begins with '>' makes its column right-aligned.
  explicit Table(std::vector<std::string> headings);

  // As many cells as headings (checked). Control characters are escaped.
  void add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }

  // One line per row, headings first, columns separated by two spaces, no trailing spaces. With
  // `width` not 0 lines are at most that wide: the last column is cut.
  std::string render(std::size_t width) const;

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace shoal::cli
