// Random bytes for identities, and a small seeded generator for decisions that tests must repeat.
#pragma once

#include <cstdint>
#include <string>

namespace shoal {

// SplitMix64 (Steele, Lea, Flood 2014): a value type, a few instructions per number, the same
// sequence on every platform. Not for secrets.
class SeededRandom {
 public:
  explicit constexpr SeededRandom(std::uint64_t seed) : state_(seed) {}

  constexpr std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound); bound must not be 0. The bias is below 2^-32 for bounds under 2^32.
  constexpr std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(next()) * bound >> 64);
  }
  // Uniform in [0, 1).
  constexpr double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

// From the kernel's random source.
std::uint64_t random_u64();

// `bytes` random bytes as lower-case hex: pull ids, boot epochs, temporary names.
std::string random_hex(std::size_t bytes);

}  // namespace shoal
