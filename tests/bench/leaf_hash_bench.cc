// How fast one core hashes leaves, by backend and by number of messages in flight, beside OpenSSL's
// one stream. usage: leaf_hash_bench [--json]
//
// Rates are bytes per second of CPU time of the measuring thread, so that a busy neighbour disturbs
// less: the median of five rounds, with the smallest and the largest.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "core/content/leaf_hash.h"
#include "core/content/piece_hasher.h"
#include "core/content/sha256_lanes.h"

namespace {

using namespace shoal::content;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Rates {
  double median, least, most;  // GB/s
};

// `pass` goes over the data once and returns how many bytes it hashed.
Rates measure(const std::function<std::size_t()>& pass) {
  constexpr std::size_t kRounds = 5;
  constexpr std::size_t kBytesPerRound = 256 << 20;
  std::size_t bytes = pass();
  std::size_t passes = std::max<std::size_t>(1, kBytesPerRound / bytes);
  std::array<double, kRounds> rates{};
  for (double& rate : rates) {
    double start = cpu_seconds();
    for (std::size_t i = 0; i < passes; ++i) pass();
    rate = static_cast<double>(passes * bytes) / (cpu_seconds() - start) / 1e9;
  }
  std::sort(rates.begin(), rates.end());
  return {rates[kRounds / 2], rates.front(), rates.back()};
}

// The bare compression function, without padding: the limit of what interleaving can give.
std::size_t compress_all(std::span<const std::byte> data, std::size_t lanes) {
  std::array<Sha256State, kAvx512Lanes> states;
  std::array<const std::byte*, kAvx512Lanes> messages;
  std::size_t leaf = 0;
  for (; (leaf + lanes) * kLeafSize <= data.size(); leaf += lanes) {
    states.fill(kSha256Initial);
    for (std::size_t i = 0; i < lanes; ++i) messages[i] = data.data() + (leaf + i) * kLeafSize;
    if (lanes == kAvx512Lanes) {
      compress_avx512(states.data(), messages.data(), kLeafSize / kSha256Block);
    } else {
      compress_sha_ni(lanes, states.data(), messages.data(), kLeafSize / kSha256Block);
    }
  }
  return leaf * kLeafSize;
}

class Table {
 public:
  void add(const std::string& key, const std::string& what, const std::string& where,
           const Rates& rates) {
    std::printf("%-44s %-4s %6.2f  %6.2f  %6.2f\n", what.c_str(), where.c_str(), rates.median,
                rates.least, rates.most);
    std::fflush(stdout);
    json_ += json_.empty() ? "" : ", ";
    std::array<char, 64> value{};
    std::snprintf(value.data(), value.size(), "%.3f", rates.median);
    json_ += "\"" + key + "_" + where + "\": " + value.data();
  }
  const std::string& json() const { return json_; }

 private:
  std::string json_;
};

void measure_all(Table& table, const std::string& where, std::span<const std::byte> data) {
  table.add("openssl_stream", "OpenSSL, one stream over all bytes", where, measure([&] {
              Sha256 hasher;
              hasher.update(data);
              hasher.finish();
              return data.size();
            }));
  for (std::size_t lanes = 1; sha_ni_available() && lanes <= kMaxShaNiLanes; ++lanes) {
    table.add("sha_ni_lanes" + std::to_string(lanes),
              "SHA-NI compression, " + std::to_string(lanes) + " in flight", where,
              measure([&] { return compress_all(data, lanes); }));
  }
  if (avx512_available()) {
    table.add("avx512_lanes16", "AVX-512 compression, 16 in flight", where,
              measure([&] { return compress_all(data, kAvx512Lanes); }));
  }
  BlobLayout layout(data.size());
  std::vector<Hash32> leaves(layout.leaf_count());
  std::vector<Hash32> pieces(layout.piece_count());
  for (LeafHashBackend backend : kAllLeafHashBackends) {
    if (!leaf_hash_backend_available(backend)) continue;
    force_leaf_hash_backend(backend);
    std::string name(leaf_hash_backend_name(backend));
    std::string key = name == "sha-ni" ? "sha_ni" : name;
    table.add(key + "_leaves", "hash_leaves, " + name, where, measure([&] {
                hash_leaves(data, leaves);
                return data.size();
              }));
    table.add(key + "_pieces", "PieceHasher (64 KiB pieces), " + name, where, measure([&] {
                PieceHasher hasher;
                hasher.begin(layout, layout.all_pieces());
                hasher.advance(data, pieces);
                return data.size();
              }));
  }
  force_leaf_hash_backend(std::nullopt);
  std::string name(leaf_hash_backend_name(leaf_hash_backend()));
  table.add("blob_hasher", "BlobHasher (digest and pieces), " + name, where, measure([&] {
              BlobHasher hasher(layout);
              if (!hasher.update(data) || !hasher.finish()) std::abort();
              return data.size();
            }));
}

}  // namespace

int main(int argc, char** argv) {
  bool json = argc == 2 && std::string_view(argv[1]) == "--json";
  if (argc > 1 && !json) {
    std::fprintf(stderr, "usage: %s [--json]\n", argv[0]);
    return 2;
  }
  shoal::SeededRandom random(1);
  std::vector<std::byte> data(256 << 20);
  for (std::size_t i = 0; i < data.size(); i += 8) {
    std::uint64_t word = random.next();
    std::memcpy(data.data() + i, &word, sizeof word);
  }
  std::printf("%-44s %-4s %6s  %6s  %6s  GB/s per core\n", "", "data", "median", "least", "most");
  Table table;
  measure_all(table, "l2", std::span(data).first(48 * kLeafSize));
  measure_all(table, "ram", data);
  std::printf("backend chosen: %s\n",
              std::string(leaf_hash_backend_name(leaf_hash_backend())).c_str());
  if (json) {
    std::printf("{\"backend\": \"%s\", %s}\n",
                std::string(leaf_hash_backend_name(leaf_hash_backend())).c_str(),
                table.json().c_str());
  }
  return 0;
}
