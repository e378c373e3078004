// How close a simulated fleet comes to the ideal: the program behind `scripts/bench sim`.
//
//   sim_bench [--agents N] [--size SIZE] [--files N] [--racks N] [--origin RATE] [--node RATE]
//             [--rack RATE] [--scenario NAME|all] [--seed S] [--real FILE] [--json]
//
// Prints a table, and what of it must hold; with --json one JSON object as its last line. Times are
// ratios to each node's own ideal, size ÷ min(origin rate, its link); smaller is better. --real
// names the output of `scripts/bench swarm --json`, to which a fleet of 16 is compared.
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/units.h"
#include "core/content/layout.h"
#include "tests/sim/simulation.h"

namespace shoal::sim {
namespace {

struct Arguments {
  Scenario fleet;
  std::string scenario = "all";
  bool json = false;
  double real = 0;  // vs_ideal of a run of real agents
};

struct Case {
  const char* name;
  void (*change)(Scenario&);
};

// `all` runs the first three, those with a limit that must hold; of a large fleet the first.
constexpr Case kCases[] = {
    {"healthy", [](Scenario&) {}},
    {"faults", [](Scenario& s) { s.dead_share = s.slow_share = 0.05; }},
    {"stream", [](Scenario& s) { s.streaming = true; }},
    {"slow", [](Scenario& s) { s.slow_share = 0.0625; }},
    {"liars", [](Scenario& s) { s.liar_share = 0.05; }},
    {"tracker-lost", [](Scenario& s) { s.tracker_lost_at = 0.2; }},
    {"join", [](Scenario& s) { s.join_over = 10; }},
    {"killed",
     [](Scenario& s) {
       s.dead_share = 0.25;
       s.dead_close = true;
       s.dead_at = 0.5 * static_cast<double>(s.size) / std::min(s.origin_rate, s.node_rate);
     }},
    {"partition",
     [](Scenario& s) {
       double ideal = static_cast<double>(s.size) / std::min(s.origin_rate, s.node_rate);
       s.partition_from = 0.3 * ideal;
       s.partition_until = 0.6 * ideal;
     }},
};
constexpr std::size_t kMustCases = 3;
constexpr std::chrono::seconds kShowEvery{10};

constexpr std::size_t kSmallFleet = 64;
constexpr std::size_t kLargeFleet = 5000;

// The fleets of which figures are asked for, by their number of agents.
Scenario fleet_of(std::size_t agents) {
  Scenario fleet;
  fleet.agents = agents;
  if (agents <= kSmallFleet) {  // network namespaces behind shaped links
    fleet.size = 256 * kMiB;
    fleet.origin_rate = fleet.node_rate = 25e6;
    fleet.goodput = 1448.0 / 1514;  // the shaper counts the headers of Ethernet, IP and TCP
    return fleet;
  }
  fleet.racks = agents >= 400 ? agents / 50 : agents / 20;
  fleet.size = agents >= kLargeFleet ? 14'000'000'000 : 140'000'000'000;
  fleet.files = 30;
  fleet.origin_rate = 1.25e9;
  fleet.node_rate = 3.125e9;
  fleet.rack_rate = 12.5e9;
  fleet.step = 0.01;
  fleet.have_interval = 0.05;
  if (agents >= kLargeFleet) {  // coarser, for its time to be bearable
    fleet.step *= 2;
    fleet.have_interval *= 2;
  }
  return fleet;
}

int usage(const char* what) {
  std::fprintf(stderr, "sim_bench: %s\n", what);
  std::fprintf(stderr,
               "usage: sim_bench [--agents N] [--size SIZE] [--files N] [--racks N] "
               "[--origin RATE] [--node RATE] [--rack RATE] [--scenario NAME|all] [--seed S] "
               "[--real FILE] [--json]\n  scenarios:");
  for (const Case& c : kCases) std::fprintf(stderr, " %s", c.name);
  std::fprintf(stderr, "\n");
  return 2;
}

// The value of "vs_ideal" in the last line of a file that has the key; 0 if there is none.
double read_real(const char* path) {
  constexpr std::string_view kKey = "\"vs_ideal\":";
  std::ifstream file(path);
  double out = 0;
  for (std::string line; std::getline(file, line);) {
    if (auto at = line.find(kKey); at != std::string::npos) {
      out = std::strtod(line.c_str() + at + kKey.size(), nullptr);
    }
  }
  return out;
}

bool parse(int argc, char** argv, Arguments& out) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string_view(argv[i]) == "--agents") {
      out.fleet = fleet_of(static_cast<std::size_t>(std::max(1L, std::atol(argv[i + 1]))));
    }
  }
  for (int i = 1; i < argc; ++i) {
    std::string_view key = argv[i];
    if (key == "--json") {
      out.json = true;
      continue;
    }
    if (i + 1 == argc) return false;
    std::string_view value = argv[++i];
    auto number = [&] { return static_cast<std::size_t>(std::atoll(value.data())); };
    auto rate = [&](double& into) {
      auto parsed = parse_rate(value);
      if (parsed) into = static_cast<double>(parsed->bytes_per_second());
      return parsed.has_value();
    };
    bool good = true;
    if (key == "--agents") {
      good = number() > 0;
    } else if (key == "--size") {
      auto parsed = parse_byte_count(value);
      good = parsed && parsed->value() > 0;
      if (good) out.fleet.size = parsed->value();
    } else if (key == "--files") {
      good = (out.fleet.files = number()) > 0;
    } else if (key == "--racks") {
      good = (out.fleet.racks = number()) > 0;
    } else if (key == "--origin") {
      good = rate(out.fleet.origin_rate);
    } else if (key == "--node") {
      good = rate(out.fleet.node_rate);
    } else if (key == "--rack") {
      good = rate(out.fleet.rack_rate);
    } else if (key == "--seed") {
      out.fleet.seed = number();
    } else if (key == "--real") {
      good = (out.real = read_real(argv[i])) > 0;
    } else if (key == "--scenario") {
      out.scenario = value;
    } else {
      good = false;
    }
    if (!good) return false;
  }
  return out.fleet.size >= out.fleet.files && out.fleet.origin_rate > 0 && out.fleet.node_rate > 0;
}

