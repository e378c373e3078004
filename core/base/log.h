// Structured logging: one line is one event, `msg key=value …`.
//
//   log::info("registered", {{"node", id}, {"took_ms", took.count()}});
//
// Keys are fixed words (digest info_hash piece peer snapshot tensor node blob err took_ms pull_id
// …). No secrets and no file contents. Log an error where it is handled, once. If somebody would
// grep for a line to count it, make it a metric.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/base/result.h"

namespace shoal::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError };

enum class Format { kText, kJson };

// One key=value of a line.
struct Field {
  std::string_view key;
  std::string value;
  bool quoted = true;  // false for numbers and booleans, which JSON writes bare

  Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const Error& v) : key(k), value(v.str()) {}
  Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), quoted(false) {}
  template <std::integral T>
  Field(std::string_view k, T v) : key(k), value(std::to_string(v)), quoted(false) {}
  // The shortest text that reads back to the same number; quoted if JSON has no such number.
  Field(std::string_view k, double v);
};

using Fields = std::initializer_list<Field>;

// Sends lines at or above `level` to standard error. May be called again to change the level.
// Until the first call, warnings and errors are written as text.
void configure(Level level, Format format);

// "trace", "debug", "info", "warn", "error"; "text", "json".
Result<Level> parse_level(std::string_view name);
Result<Format> parse_format(std::string_view name);

bool enabled(Level level);

// Thread safe. A message that repeats (same text, any fields) more than 20 times within 10 seconds
// is dropped; the next line let through carries suppressed=N.
void write(Level level, std::string_view message, Fields fields);

inline void trace(std::string_view m, Fields f = {}) { write(Level::kTrace, m, f); }
inline void debug(std::string_view m, Fields f = {}) { write(Level::kDebug, m, f); }
inline void info(std::string_view m, Fields f = {}) { write(Level::kInfo, m, f); }
inline void warn(std::string_view m, Fields f = {}) { write(Level::kWarn, m, f); }
inline void error(std::string_view m, Fields f = {}) { write(Level::kError, m, f); }

// One line without time and level, as it is written: for tests and for programs that show lines.
// Text is logfmt with values quoted where needed; JSON is the inside of an object. Control
// characters are escaped and bytes that are not UTF-8 are replaced, so that foreign text can
// neither forge a line nor break a reader.
std::string format_line(Format format, std::string_view message, Fields fields);

}  // namespace shoal::log
