#include "core/base/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

namespace shoal {
namespace {

struct Unit {
  std::string_view name;  // lower case
  double factor;
};

constexpr double kValueLimit = 0x1p63;
// A hundred years: far below what std::chrono can add to a clock without overflow.
constexpr double kDurationLimit = 100 * 365 * 86400e3;

constexpr std::array<Unit, 16> kByteUnits{{
    {"", 1},
    {"b", 1},
    {"kib", 0x1p10},
    {"ki", 0x1p10},
    {"mib", 0x1p20},
    {"mi", 0x1p20},
    {"gib", 0x1p30},
    {"gi", 0x1p30},
    {"tib", 0x1p40},
    {"ti", 0x1p40},
    {"kb", 1e3},
    {"mb", 1e6},
    {"gb", 1e9},
    {"tb", 1e12},
    {"pib", 0x1p50},
    {"pb", 1e15},
}};

constexpr std::array<Unit, 14> kRateUnits{{
    {"b", 1},
    {"kib", 0x1p10},
    {"mib", 0x1p20},
    {"gib", 0x1p30},
    {"tib", 0x1p40},
    {"kb", 1e3},
    {"mb", 1e6},
    {"gb", 1e9},
    {"tb", 1e12},
    {"bit", 1.0 / 8},
    {"kbit", 1e3 / 8},
    {"mbit", 1e6 / 8},
    {"gbit", 1e9 / 8},
    {"tbit", 1e12 / 8},
}};

constexpr std::array<Unit, 5> kDurationUnits{{
    {"ms", 1},
    {"s", 1e3},
    {"m", 60e3},
    {"h", 3600e3},
    {"d", 86400e3},
}};

template <std::size_t N>
std::optional<double> factor_of(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

std::string lower(std::string_view text) {
  std::string out;
  for (char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// A leading plain decimal number ("12", "1.5"); signs, exponents and names such as "inf" are
// refused.
struct Number {
  double value;
  std::size_t length;
};
std::optional<Number> leading_number(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() &&
         (std::isdigit(static_cast<unsigned char>(text[length])) || text[length] == '.')) {
    ++length;
  }
  double value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + length, value);
  if (ec != std::errc() || end != text.data() + length || length == 0) return std::nullopt;
  return Number{value, length};
}

std::string_view skip_spaces(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

// `digits` times `factor`, rounded; nothing at or above kValueLimit. An integer times a whole
// factor keeps all its bits: a double would lose some above 2^53.
std::optional<std::uint64_t> scaled(std::string_view digits, double value, double factor) {
  double product = value * factor;
  if (product >= kValueLimit) return std::nullopt;
  std::uint64_t integer = 0;
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), integer);
  if (ec == std::errc() && end == digits.data() + digits.size() && factor >= 1 &&
      factor == std::floor(factor)) {
    return integer * static_cast<std::uint64_t>(factor);
  }
  return static_cast<std::uint64_t>(std::llround(product));
}

// Shown from this many of a unit on as 1.0 of the next: what would otherwise round to 1000 or 1024.
constexpr double kNextDecimal = 999.5;
constexpr double kNextBinary = 1023.5;

std::string three_digits(double value) {
  std::array<char, 32> buffer{};
  const char* format = value >= 99.95 ? "%.0f" : "%.1f";
  std::snprintf(buffer.data(), buffer.size(), format, value);
  return buffer.data();
}

}  // namespace

Result<ByteCount> parse_byte_count(std::string_view text) {
  auto bad = [&] {
    return fail(Errc::kInvalid, "'" + std::string(text) +
                                    "' is not a size: write for example 64MiB, 1.5GiB or 10GB");
  };
  std::string lowered = lower(text);
  std::optional<Number> number = leading_number(lowered);
  if (!number) return bad();
  std::string_view unit = skip_spaces(std::string_view(lowered).substr(number->length));
  std::optional<double> factor = factor_of(kByteUnits, unit);
  if (!factor || lowered.ends_with(' ')) return bad();
  std::optional<std::uint64_t> bytes =
      scaled(std::string_view(lowered).substr(0, number->length), number->value, *factor);
  if (!bytes) return bad();
  return ByteCount(*bytes);
}

Result<Rate> parse_rate(std::string_view text) {
  auto bad = [&] {
    return fail(Errc::kInvalid,
                "'" + std::string(text) +
                    "' is not a rate: write for example 1Gbit/s, 100MB/s or unlimited");
  };
  std::string lowered = lower(text);
  if (lowered == "unlimited" || lowered == "0") return Rate();
  std::optional<Number> number = leading_number(lowered);
  if (!number) return bad();
  std::string_view unit = skip_spaces(std::string_view(lowered).substr(number->length));
  if (unit.ends_with("/s")) {
    unit.remove_suffix(2);
  } else if (!unit.ends_with("bit")) {
    return bad();  // "100MB" is an amount; only bit units are commonly written without "/s"
  }
  std::optional<double> factor = factor_of(kRateUnits, unit);
  if (!factor) return bad();
  // "100Mb/s" means bits to whoever sells links and bytes to whoever copies files: ask which.
  if (unit.ends_with("b") && text[text.size() - 3] != 'B') return bad();
  if (number->value == 0) return Rate();
  if (number->value * *factor < 1) return bad();
  std::optional<std::uint64_t> rate =
      scaled(std::string_view(lowered).substr(0, number->length), number->value, *factor);
  if (!rate) return bad();
  return Rate(*rate);
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  auto bad = [&] {
    return fail(Errc::kInvalid, "'" + std::string(text) +
                                    "' is not a duration: write for example 500ms, 30s or 1h30m");
  };
  std::string lowered = lower(text);
  std::string_view rest = lowered;
  if (rest.empty()) return bad();
  double total = 0;
  while (!rest.empty()) {
    std::optional<Number> number = leading_number(rest);
    if (!number) return bad();
    rest.remove_prefix(number->length);
    std::size_t length = 0;
    while (length < rest.size() && std::isalpha(static_cast<unsigned char>(rest[length]))) ++length;
    std::optional<double> factor = factor_of(kDurationUnits, rest.substr(0, length));
    if (!factor) return bad();
    rest.remove_prefix(length);
    total += number->value * *factor;
  }
  if (total > kDurationLimit) return bad();
  if (total > 0 && total < 1) return bad();  // would silently become 0, which often means "never"
  return std::chrono::milliseconds(std::llround(total));
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < kKiB) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= kNextBinary && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return three_digits(value) + " " + std::string(kNames[unit]);
}

