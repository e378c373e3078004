// What is going on, drawn: bars on a terminal, plain lines elsewhere, JSON for programs. The
// drawing is pure; ProgressDisplay adds what was drawn before and when.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::cli {

// One thing that progresses: a file, a node, or all of them together.
struct Bar {
  enum class State { kWaiting, kRunning, kDone, kFailed };
  std::string label;
  State state = State::kWaiting;
  std::uint64_t done = 0;  // bytes
  std::uint64_t total = 0;
  // Where the bytes came from; all 0 where that has no meaning
  std::uint64_t peers = 0;
  std::uint64_t origin = 0;
  std::uint64_t local = 0;  // already here
  double rate = 0;          // bytes per second
  std::optional<std::chrono::milliseconds> eta;
  std::string note;  // what it waits for, or why it failed

  friend bool operator==(const Bar&, const Bar&) = default;
};

struct ProgressView {
  std::string title;       // "prefetching llama:8b"
  std::string noun;        // what the parts are: "node", "file"
  std::vector<Bar> parts;  // empty if there is only the whole
  Bar total;               // its label is not shown

  friend bool operator==(const ProgressView&, const ProgressView&) = default;
};

// total.done ÷ rate when the whole's own estimate is missing; nothing without a rate.
std::optional<std::chrono::milliseconds> estimate(std::uint64_t done, std::uint64_t total,
                                                  double rate);

// At most `height` lines (at least 2) of at most `width` columns: the whole, then the parts, those
// that need attention first; what does not fit is counted in the last line. `color` adds escape
// sequences that take no columns.
std::vector<std::string> render_bars(const ProgressView& view, std::size_t width,
                                     std::size_t height, bool color);

// One line with the whole: "prefetching llama:8b: 31% 12.5 GiB of 40.0 GiB, 1.2 GB/s, 25.0s left,
// …".
std::string render_plain(const ProgressView& view);

// One JSON object on one line.
std::string render_json(const ProgressView& view);

enum class ProgressStyle { kNone, kPlain, kBars, kJson };

// Thread: one. Draws at most ten times a second as bars, once a second in the other styles, and
// only what has changed.
class ProgressDisplay {
 public:
  using Clock = std::chrono::steady_clock;
  using Write = std::function<void(std::string_view)>;
  struct Size {
    std::size_t width;
    std::size_t height;
  };

  // `size` is asked before each drawing, since terminals change theirs.
  ProgressDisplay(ProgressStyle style, bool color, std::function<Size()> size, Write write);
  // Leaves the last drawing in place.
  ~ProgressDisplay();

  void update(const ProgressView& view, Clock::time_point now);
  // Draws the last state whatever the time, and goes to a new line.
  void finish(const ProgressView& view);
  // Bars disappear, so that another message can be written.
  void clear();

 private:
  void draw(const ProgressView& view);

  const ProgressStyle style_;
  const bool color_;
  const std::function<Size()> size_;
  const Write write_;
  std::size_t lines_on_screen_ = 0;
  std::optional<Clock::time_point> last_drawn_;
  std::string last_text_;
};

}  // namespace shoal::cli
