// Where a command's words go: results to standard output, progress and complaints to standard
// error; with --json one object as the last line of standard output, whatever happens.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "cli/progress.h"
#include "cli/table.h"
#include "core/base/error.h"

namespace shoal::cli {

// Of the whole program.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitPartly = 3;         // some nodes or files are not done; they were listed
inline constexpr int kExitInterrupted = 130;  // Ctrl-C; what was begun has been cancelled

struct OutputOptions {
  bool json = false;
  bool quiet = false;             // no progress and no closing remarks
  std::string progress = "auto";  // auto, bars, plain, json, none
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  bool color = false;  // the terminal can and the user wants
  std::function<ProgressDisplay::Size()> terminal_size;
};

class Output {
 public:
  using Write = std::function<void(std::string_view)>;

  // `out` and `err` write to standard output and standard error.
  Output(OutputOptions options, Write out, Write err);

  bool json() const { return options_.json; }

  // What was asked for. Nothing with --json.
  void print(std::string_view text);
  void print(const Table& table);
  // A closing remark: what was done, what to do next. Nothing with --json or --quiet.
  void remark(std::string_view text);
  // To standard error, with the program's name.
  void complain(std::string_view text);

  // The last line with --json: `object` with "ok" and, if there is one, "error". Nothing without.
  void result(nlohmann::json object, bool ok, const std::optional<Error>& error = {});

  // A display in the style that the options and the terminal call for.
  std::unique_ptr<ProgressDisplay> progress();

 private:
  ProgressStyle style() const;

  const OutputOptions options_;
  const Write out_;
  const Write err_;
};

// From the environment and the descriptors 1 and 2: terminals, NO_COLOR, TERM, width.
OutputOptions terminal_options();

}  // namespace shoal::cli
