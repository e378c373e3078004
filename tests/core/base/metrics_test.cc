#include "core/base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace shoal::metrics {
namespace {

using testing::HasSubstr;
using testing::Not;

// The lines of render() that belong to one metric. The registry lives as long as the process, so
// each test has names of its own.
std::string rendered(const std::string& name) {
  std::string out;
  std::string all = render();
  for (std::size_t start = 0; start < all.size();) {
    std::size_t end = all.find('\n', start) + 1;
    std::string line = all.substr(start, end - start);
    if (line.find(name) != std::string::npos) out += line;
    start = end;
  }
  return out;
}

TEST(Metrics, ACounterIsRenderedWithHelpTypeAndLabels) {
  counter("t_bytes_total", "Bytes.", {{"source", "peer"}}).add(5);
  counter("t_bytes_total", "Bytes.", {{"source", "origin"}}).add();
  EXPECT_EQ(rendered("t_bytes_total"),
            "# HELP t_bytes_total Bytes.\n"
            "# TYPE t_bytes_total counter\n"
            "t_bytes_total{source=\"origin\"} 1\n"
            "t_bytes_total{source=\"peer\"} 5\n");
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameMetricInAnyOrder) {
  Counter& a = counter("t_same_total", "S.", {{"a", "1"}, {"b", "2"}});
  Counter& b = counter("t_same_total", "S.", {{"b", "2"}, {"a", "1"}});
  EXPECT_EQ(&a, &b);
  EXPECT_NE(&a, &counter("t_same_total", "S.", {{"a", "2"}, {"b", "1"}}));
}

TEST(Metrics, LabelValuesAreEscaped) {
  gauge("t_escaped", "E.", {{"path", "a\\b\"c\nd"}}).set(1);
  EXPECT_THAT(rendered("t_escaped"), HasSubstr("t_escaped{path=\"a\\\\b\\\"c\\nd\"} 1\n"));
}

TEST(Metrics, AGaugeGoesUpAndDownAndShowsFractions) {
  Gauge& g = gauge("t_gauge", "G.");
  g.set(2);
  g.add(-2.5);
  EXPECT_EQ(g.value(), -0.5);
  EXPECT_EQ(rendered("t_gauge"), "# HELP t_gauge G.\n# TYPE t_gauge gauge\nt_gauge -0.5\n");
}

TEST(Metrics, AHistogramIsCumulativeAndItsBoundsBelongToTheirBucket) {
  Histogram& h = histogram("t_seconds", "H.", {0.25, 1}, {{"op", "read"}});
  for (double v : {0.25, 0.5, 1.0, 8.0}) h.observe(v);
  EXPECT_EQ(rendered("t_seconds"),
            "# HELP t_seconds H.\n"
            "# TYPE t_seconds histogram\n"
            "t_seconds_bucket{op=\"read\",le=\"0.25\"} 1\n"
            "t_seconds_bucket{op=\"read\",le=\"1\"} 3\n"
            "t_seconds_bucket{op=\"read\",le=\"+Inf\"} 4\n"
            "t_seconds_sum{op=\"read\"} 9.75\n"
            "t_seconds_count{op=\"read\"} 4\n");
  EXPECT_EQ(h.cumulative(0), 1u);
  EXPECT_EQ(h.cumulative(2), 4u);
}

TEST(Metrics, LatencyBucketsAscendFromAMillisecondToAMinute) {
  std::vector<double> buckets = latency_buckets();
  EXPECT_TRUE(std::is_sorted(buckets.begin(), buckets.end()));
  EXPECT_EQ(buckets.front(), 0.001);
  EXPECT_EQ(buckets.back(), 60);
}

TEST(MetricsDeathTest, OneNameHasOneKind) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  counter("t_kind", "K.", {{"a", "1"}});
  EXPECT_DEATH(gauge("t_kind", "K.", {{"a", "1"}}), "two kinds: t_kind");
  EXPECT_DEATH(gauge("t_kind", "K.", {{"a", "2"}}), "two kinds: t_kind");
}

TEST(MetricsDeathTest, HistogramBoundsMustAscend) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Histogram({1, 1}), "ascend");
  EXPECT_DEATH(Histogram({2, 1}), "ascend");
}

TEST(MetricsThreads, ConcurrentUpdatesAreAllCountedWhileRendering) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 5000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < kRounds; ++i) {
        counter("t_threads_total", "T.").add(2);
        gauge("t_threads_gauge", "T.").add(1);
        histogram("t_threads_seconds", "T.", {1}).observe(i % 2 == 0 ? 0.5 : 2);
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_THAT(render(), Not(testing::IsEmpty()));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter("t_threads_total", "T.").value(), 2u * kThreads * kRounds);
  EXPECT_EQ(gauge("t_threads_gauge", "T.").value(), kThreads * kRounds);
  Histogram& h = histogram("t_threads_seconds", "T.", {1});
  EXPECT_EQ(h.cumulative(0), kThreads * kRounds / 2u);
  EXPECT_EQ(h.cumulative(1), 1u * kThreads * kRounds);
  EXPECT_EQ(h.sum(), kThreads * kRounds / 2 * 2.5);
}

}  // namespace
}  // namespace shoal::metrics
