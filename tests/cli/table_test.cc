#include "cli/table.h"

#include <gtest/gtest.h>

namespace shoal::cli {
namespace {

TEST(Table, AlignsItsColumns) {
  Table table({"NODE", ">SIZE", "NOTE"});
  table.add({"gpu-1", "1 B", "ok"});
  table.add({"gpu-200", "12.5 GiB", ""});
  EXPECT_EQ(table.render(0),
            "NODE         SIZE  NOTE\n"
            "gpu-1         1 B  ok\n"
            "gpu-200  12.5 GiB\n");
}

TEST(Table, CutsWhatTheTerminalCannotShow) {
  Table table({"A", "B"});
  table.add({"x", "a long sentence"});
  EXPECT_EQ(table.render(8),
            "A  B\n"
            "x  a lo…\n");
}

TEST(Table, EscapesWhatItShows) {
  Table table({"A"});
  table.add({"x\ny"});
  EXPECT_EQ(table.render(0), "A\nx\\x0ay\n");
}

}  // namespace
}  // namespace shoal::cli
