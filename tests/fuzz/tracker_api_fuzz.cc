// The bodies of the tracker's API. The first byte picks the message; what is accepted must come
// back unchanged from its own encoding.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/base/check.h"
#include "tests/core/api/samples.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  int place = 0;
  shoal::api::samples::for_each([&](const auto& sample) {
    using Message = std::decay_t<decltype(sample)>;
    if (place++ != (data[0] - 'a')) return;
    auto message = shoal::api::decode<Message>(body);
    if (!message) return;
    auto again = shoal::api::decode<Message>(shoal::api::encode(*message));
    SHOAL_CHECK(again && *again == *message, "what was accepted does not come back unchanged");
  });
  return 0;
}
