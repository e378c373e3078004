// Counters, gauges and histograms, and their Prometheus text form.
//
//   metrics::Counter& received = metrics::counter(
//       "shoal_agent_received_bytes_total", "Verified bytes received.", {{"source", "peer"}});
//   received.add(n);
//
// Names are shoal_<component>_<what>_<unit>[_total]. Label values come from small fixed sets, never
// from a digest or a peer. The registry is process-wide; metrics are never removed, so references
// stay valid for ever. Everything here is thread safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shoal::metrics {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Gauge {
 public:
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  void add(double v);
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Cumulative buckets with fixed upper bounds, in the unit the name says.
class Histogram {
 public:
  explicit Histogram(std::vector<double> upper_bounds);
  void observe(double value);

  std::span<const double> upper_bounds() const { return bounds_; }
  // Observations at or below upper_bounds()[i]; i == size() gives all of them.
  std::uint64_t cumulative(std::size_t i) const;
  double sum() const { return sum_.value(); }

 private:
  const std::vector<double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;
  Gauge sum_;
};

// The metric of that name and labels (in any order), created on first use. Asking for a name with
// another kind of metric than before is a bug and aborts.
Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> upper_bounds,
                     const Labels& labels = {});

// 1 ms … 60 s, for latencies in seconds.
std::vector<double> latency_buckets();

// All metrics in the Prometheus text exposition format 0.0.4, sorted by name and labels.
std::string render();

}  // namespace shoal::metrics
