#include "core/daemon/settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "core/base/check.h"
#include "core/daemon/settings_state.h"

namespace shoal::daemon {
namespace {

constexpr std::array<BuiltinFlag, 5> kBuiltinFlags{{
    {"config", nullptr, "Configuration file (YAML; keys are the names below)."},
    {"check-config", &Settings::Asked::check_config,
     "Check all settings, print what is wrong, exit with 0 or 1."},
    {"print-settings-doc", &Settings::Asked::print_settings_doc,
     "Print this list as markdown and exit."},
    {"version", &Settings::Asked::version, "Print the version and exit."},
    {"help", &Settings::Asked::help, "Print this text and exit."},
}};

bool good_name(std::string_view name) {
  if (name.empty() || name.front() == '-' || name.back() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// Which source decides each setting: the strongest that gave it.
struct Decision {
  const Given* given = nullptr;
  Source source = Source::kDefault;
};

Decision decide(const std::string& name, const GivenBySetting& flags,
                const GivenBySetting& environment, const GivenBySetting& file) {
  if (auto it = flags.find(name); it != flags.end()) return {&it->second, Source::kFlag};
  if (auto it = environment.find(name); it != environment.end()) {
    return {&it->second, Source::kEnvironment};
  }
  if (auto it = file.find(name); it != file.end()) return {&it->second, Source::kFile};
  return {};
}

std::string describe(const Setting& setting, const Given& given, const Error& error) {
  // A secret's text must not reach a terminal or a log through its own error message.
  return given.where + ": " +
         (setting.info.secret ? std::string("the value is not valid") : error.message());
}

std::string missing(const Setting& setting) {
  std::string name(setting.info.name);
  std::string out = name + " is required: give ";
  if (!setting.info.secret) out += "--" + name + " " + std::string(setting.value->kind());
  if (!setting.info.flag_only) {
    out += std::string(setting.info.secret ? "" : " or ") + environment_name(name);
  }
  return out + " (" + std::string(setting.info.doc) + ")";
}

}  // namespace

std::string_view source_name(Source source) {
  switch (source) {
    case Source::kDefault:
      return "default";
    case Source::kFile:
      return "file";
    case Source::kEnvironment:
      return "environment";
    case Source::kFlag:
      return "flag";
  }
  return "default";
}

std::span<const BuiltinFlag> builtin_flags() { return kBuiltinFlags; }

std::string environment_name(std::string_view setting) {
  std::string name = "SHOAL_";
  for (char c : setting) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

const Setting* Settings::State::find(std::string_view name) const {
  auto it = std::find_if(settings.begin(), settings.end(),
                         [&](const Setting& s) { return s.info.name == name; });
  return it == settings.end() ? nullptr : &*it;
}

std::vector<std::string> Settings::State::names(bool flags) const {
  std::vector<std::string> out;
  for (const Setting& setting : settings) {
    if (flags ? !setting.info.secret : !setting.info.flag_only) {
      out.emplace_back(setting.info.name);
    }
  }
  return out;
}

Settings::Settings(std::string program, std::string summary) : state_(std::make_unique<State>()) {
  state_->program = std::move(program);
  state_->summary = std::move(summary);
}

Settings::~Settings() = default;

void Settings::section(std::string title) { state_->sections.push_back(std::move(title)); }

void Settings::add_value(const SettingInfo& info, std::unique_ptr<SettingValue> value) {
  std::string name(info.name);
  SHOAL_CHECK(!state_->loaded, "a setting declared after load()");
  SHOAL_CHECK(good_name(info.name), "setting name " + name);
  SHOAL_CHECK(!info.doc.empty(), "setting without a sentence: " + name);
  SHOAL_CHECK(value->boolean() || !info.example.empty(), "setting without an example: " + name);
  SHOAL_CHECK(state_->find(info.name) == nullptr, "setting declared twice: " + name);
  // --no-x must have one meaning.
  SHOAL_CHECK(state_->find("no-" + name) == nullptr, "setting and its negation: " + name);
  SHOAL_CHECK(!name.starts_with("no-") || state_->find(name.substr(3)) == nullptr,
              "setting and its negation: " + name);
  for (const BuiltinFlag& builtin : kBuiltinFlags) {
    SHOAL_CHECK(builtin.name != info.name, "setting shadows a built-in flag: " + name);
  }
  for (const Setting& other : state_->settings) {
    SHOAL_CHECK(info.short_flag == 0 || other.info.short_flag != info.short_flag,
                "short flag declared twice: " + name);
  }
  SHOAL_CHECK(!(info.secret && info.flag_only), "a setting without any source: " + name);
  Setting setting;
  setting.info = info;
  setting.section = state_->sections.size() - 1;
  setting.default_text = value->show();
  setting.value = std::move(value);
  state_->settings.push_back(std::move(setting));
}

void Settings::rule(std::function<std::optional<std::string>()> broken) {
  state_->rules.push_back(std::move(broken));
}

void Settings::positionals(std::vector<std::string>& target, std::string usage, std::size_t min,
                           std::size_t max) {
  SHOAL_CHECK(state_->positionals == nullptr && min <= max, "positionals declared twice");
  state_->positionals = &target;
  state_->positional_usage = std::move(usage);
  state_->positional_min = min;
  state_->positional_max = max;
}

void Settings::usage_example(std::string command, std::string what) {
  state_->examples.emplace_back(std::move(command), std::move(what));
}

std::vector<std::string> Settings::load(std::span<const std::string> args,
                                        const Environment& environment) {
  SHOAL_CHECK(!state_->loaded, "settings loaded twice");
  state_->loaded = true;
  FlagsRead flags = read_flags(*state_, args);
  state_->asked = flags.asked;
  state_->from_flags = std::move(flags.given);
  std::vector<std::string> problems = std::move(flags.problems);
  auto take = [&problems](std::vector<std::string>& more) {
    for (std::string& problem : more) problems.push_back(std::move(problem));
  };

  SourceRead from_environment = read_environment(*state_, environment);
  state_->from_environment = std::move(from_environment.given);
  state_->warnings = std::move(from_environment.warnings);
  take(from_environment.problems);
  SourceRead from_file;
  if (flags.config) {
    state_->config_file = *flags.config;
    from_file = read_file(*state_, state_->config_file);
    take(from_file.problems);
  }

  for (Setting& setting : state_->settings) {
    Decision decision = decide(std::string(setting.info.name), state_->from_flags,
                               state_->from_environment, from_file.given);
    if (decision.given == nullptr) {
      if (setting.info.required) problems.push_back(missing(setting));
      continue;
    }
    Result<std::string> checked = setting.value->check(decision.given->texts);
    if (!checked) {
      problems.push_back(describe(setting, *decision.given, checked.error()));
      continue;
    }
    setting.value->assign(decision.given->texts);
    setting.source = decision.source;
  }

  if (state_->positionals != nullptr) {
    std::size_t count = flags.positionals.size();
    if (count < state_->positional_min) {
      problems.push_back("missing argument: " + state_->program + " " + state_->positional_usage);
    } else if (count > state_->positional_max) {
      problems.push_back("unexpected argument '" + flags.positionals[state_->positional_max] + "'");
    }
    *state_->positionals = std::move(flags.positionals);
  } else if (!flags.positionals.empty()) {
    problems.push_back("unexpected argument '" + flags.positionals.front() + "'");
  }

  // Rules read several values, so they only make sense once each value is known to be right.
  if (problems.empty()) {
    for (const auto& rule : state_->rules) {
      if (std::optional<std::string> problem = rule()) problems.push_back(std::move(*problem));
    }
  }
  return problems;
}

const std::vector<std::string>& Settings::warnings() const { return state_->warnings; }

Settings::Reloaded Settings::reload() {
  SHOAL_CHECK(state_->loaded, "reload before load");
  Reloaded result;
  if (state_->config_file.empty()) return result;
  SourceRead file = read_file(*state_, state_->config_file);
  result.problems = std::move(file.problems);

  struct Change {
    Setting* setting;
    std::string wanted;
    std::string before;
    Source source;
  };
  std::vector<Change> changes;
  for (Setting& setting : state_->settings) {
    std::string name(setting.info.name);
    Decision decision = decide(name, state_->from_flags, state_->from_environment, file.given);
    std::string current = setting.value->show();
    std::string wanted = setting.default_text;
    if (decision.given != nullptr) {
      Result<std::string> checked = setting.value->check(decision.given->texts);
      if (!checked) {
        result.problems.push_back(describe(setting, *decision.given, checked.error()));
        continue;
      }
      wanted = *checked;
    } else if (setting.info.required) {
      result.problems.push_back(missing(setting));
      continue;
    }
    if (wanted == current) continue;
    if (!setting.info.live) {
      result.needs_restart.push_back(name);
      continue;
    }
    changes.push_back({&setting, std::move(wanted), std::move(current), decision.source});
  }
  if (!result.problems.empty()) return result;

  for (const Change& change : changes) change.setting->value->restore(change.wanted);
  for (const auto& rule : state_->rules) {
    if (std::optional<std::string> problem = rule()) {
      result.problems.push_back(std::move(*problem));
    }
  }
  if (!result.problems.empty()) {
    for (const Change& change : changes) change.setting->value->restore(change.before);
    return result;
  }
  for (const Change& change : changes) {
    change.setting->source = change.source;
    result.changed.emplace_back(change.setting->info.name);
  }
  return result;
}

std::vector<Settings::Effective> Settings::effective() const {
  std::vector<Effective> out;
  for (const Setting& setting : state_->settings) {
    std::string value = setting.value->show();
    if (setting.info.secret && !value.empty()) value = "***";
    out.push_back({std::string(setting.info.name), std::move(value),
                   std::string(source_name(setting.source))});
  }
  return out;
}

const std::filesystem::path& Settings::config_file() const { return state_->config_file; }
const Settings::Asked& Settings::asked() const { return state_->asked; }
const std::string& Settings::program() const { return state_->program; }

Environment current_environment() {
  Environment out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view text(*entry);
    std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      out.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return out;
}

std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates) {
  std::size_t best_distance = std::max<std::size_t>(1, std::min<std::size_t>(3, word.size() / 3));
  std::optional<std::string> best;
  for (const std::string& candidate : candidates) {
    // Levenshtein distance, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j < row.size(); ++j) {
        std::size_t substituted = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
      }
    }
    if (row.back() <= best_distance && (!best || row.back() < best_distance)) {
      best = candidate;
      best_distance = row.back();
    }
  }
  return best;
}

}  // namespace shoal::daemon
