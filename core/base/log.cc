#include "core/base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace shoal::log {
namespace {

constexpr int kBurst = 20;
constexpr std::chrono::seconds kBurstWindow{10};
// Distinct messages are literals in the code, so the table stays small; the limit only guards a
// caller that builds message text.
constexpr std::size_t kMaxTracked = 4096;

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kTrace:
      return spdlog::level::trace;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(Level level, Format format) {
  auto logger =
      std::make_shared<spdlog::logger>("shoal", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(to_spdlog(level));
  if (format == Format::kJson) {
    logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})",
                        spdlog::pattern_time_type::utc);
  } else {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  }
  logger->flush_on(spdlog::level::trace);
  return logger;
}

struct Burst {
  std::chrono::steady_clock::time_point start;
  int count = 0;
  int suppressed = 0;
};

struct State {
  std::mutex mutex;  // guards everything below except `level`
  std::shared_ptr<spdlog::logger> logger = make_logger(Level::kWarn, Format::kText);
  Format format = Format::kText;
  std::unordered_map<std::string, Burst> bursts;
  std::atomic<Level> level{Level::kWarn};
};

State& state() {
  static State instance;
  return instance;
}

// The length of the UTF-8 sequence at the front of `text` (RFC 3629: no overlong forms, no
// surrogates), or 0 if there is none. `text` must not be empty.
std::size_t utf8_length(std::string_view text) {
  auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  bool outside = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

// Control characters move the cursor of a terminal and end lines: U+0000–1F, 7F and, as two bytes,
// U+0080–9F.
bool is_control(std::string_view sequence) {
  auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    std::size_t length = utf8_length(text);
    std::string_view sequence = text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
    if (length == 0) {
      out += "\\ufffd";
    } else if (is_control(sequence)) {
      std::array<char, 8> buffer{};
      std::snprintf(buffer.data(), buffer.size(), "\\u%04x",
                    static_cast<unsigned char>(sequence.back()));
      out += buffer.data();
    } else {
      if (sequence == "\"" || sequence == "\\") out += '\\';
      out += sequence;
    }
  }
  out += '"';
}

// logfmt: a value is quoted only if reading it back would be ambiguous.
bool needs_quotes(std::string_view value) {
  if (value.empty()) return true;
  while (!value.empty()) {
    std::size_t length = utf8_length(value);
    if (length == 0 || is_control(value.substr(0, length))) return true;
    if (std::string_view(" \"=\\").find(value.front()) != std::string_view::npos) return true;
    value.remove_prefix(length);
  }
  return false;
}

}  // namespace

Field::Field(std::string_view k, double v) : key(k), quoted(!std::isfinite(v)) {
  std::array<char, 32> buffer{};
  auto [end, ec] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v);
  value.assign(buffer.data(), end);
}

void configure(Level level, Format format) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.logger = make_logger(level, format);
  s.format = format;
  s.level = level;
}

Result<Level> parse_level(std::string_view name) {
  if (name == "trace") return Level::kTrace;
  if (name == "debug") return Level::kDebug;
  if (name == "info") return Level::kInfo;
  if (name == "warn") return Level::kWarn;
  if (name == "error") return Level::kError;
  return fail(Errc::kInvalid, "'" + std::string(name) +
                                  "' is not a log level: use trace, debug, info, warn or error");
}

Result<Format> parse_format(std::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  return fail(Errc::kInvalid, "'" + std::string(name) + "' is not a log format: use text or json");
}

bool enabled(Level level) { return level >= state().level.load(std::memory_order_relaxed); }

std::string format_line(Format format, std::string_view message, Fields fields) {
  std::string line;
  if (format == Format::kJson) {
    line += "\"msg\":";
    append_json_string(line, message);
    for (const Field& field : fields) {
      line += ',';
      append_json_string(line, field.key);
      line += ':';
      if (field.quoted) {
        append_json_string(line, field.value);
      } else {
        line += field.value;
      }
    }
    return line;
  }
  line += message;
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    if (field.quoted && needs_quotes(field.value)) {
      append_json_string(line, field.value);
    } else {
      line += field.value;
    }
  }
  return line;
}

void write(Level level, std::string_view message, Fields fields) {
  if (!enabled(level)) return;
  State& s = state();
  std::lock_guard lock(s.mutex);
  auto now = std::chrono::steady_clock::now();
  int suppressed = 0;
  if (s.bursts.size() >= kMaxTracked) s.bursts.clear();
  Burst& burst = s.bursts[std::string(message)];
  if (burst.count == 0 || now - burst.start > kBurstWindow) {
    suppressed = burst.suppressed;
    burst = Burst{now, 0, 0};
  }
  if (++burst.count > kBurst) {
    ++burst.suppressed;
    return;
  }
  std::string line = format_line(s.format, message, fields);
  if (suppressed > 0) {
    line += s.format == Format::kJson ? ",\"suppressed\":" : " suppressed=";
    line += std::to_string(suppressed);
  }
  s.logger->log(to_spdlog(level), "{}", line);
}

}  // namespace shoal::log
