#include "core/base/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <variant>

#include "core/base/check.h"

namespace shoal::metrics {
namespace {

using Instrument =
    std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;

struct Family {
  std::string help;
  std::map<std::string, Instrument> instruments;  // by rendered labels
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;  // guarded by mutex
};

Registry& registry() {
  static Registry instance;
  return instance;
}

// `a="x",b="y"`, by name, values escaped as the exposition format asks.
std::string render_labels(Labels labels) {
  std::sort(labels.begin(), labels.end());
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out += ',';
    out += key;
    out += "=\"";
    for (char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n') {
        out += "\\n";
      } else {
        out += c;
      }
    }
    out += '"';
  }
  return out;
}

template <typename T, typename Make>
T& find_or_make(std::string_view name, std::string_view help, const Labels& labels, Make make) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  auto family = r.families.find(name);
  if (family == r.families.end()) {
    family = r.families.emplace(std::string(name), Family{std::string(help), {}}).first;
  }
  auto [it, added] = family->second.instruments.try_emplace(render_labels(labels));
  if (added) {
    SHOAL_CHECK(
        family->second.instruments.size() == 1 ||
            std::all_of(family->second.instruments.begin(), family->second.instruments.end(),
                        [added_entry = it](const auto& entry) {
                          return entry.first == added_entry->first ||
                                 std::holds_alternative<std::unique_ptr<T>>(entry.second);
                        }),
        "metric used with two kinds: " + std::string(name));
    it->second = make();
  }
  auto* instrument = std::get_if<std::unique_ptr<T>>(&it->second);
  SHOAL_CHECK(instrument != nullptr, "metric used with two kinds: " + std::string(name));
  return **instrument;
}

void append_number(std::string& out, double value) {
  std::array<char, 64> buffer{};
  auto [end, ec] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  out.append(buffer.data(), end);
}

void append_sample(std::string& out, std::string_view name, std::string_view suffix,
                   std::string_view labels, double value) {
  out += name;
  out += suffix;
  if (!labels.empty()) {
    out += '{';
    out += labels;
    out += '}';
  }
  out += ' ';
  append_number(out, value);
  out += '\n';
}

void append_histogram(std::string& out, std::string_view name, const std::string& labels,
                      const Histogram& histogram) {
  auto bounds = histogram.upper_bounds();
  std::uint64_t count = 0;
  for (std::size_t i = 0; i <= bounds.size(); ++i) {
    std::string bucket_labels = labels.empty() ? "le=\"" : labels + ",le=\"";
    if (i < bounds.size()) {
      append_number(bucket_labels, bounds[i]);
    } else {
      bucket_labels += "+Inf";
    }
    bucket_labels += '"';
    count = histogram.cumulative(i);
    append_sample(out, name, "_bucket", bucket_labels, static_cast<double>(count));
  }
  append_sample(out, name, "_sum", labels, histogram.sum());
  // The same number as the last bucket, as the format asks, also while others observe.
  append_sample(out, name, "_count", labels, static_cast<double>(count));
}

std::string_view type_name(const Instrument& instrument) {
  constexpr std::array<std::string_view, 3> kNames{"counter", "gauge", "histogram"};
  return kNames[instrument.index()];
}

}  // namespace

void Gauge::add(double v) {
  double old = value_.load(std::memory_order_relaxed);
  while (!value_.compare_exchange_weak(old, old + v, std::memory_order_relaxed)) {
  }
}

Histogram::Histogram(std::vector<double> upper_bounds)
    : bounds_(std::move(upper_bounds)), counts_(bounds_.size() + 1) {
  SHOAL_CHECK(
      std::adjacent_find(bounds_.begin(), bounds_.end(), std::greater_equal<>()) == bounds_.end(),
      "histogram bounds must ascend");
}

void Histogram::observe(double value) {
  auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.add(value);
}

std::uint64_t Histogram::cumulative(std::size_t i) const {
  std::uint64_t total = 0;
  for (std::size_t k = 0; k <= i && k < counts_.size(); ++k) {
    total += counts_[k].load(std::memory_order_relaxed);
  }
  return total;
}

Counter& counter(std::string_view name, std::string_view help, const Labels& labels) {
  return find_or_make<Counter>(name, help, labels, [] { return std::make_unique<Counter>(); });
}

Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return find_or_make<Gauge>(name, help, labels, [] { return std::make_unique<Gauge>(); });
}

Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> upper_bounds,
                     const Labels& labels) {
  return find_or_make<Histogram>(
      name, help, labels, [&] { return std::make_unique<Histogram>(std::move(upper_bounds)); });
}

std::vector<double> latency_buckets() {
  return {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60};
}

std::string render() {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  std::string out;
  for (const auto& [name, family] : r.families) {
    out += "# HELP " + name + " " + family.help + "\n# TYPE " + name + " ";
    out += type_name(family.instruments.begin()->second);
    out += '\n';
    for (const auto& [labels, instrument] : family.instruments) {
      if (const auto* c = std::get_if<std::unique_ptr<Counter>>(&instrument)) {
        append_sample(out, name, "", labels, static_cast<double>((*c)->value()));
      } else if (const auto* g = std::get_if<std::unique_ptr<Gauge>>(&instrument)) {
        append_sample(out, name, "", labels, (*g)->value());
      } else {
        append_histogram(out, name, labels, *std::get<std::unique_ptr<Histogram>>(instrument));
      }
    }
  }
  return out;
}

}  // namespace shoal::metrics
