// Byte counts, rates, ranges and durations: their types, how they are parsed from settings and how
// they are shown to people.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal {

// A number of bytes that came from, or is shown to, a person: capacities, limits, totals.
class ByteCount {
 public:
  constexpr ByteCount() = default;
  constexpr explicit ByteCount(std::uint64_t bytes) : bytes_(bytes) {}
  constexpr std::uint64_t value() const { return bytes_; }
  friend constexpr auto operator<=>(const ByteCount&, const ByteCount&) = default;

 private:
  std::uint64_t bytes_ = 0;
};

// Bytes per second. Zero means "no limit" wherever a Rate is a limit.
class Rate {
 public:
  constexpr Rate() = default;
  constexpr explicit Rate(std::uint64_t bytes_per_second) : value_(bytes_per_second) {}
  constexpr std::uint64_t bytes_per_second() const { return value_; }
  constexpr bool unlimited() const { return value_ == 0; }
  friend constexpr auto operator<=>(const Rate&, const Rate&) = default;

 private:
  std::uint64_t value_ = 0;
};

// [offset, offset + length) of a blob, in bytes.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  constexpr std::uint64_t end() const { return offset + length; }
  constexpr bool empty() const { return length == 0; }
  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;

// "4096", "64KiB", "1.5GiB", "10GB", "10 GB". Binary units are powers of 1024, decimal ones of
// 1000. Errors: invalid (with the accepted forms in the message), also for negative values and from
// 2^63 on.
Result<ByteCount> parse_byte_count(std::string_view text);

// "1Gbit/s", "200mbit", "100MB/s", "50MiB/s", "unlimited", "0". Bit units are decimal. Invalid:
// a nonzero rate below one byte per second, and "Mb/s", of which nobody knows whether it is bits.
Result<Rate> parse_rate(std::string_view text);

// "30s", "1500ms", "5m", "2h", "1d", "1h30m". A bare number is refused (its unit would be a
// guess), so is anything longer than 100 years or between 0 and 1 ms.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

// "0 B", "640 B", "12.5 KiB", "3.0 GiB": at most three significant digits, or four below
// the next unit ("1020 KiB"), binary units.
std::string format_bytes(std::uint64_t bytes);

// "1.2 GB/s", "200 MB/s": at most three significant digits, decimal units, as links are sold.
std::string format_rate(double bytes_per_second);

// "350ms", "4.2s", "3m05s", "2h07m".
std::string format_duration(std::chrono::milliseconds duration);

// The forms parse_* accept and that lose nothing: "64MiB", "25000000B/s", "90s".
std::string to_setting(ByteCount count);
std::string to_setting(Rate rate);
std::string to_setting(std::chrono::milliseconds duration);

}  // namespace shoal
