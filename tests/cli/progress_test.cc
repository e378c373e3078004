#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/rate_meter.h"
#include "cli/text.h"
#include "core/base/units.h"

namespace shoal::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Bar bar(std::string label, Bar::State state, std::uint64_t done, std::uint64_t total) {
  Bar out;
  out.label = std::move(label);
  out.state = state;
  out.done = done;
  out.total = total;
  return out;
}

ProgressView example() {
  ProgressView view;
  view.title = "prefetching m:1";
  view.noun = "node";
  view.total = bar("", Bar::State::kRunning, 6 * kGiB, 16 * kGiB);
  view.total.peers = 3 * kGiB;
  view.total.origin = kGiB;
  view.total.local = 2 * kGiB;
  view.total.rate = 1.2e9;
  view.total.eta = milliseconds(9'100);
  view.parts.push_back(bar("gpu-1", Bar::State::kDone, 4 * kGiB, 4 * kGiB));
  view.parts.push_back(bar("gpu-2", Bar::State::kRunning, 2 * kGiB, 4 * kGiB));
  view.parts.back().rate = 5e8;
  view.parts.push_back(bar("gpu-3", Bar::State::kWaiting, 0, 4 * kGiB));
  view.parts.back().note = "waiting for a source of piece 3";
  view.parts.push_back(bar("gpu-4", Bar::State::kFailed, 0, 4 * kGiB));
  view.parts.back().note = "disk full";
  return view;
}

TEST(Progress, DrawsTheWholeAndWhatNeedsAttentionFirst) {
  EXPECT_THAT(
      render_bars(example(), 120, 20, false),
      ElementsAre(
          "prefetching m:1: 1 of 4 nodes done, 1 failed",
          "[#######.............]  37%   6.0 GiB  1.2 GB/s, 9.1s left, peers 3.0 GiB, origin 1.0 "
          "GiB, already here 2.0 GiB",
          "gpu-4 [....................]   0%       0 B  disk full",
          "gpu-2 [##########..........]  50%   2.0 GiB  500 MB/s",
          "gpu-3 [....................]   0%       0 B  waiting for a source of piece 3",
          "gpu-1 [####################] 100%   4.0 GiB"));
}

TEST(Progress, KeepsToTheTerminalsSize) {
  ProgressView view = example();
  for (int i = 0; i < 1000; ++i) {
    view.parts.push_back(bar("extra-" + std::to_string(i), Bar::State::kWaiting, 0, 1));
  }
  for (std::size_t width : {10u, 40u, 80u}) {
    for (std::size_t height : {2u, 3u, 10u}) {
      std::vector<std::string> lines = render_bars(view, width, height, false);
      EXPECT_LE(lines.size(), height);
      for (const std::string& line : lines) EXPECT_LE(columns(line), width) << line;
    }
  }
  EXPECT_EQ(render_bars(view, 40, 5, false).back(), "… and 1002 nodes more");
}

TEST(Progress, ColoursOnlyWhenAsked) {
  std::string coloured;
  for (const std::string& line : render_bars(example(), 80, 20, true)) coloured += line;
  EXPECT_THAT(coloured, HasSubstr("\x1b[31mgpu-4"));
  std::string plain;
  for (const std::string& line : render_bars(example(), 80, 20, false)) plain += line;
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
}

TEST(Progress, SaysItInOneLine) {
  EXPECT_EQ(render_plain(example()),
            "prefetching m:1: 37% 6.0 GiB of 16.0 GiB, 1.2 GB/s, 9.1s left, peers 3.0 GiB, origin "
            "1.0 GiB, already here 2.0 GiB; 1 of 4 nodes done, 1 failed");
}

TEST(Progress, SaysItInJson) {
  ProgressView view;
  view.title = "t";
  view.noun = "file";
  view.total = bar("", Bar::State::kRunning, 1, 2);
  view.parts.push_back(bar("a", Bar::State::kDone, 1, 1));
  EXPECT_EQ(render_json(view),
            R"({"bytes_done":1,"bytes_local":0,"bytes_origin":0,"bytes_peers":0,"bytes_total":2,)"
            R"("files":[{"bytes_done":1,"bytes_local":0,"bytes_origin":0,"bytes_peers":0,)"
            R"("bytes_total":1,"label":"a","rate":0,"state":"done"}],"rate":0,"state":"running",)"
            R"("title":"t"})");
}

TEST(Progress, NothingOfNothingIsDoneOnlyWhenItIs) {
  ProgressView view;
  view.title = "t";
  EXPECT_THAT(render_plain(view), HasSubstr("0% 0 B of 0 B"));
  view.total.state = Bar::State::kDone;
  EXPECT_THAT(render_plain(view), HasSubstr("100%"));
}

TEST(Progress, EstimatesTheTimeLeft) {
  EXPECT_EQ(estimate(1000, 3000, 1000), milliseconds(2000));
  EXPECT_EQ(estimate(0, 10, 0), std::nullopt);
  EXPECT_EQ(estimate(11, 10, 1), std::nullopt);
}

class DisplayTest : public ::testing::Test {
 protected:
  ProgressDisplay display(ProgressStyle style) {
    return ProgressDisplay(
        style, false,
        [] {
          return ProgressDisplay::Size{60, 10};
        },
        [this](std::string_view text) { written_ += text; });
  }
  std::string take() { return std::exchange(written_, {}); }
  ProgressDisplay::Clock::time_point at(milliseconds t) {
    return ProgressDisplay::Clock::time_point(t);
  }

  std::string written_;
};

TEST_F(DisplayTest, PlainLinesComeOncePerSecondAndOnlyWhenSomethingChanged) {
  ProgressDisplay shown = display(ProgressStyle::kPlain);
  ProgressView view;
  view.title = "t";
  view.total.total = 100;
  shown.update(view, at(milliseconds(5000)));
  EXPECT_EQ(take(), "t: 0% 0 B of 100 B\n");
  view.total.done = 10;
  shown.update(view, at(milliseconds(5999)));
  EXPECT_EQ(take(), "");
  shown.update(view, at(milliseconds(6000)));
  EXPECT_EQ(take(), "t: 10% 10 B of 100 B\n");
  shown.update(view, at(milliseconds(9000)));
  EXPECT_EQ(take(), "") << "nothing changed";
  view.total.done = 100;
  shown.finish(view);
  EXPECT_EQ(take(), "t: 100% 100 B of 100 B\n");
}

TEST_F(DisplayTest, BarsAreDrawnOverTheOldOnes) {
  ProgressDisplay shown = display(ProgressStyle::kBars);
  ProgressView view;
  view.title = "t";
  view.total.total = 100;
  shown.update(view, at(milliseconds(0)));
  EXPECT_EQ(take(), "t\x1b[K\n[....................]   0%       0 B\x1b[K\n");
  view.total.done = 50;
  shown.update(view, at(milliseconds(100)));
  EXPECT_EQ(take(), "\x1b[2A\rt\x1b[K\n[##########..........]  50%      50 B\x1b[K\n\x1b[J");
  shown.clear();
  EXPECT_EQ(take(), "\x1b[2A\r\x1b[J");
}

TEST_F(DisplayTest, SaysNothingWhenAskedTo) {
  ProgressDisplay shown = display(ProgressStyle::kNone);
  shown.update(example(), at(milliseconds(0)));
  shown.finish(example());
  EXPECT_EQ(take(), "");
}

TEST(RateMeter, ForgetsWhatIsOld) {
  auto at = [](double s) {
    return RateMeter::TimePoint(
        std::chrono::duration_cast<milliseconds>(std::chrono::duration<double>(s)));
  };
  RateMeter meter(at(0));
  EXPECT_EQ(meter.update(0, at(0)), 0);
  EXPECT_DOUBLE_EQ(meter.update(1000, at(1)), 1000);
  for (int second = 2; second <= 30; ++second) {
    double rate = meter.update(1000 + static_cast<std::uint64_t>(second) * 10, at(second));
    if (second > 10) {
      EXPECT_DOUBLE_EQ(rate, 10);
    }
  }
}

}  // namespace
}  // namespace shoal::cli
