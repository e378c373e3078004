// What a Settings table holds. Internal to core/daemon: shared by settings.cc, settings_sources.cc
// and settings_doc.cc.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/daemon/settings.h"
#include "core/daemon/settings_value.h"

namespace shoal::daemon {

enum class Source { kDefault, kFile, kEnvironment, kFlag };
std::string_view source_name(Source source);

// What one source gave for one setting, and how to point a person to it.
struct Given {
  Texts texts;
  std::string where;  // "--store", "SHOAL_STORE", "agent.yaml:12: store"
};
using GivenBySetting = std::map<std::string, Given>;  // by setting name

struct Setting {
  SettingInfo info;
  std::size_t section = 0;
  std::unique_ptr<SettingValue> value;
  std::string default_text;
  Source source = Source::kDefault;
};

struct Settings::State {
  std::string program;
  std::string summary;
  std::vector<std::string> sections{""};
  std::vector<Setting> settings;
  std::vector<std::function<std::optional<std::string>()>> rules;
  std::vector<std::pair<std::string, std::string>> examples;  // command, what it does

  std::vector<std::string>* positionals = nullptr;
  std::string positional_usage;
  std::size_t positional_min = 0;
  std::size_t positional_max = 0;

  bool loaded = false;
  Asked asked;
  std::filesystem::path config_file;
  GivenBySetting from_flags;
  GivenBySetting from_environment;
  std::vector<std::string> warnings;

  const Setting* find(std::string_view name) const;
  std::vector<std::string> names(bool flags) const;
};

// The flags every program has, which only ask for something.
struct BuiltinFlag {
  std::string_view name;
  bool Settings::Asked::*asked;  // nullptr for --config, which takes a value
  std::string_view doc;
};
std::span<const BuiltinFlag> builtin_flags();

std::string environment_name(std::string_view setting);

struct FlagsRead {
  GivenBySetting given;
  Settings::Asked asked;
  std::optional<std::string> config;
  std::vector<std::string> positionals;
  std::vector<std::string> problems;
};
FlagsRead read_flags(const Settings::State& state, std::span<const std::string> args);

struct SourceRead {
  GivenBySetting given;
  std::vector<std::string> problems;
  std::vector<std::string> warnings;
};
SourceRead read_environment(const Settings::State& state, const Environment& environment);
SourceRead read_file(const Settings::State& state, const std::filesystem::path& path);

}  // namespace shoal::daemon
