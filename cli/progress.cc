#include "cli/progress.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/text.h"
#include "core/base/units.h"

namespace shoal::cli {
namespace {

constexpr std::size_t kLabelWidth = 24;
constexpr std::size_t kBarWidth = 20;
constexpr std::chrono::milliseconds kBarsInterval{100};
constexpr std::chrono::milliseconds kLinesInterval{1000};

int percent(const Bar& bar) {
  if (bar.total == 0) return bar.state == Bar::State::kDone ? 100 : 0;
  // Rounded down: 100% means done.
  return static_cast<int>(100.0 * static_cast<double>(std::min(bar.done, bar.total)) /
                          static_cast<double>(bar.total));
}

std::string meter(const Bar& bar) {
  auto filled = static_cast<std::size_t>(percent(bar)) * kBarWidth / 100;
  std::string out = "[" + std::string(filled, '#');
  if (filled < kBarWidth) out += std::string(kBarWidth - filled, '.');
  return out + "]";
}

// "peers 3.0 GiB, origin 1.0 GiB, already here 2.0 GiB"; empty if there is nothing to say.
std::string sources(const Bar& bar) {
  std::string out;
  auto add = [&](std::string_view name, std::uint64_t bytes) {
    if (bytes == 0) return;
    out += (out.empty() ? "" : ", ") + std::string(name) + " " + format_bytes(bytes);
  };
  add("peers", bar.peers);
  add("origin", bar.origin);
  add("already here", bar.local);
  return out;
}

void append(std::string& out, std::string_view text, std::string_view separator = ", ") {
  if (text.empty()) return;
  if (!out.empty()) out += separator;
  out += text;
}

// What follows the meter: rate, time left, sources, note.
std::string details(const Bar& bar) {
  std::string out;
  if (bar.state == Bar::State::kRunning) {
    if (bar.rate > 0) append(out, format_rate(bar.rate));
    if (bar.eta) append(out, format_duration(*bar.eta) + " left");
  }
  append(out, sources(bar));
  append(out, printable(bar.note), out.empty() ? "" : "; ");
  return out;
}

std::string_view color_of(Bar::State state) {
  switch (state) {
    case Bar::State::kDone:
      return "\x1b[32m";
    case Bar::State::kFailed:
      return "\x1b[31m";
    case Bar::State::kWaiting:
      return "\x1b[2m";
    case Bar::State::kRunning:
      return "";
  }
  return "";
}

std::string bar_line(const Bar& bar, std::size_t label_width, std::size_t width, bool color) {
  std::string line = padded(shortened(printable(bar.label), label_width), label_width);
  if (label_width != 0) line += ' ';
  line += meter(bar) + padded(std::to_string(percent(bar)) + "%", 5, true) + " ";
  line += padded(format_bytes(bar.done), 9, true);
  std::string rest = details(bar);
  if (!rest.empty()) line += "  " + rest;
  line = shortened(line, width);
  std::string_view paint = color ? color_of(bar.state) : std::string_view();
  return paint.empty() ? line : std::string(paint) + line + "\x1b[0m";
}

// Parts that need attention first: failed, running (least done first), waiting, done.
int rank(Bar::State state) {
  switch (state) {
    case Bar::State::kFailed:
      return 0;
    case Bar::State::kRunning:
      return 1;
    case Bar::State::kWaiting:
      return 2;
    case Bar::State::kDone:
      return 3;
  }
  return 3;
}

std::string parts_done(const ProgressView& view) {
  if (view.parts.empty()) return {};
  auto count = [&](Bar::State state) {
    return std::count_if(view.parts.begin(), view.parts.end(),
                         [state](const Bar& bar) { return bar.state == state; });
  };
  auto failed = count(Bar::State::kFailed);
  return std::to_string(count(Bar::State::kDone)) + " of " + counted(view.parts.size(), view.noun) +
         " done" + (failed != 0 ? ", " + std::to_string(failed) + " failed" : std::string());
}

nlohmann::json bar_json(const Bar& bar) {
  constexpr std::string_view kStates[] = {"waiting", "running", "done", "failed"};
  nlohmann::json out{{"state", kStates[static_cast<std::size_t>(bar.state)]},
                     {"bytes_done", bar.done},
                     {"bytes_total", bar.total},
                     {"bytes_peers", bar.peers},
                     {"bytes_origin", bar.origin},
                     {"bytes_local", bar.local},
                     {"rate", std::llround(bar.rate)}};
  if (!bar.label.empty()) out["label"] = bar.label;
  if (!bar.note.empty()) out["note"] = bar.note;
  if (bar.eta) out["eta_ms"] = bar.eta->count();
  return out;
}

}  // namespace

std::optional<std::chrono::milliseconds> estimate(std::uint64_t done, std::uint64_t total,
                                                  double rate) {
  if (rate <= 0 || done > total) return std::nullopt;
  double milliseconds = static_cast<double>(total - done) / rate * 1000;
  if (milliseconds > 1e12) return std::nullopt;
  return std::chrono::milliseconds(std::llround(milliseconds));
}

std::vector<std::string> render_bars(const ProgressView& view, std::size_t width,
                                     std::size_t height, bool color) {
  std::vector<std::string> lines;
  std::string head = printable(view.title);
  append(head, parts_done(view), ": ");
  lines.push_back(shortened(head, width));
  lines.push_back(bar_line(view.total, 0, width, color));
  std::vector<const Bar*> parts;
  for (const Bar& bar : view.parts) parts.push_back(&bar);
  std::stable_sort(parts.begin(), parts.end(), [](const Bar* a, const Bar* b) {
    if (rank(a->state) != rank(b->state)) return rank(a->state) < rank(b->state);
    return a->state == Bar::State::kRunning && percent(*a) < percent(*b);
  });
  std::size_t room = height > lines.size() ? height - lines.size() : 0;
  std::size_t shown = parts.size() <= room ? parts.size() : (room == 0 ? 0 : room - 1);
  std::size_t label_width = 0;
  for (std::size_t i = 0; i < shown; ++i) {
    label_width = std::max(label_width, columns(printable(parts[i]->label)));
  }
  label_width = std::min({label_width, kLabelWidth, width / 3});
  for (std::size_t i = 0; i < shown; ++i) {
    lines.push_back(bar_line(*parts[i], label_width, width, color));
  }
  if (shown < parts.size() && room != 0) {
    lines.push_back(
        shortened("… and " + counted(parts.size() - shown, view.noun) + " more", width));
  }
  return lines;
}

std::string render_plain(const ProgressView& view) {
  const Bar& total = view.total;
  std::string out = printable(view.title) + ": " + std::to_string(percent(total)) + "% " +
                    format_bytes(total.done) + " of " + format_bytes(total.total);
  append(out, details(total));
  append(out, parts_done(view), "; ");
  return out;
}

std::string render_json(const ProgressView& view) {
  nlohmann::json out = bar_json(view.total);
  out["title"] = view.title;
  nlohmann::json parts = nlohmann::json::array();
  for (const Bar& bar : view.parts) parts.push_back(bar_json(bar));
  if (!view.parts.empty()) out[view.noun + "s"] = std::move(parts);
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ProgressDisplay::ProgressDisplay(ProgressStyle style, bool color, std::function<Size()> size,
                                 Write write)
    : style_(style), color_(color), size_(std::move(size)), write_(std::move(write)) {}

ProgressDisplay::~ProgressDisplay() = default;

void ProgressDisplay::update(const ProgressView& view, Clock::time_point now) {
  if (style_ == ProgressStyle::kNone) return;
  auto interval = style_ == ProgressStyle::kBars ? kBarsInterval : kLinesInterval;
  if (last_drawn_ && now - *last_drawn_ < interval) return;
  last_drawn_ = now;
  draw(view);
}

void ProgressDisplay::finish(const ProgressView& view) {
  if (style_ == ProgressStyle::kNone) return;
  draw(view);
  lines_on_screen_ = 0;
}

void ProgressDisplay::clear() {
  if (lines_on_screen_ == 0) return;
  // To the first line drawn, then erase from there to the end of the screen.
  write_("\x1b[" + std::to_string(lines_on_screen_) + "A\r\x1b[J");
  lines_on_screen_ = 0;
  last_text_.clear();
}

void ProgressDisplay::draw(const ProgressView& view) {
  std::string text;
  std::size_t lines = 1;
  switch (style_) {
    case ProgressStyle::kNone:
      return;
    case ProgressStyle::kPlain:
      text = render_plain(view) + "\n";
      break;
    case ProgressStyle::kJson:
      text = render_json(view) + "\n";
      break;
    case ProgressStyle::kBars: {
      Size size = size_();
      // One line and one column stay free: some terminals scroll when the last ones are written.
      std::size_t height = std::max<std::size_t>(2, size.height > 1 ? size.height - 1 : 2);
      std::vector<std::string> rows =
          render_bars(view, size.width > 1 ? size.width - 1 : 1, height, color_);
      lines = rows.size();
      for (const std::string& row : rows) text += row + "\x1b[K\n";
      break;
    }
  }
  if (text == last_text_) return;
  last_text_ = text;
  if (style_ == ProgressStyle::kBars && lines_on_screen_ != 0) {
    text = "\x1b[" + std::to_string(lines_on_screen_) + "A\r" + text + "\x1b[J";
  }
  write_(text);
  lines_on_screen_ = style_ == ProgressStyle::kBars ? lines : 0;
}

}  // namespace shoal::cli