double last(const std::vector<double>& sorted) { return sorted.empty() ? 0 : sorted.back(); }

void print_header(const Scenario& fleet) {
  std::printf("%zu agents in %zu racks, %s in %zu files, origin %s, nodes %s, seed %llu\n",
              fleet.agents, fleet.racks, format_bytes(fleet.size).c_str(), fleet.files,
              format_rate(fleet.origin_rate).c_str(), format_rate(fleet.node_rate).c_str(),
              static_cast<unsigned long long>(fleet.seed));
  std::printf("%-13s %8s %8s %8s %8s %8s %8s %8s %7s %9s %7s %6s\n", "scenario", "ideal s",
              "slowest", "p99", "median", "healthy", "origin", "x-rack", "1%-lag", "requests",
              "hedges", "cpu s");
}

void print_row(const char* name, const Report& r, double cpu) {
  std::printf("%-13s %8.2f %8.3f %8.3f %8.3f %8.3f %8.3f %8.3f %7.2f %9llu %7llu %6.0f\n", name,
              r.ideal, r.slowest(), r.quantile(0.99), r.quantile(0.5), last(r.vs_ideal_healthy),
              r.origin_ratio, r.cross_rack_ratio, r.first_percent_lag,
              static_cast<unsigned long long>(r.sum.requests),
              static_cast<unsigned long long>(r.sum.hedges), cpu);
  if (r.unfinished != 0) {
    std::printf("  %zu did not finish; %s\n", r.unfinished, r.first_unfinished.c_str());
  }
  std::fflush(stdout);
}

