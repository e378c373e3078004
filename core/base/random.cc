#include "core/base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/check.h"
#include "core/base/hex.h"

namespace shoal {
namespace {

void fill_random(std::byte* out, std::size_t size) {
  while (size > 0) {
    ssize_t got = ::getrandom(out, size, 0);
    if (got < 0 && errno == EINTR) continue;
    SHOAL_CHECK(got > 0, "getrandom failed");
    out += got;
    size -= static_cast<std::size_t>(got);
  }
}

}  // namespace

std::uint64_t random_u64() {
  std::byte bytes[8];
  fill_random(bytes, sizeof bytes);
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::string random_hex(std::size_t bytes) {
  std::vector<std::byte> buffer(bytes);
  fill_random(buffer.data(), buffer.size());
  return to_hex(buffer);
}

}  // namespace shoal
