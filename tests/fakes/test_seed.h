// The seed of a random test: printed, and taken from SHOAL_TEST_SEED when that is set.
#pragma once

#include <cstdlib>
#include <iostream>

#include "core/base/random.h"

namespace shoal::fakes {

inline std::uint64_t test_seed() {
  const char* given = std::getenv("SHOAL_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : random_u64();
  std::cout << "SHOAL_TEST_SEED=" << seed << "\n";
  return seed;
}

}  // namespace shoal::fakes