// A line every ten seconds of waiting, to standard error.
void show(const char* name, const Scenario& fleet, const Progress& progress, std::clock_t begin) {
  using Clock = std::chrono::steady_clock;
  static Clock::time_point next = Clock::now() + kShowEvery;
  if (Clock::now() < next) return;
  next = Clock::now() + kShowEvery;
  std::uint64_t piece = content::BlobLayout(fleet.size / fleet.files).piece_length();
  std::fprintf(stderr, "%s: %.1f virtual s, %llu pieces (%s) moved, %zu agents to go, %.0f CPU s\n",
               name, progress.now, static_cast<unsigned long long>(progress.bytes / piece),
               format_bytes(progress.bytes).c_str(), progress.unfinished,
               static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
}

class Json {
 public:
  void put(const char* key, double value) {
    values_.emplace_back(key, value);
    char text[96];
    if (std::isfinite(value)) {
      std::snprintf(text, sizeof text, "%s\"%s\":%.4f", out_.empty() ? "" : ",", key, value);
    } else {
      std::snprintf(text, sizeof text, "%s\"%s\":null", out_.empty() ? "" : ",", key);
    }
    out_ += text;
  }
  void print() const { std::printf("{%s}\n", out_.c_str()); }
  std::optional<double> find(std::string_view key) const {
    for (const auto& [name, value] : values_) {
      if (name == key) return value;
    }
    return std::nullopt;
  }

 private:
  std::vector<std::pair<std::string, double>> values_;
  std::string out_;
};

struct Must {
  const char* key;
  double most;
};
constexpr Must kMustsSmall[] = {{"vs_ideal", 1.15}, {"origin_ratio", 1.05}};
constexpr Must kMusts[] = {{"vs_ideal", 1.10},           {"origin_ratio", 1.02},
                           {"vs_ideal_faults", 1.25},    {"vs_ideal_healthy", 1.15},
                           {"cross_rack_ratio", 1.3},    {"stream_vs_ideal", 1.15},
                           {"stream_first_percent_s", 3}};
constexpr Must kMustsLarge[] = {{"cpu_s", 900}, {"peak_rss_gib", 6}};

void print_musts(std::size_t agents, const Json& json) {
  std::span<const Must> musts = kMusts;
  if (agents <= kSmallFleet) musts = kMustsSmall;
  if (agents >= kLargeFleet) musts = kMustsLarge;
  std::printf("\nagainst what was set out\n%-24s %9s %9s\n", "figure", "measured", "must be");
  for (const Must& must : musts) {
    std::optional<double> value = json.find(must.key);
    if (!value) continue;
    std::printf("%-24s %9.3f  <= %5g %s\n", must.key, *value, must.most,
                *value <= must.most ? "" : "missed");
  }
}

double peak_rss_gib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

int run(const Arguments& arguments) {
  print_header(arguments.fleet);
  Json json;
  json.put("agents", static_cast<double>(arguments.fleet.agents));
  json.put("seed", static_cast<double>(arguments.fleet.seed));
  bool all_finished = true;
  bool known = false;
  double cpu_sum = 0;
  for (std::size_t i = 0; i < std::size(kCases); ++i) {
    const Case& c = kCases[i];
    // Of a large fleet only time and memory are asked for.
    std::size_t cases = arguments.fleet.agents >= kLargeFleet ? 1 : kMustCases;
    if (arguments.scenario == "all" ? i >= cases : arguments.scenario != c.name) continue;
    known = true;
    Scenario scenario = arguments.fleet;
    c.change(scenario);
    std::clock_t begin = std::clock();
    Report report = simulate(
        scenario, [&](const Progress& progress) { show(c.name, scenario, progress, begin); });
    double cpu = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    cpu_sum += cpu;
    print_row(c.name, report, cpu);
    all_finished = all_finished && report.unfinished == 0;
    std::string_view name = c.name;
    if (name == "faults") {
      json.put("vs_ideal_faults", report.quantile(0.99));
      json.put("vs_ideal_healthy", last(report.vs_ideal_healthy));
    } else if (name == "stream") {
      json.put("stream_vs_ideal", report.slowest());
      json.put("stream_first_percent_s", report.first_percent_lag);
    } else {
      json.put("vs_ideal", report.slowest());
      json.put("origin_ratio", report.origin_ratio);
      json.put("cross_rack_ratio", report.cross_rack_ratio);
      json.put("sim_seconds", report.ideal * report.slowest());
      if (name == "healthy" && arguments.real > 0 && arguments.fleet.agents == 16) {
        json.put("sim_vs_real", report.slowest() / arguments.real);
      }
    }
  }
  if (!known) return usage("unknown scenario");
  json.put("cpu_s", cpu_sum);
  json.put("peak_rss_gib", peak_rss_gib());
  std::printf("%.0f CPU seconds, peak memory %.2f GiB", cpu_sum, peak_rss_gib());
  if (auto real = json.find("sim_vs_real")) std::printf(", simulated ÷ real %.3f", *real);
  std::printf("\n");
  print_musts(arguments.fleet.agents, json);
  if (arguments.json) json.print();
  return all_finished ? 0 : 1;
}

}  // namespace
}  // namespace shoal::sim

int main(int argc, char** argv) {
  shoal::sim::Arguments arguments;
  arguments.fleet = shoal::sim::fleet_of(1000);
  if (!shoal::sim::parse(argc, argv, arguments)) return shoal::sim::usage("bad arguments");
  return shoal::sim::run(arguments);
}
