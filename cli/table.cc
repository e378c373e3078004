#include "cli/table.h"

#include <algorithm>

#include "cli/text.h"
#include "core/base/check.h"

namespace shoal::cli {

Table::Table(std::vector<std::string> headings) : headings_(std::move(headings)) {
  for (std::string& heading : headings_) {
    right_.push_back(heading.starts_with('>'));
    if (right_.back()) heading.erase(0, 1);
  }
}

void Table::add(std::vector<std::string> cells) {
  SHOAL_CHECK(cells.size() == headings_.size(), "a row has a cell for each heading");
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::render(std::size_t width) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < headings_.size(); ++i) {
    std::size_t widest = columns(headings_[i]);
    for (const auto& row : rows_) widest = std::max(widest, columns(row[i]));
    widths.push_back(widest);
  }
  std::string out;
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i != 0) text += "  ";
      text += padded(cells[i], widths[i], right_[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    if (width != 0) text = shortened(text, width);
    out += text + "\n";
  };
  line(headings_);
  for (const auto& row : rows_) line(row);
  return out;
}

}  // namespace shoal::cli