std::string format_rate(double bytes_per_second) {
  constexpr std::array<std::string_view, 4> kNames{"B/s", "kB/s", "MB/s", "GB/s"};
  double value = bytes_per_second;
  std::size_t unit = 0;
  while (value >= kNextDecimal && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  return three_digits(value) + " " + std::string(kNames[unit]);
}

std::string format_duration(std::chrono::milliseconds duration) {
  auto ms = duration.count();
  if (ms < 1000) return std::to_string(ms) + "ms";
  if (ms < 60'000) {
    std::array<char, 32> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.1fs", static_cast<double>(ms / 100) / 10);
    return buffer.data();
  }
  auto seconds = ms / 1000;
  std::array<char, 48> buffer{};
  if (seconds < 3600) {
    std::snprintf(buffer.data(), buffer.size(), "%lldm%02llds",
                  static_cast<long long>(seconds / 60), static_cast<long long>(seconds % 60));
  } else {
    std::snprintf(buffer.data(), buffer.size(), "%lldh%02lldm",
                  static_cast<long long>(seconds / 3600),
                  static_cast<long long>(seconds % 3600 / 60));
  }
  return buffer.data();
}

std::string to_setting(ByteCount count) {
  constexpr std::array<std::pair<std::uint64_t, std::string_view>, 4> kUnits{
      {{kTiB, "TiB"}, {kGiB, "GiB"}, {kMiB, "MiB"}, {kKiB, "KiB"}}};
  for (const auto& [size, name] : kUnits) {
    if (count.value() != 0 && count.value() % size == 0) {
      return std::to_string(count.value() / size) + std::string(name);
    }
  }
  return std::to_string(count.value());
}

std::string to_setting(Rate rate) {
  if (rate.unlimited()) return "unlimited";
  std::uint64_t bytes = rate.bytes_per_second();
  if (bytes % 125'000'000 == 0) return std::to_string(bytes / 125'000'000) + "Gbit/s";
  if (bytes % 125'000 == 0) return std::to_string(bytes / 125'000) + "Mbit/s";
  return std::to_string(bytes) + "B/s";
}

std::string to_setting(std::chrono::milliseconds duration) {
  auto ms = duration.count();
  if (ms != 0 && ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms != 0 && ms % 60'000 == 0) return std::to_string(ms / 60'000) + "m";
  if (ms % 1000 == 0) return std::to_string(ms / 1000) + "s";
  return std::to_string(ms) + "ms";
}

}  // namespace shoal
