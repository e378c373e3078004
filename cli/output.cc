#include "cli/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/text.h"

namespace shoal::cli {
namespace {

ProgressDisplay::Size terminal_size_of(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 && size.ws_row != 0) {
    return {size.ws_col, size.ws_row};
  }
  return {80, 24};
}

}  // namespace

Output::Output(OutputOptions options, Write out, Write err)
    : options_(std::move(options)), out_(std::move(out)), err_(std::move(err)) {}

void Output::print(std::string_view text) {
  if (!options_.json) out_(text);
}

void Output::print(const Table& table) {
  // A pipe gets whole lines: what reads them has no screen.
  print(table.render(options_.out_is_terminal ? options_.terminal_size().width : 0));
}

void Output::remark(std::string_view text) {
  if (!options_.json && !options_.quiet) out_(std::string(text) + "\n");
}

void Output::complain(std::string_view text) { err_("shoal: " + std::string(text) + "\n"); }

void Output::result(nlohmann::json object, bool ok, const std::optional<Error>& error) {
  if (!options_.json) return;
  object["ok"] = ok;
  if (error) object["error"] = {{"code", errc_name(error->code())}, {"message", error->message()}};
  out_(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

ProgressStyle Output::style() const {
  if (options_.progress == "json") return ProgressStyle::kJson;
  if (options_.progress == "plain") return ProgressStyle::kPlain;
  if (options_.progress == "bars") return ProgressStyle::kBars;
  if (options_.progress == "none" || options_.quiet || options_.json) return ProgressStyle::kNone;
  return options_.err_is_terminal ? ProgressStyle::kBars : ProgressStyle::kPlain;
}

std::unique_ptr<ProgressDisplay> Output::progress() {
  return std::make_unique<ProgressDisplay>(style(), options_.color, options_.terminal_size, err_);
}

OutputOptions terminal_options() {
  OutputOptions options;
  options.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  const char* term = std::getenv("TERM");
  bool dumb = term == nullptr || std::string_view(term) == "dumb";
  options.err_is_terminal = ::isatty(STDERR_FILENO) == 1 && !dumb;
  const char* no_color = std::getenv("NO_COLOR");
  options.color = options.err_is_terminal && (no_color == nullptr || *no_color == '\0');
  options.terminal_size = [] {
    return terminal_size_of(::isatty(STDERR_FILENO) == 1 ? STDERR_FILENO : STDOUT_FILENO);
  };
  return options;
}

}  // namespace shoal::cli
