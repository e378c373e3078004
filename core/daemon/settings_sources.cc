// Where values come from: flags, environment variables, the YAML file.

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/daemon/settings_state.h"

namespace shoal::daemon {
namespace {

// A configuration file is written by hand; anything larger is the wrong file.
constexpr std::uintmax_t kMaxConfigBytes = 1 << 20;

std::string hint(std::string_view word, const std::vector<std::string>& candidates,
                 std::string_view prefix) {
  std::optional<std::string> meant = did_you_mean(word, candidates);
  return meant ? "; did you mean " + std::string(prefix) + *meant + "?" : std::string();
}

// One text as a flag or variable has it: elements of lists and maps are separated by commas.
Texts split_if_many(const Setting& setting, const std::string& text) {
  return setting.value->many() ? split_elements(text) : Texts{text};
}

class FlagReader {
 public:
  FlagReader(const Settings::State& state, std::span<const std::string> args)
      : state_(state), args_(args) {}

  FlagsRead read() {
    bool only_words = false;
    while (next_ < args_.size()) {
      const std::string& arg = args_[next_++];
      if (only_words || arg.size() < 2 || arg[0] != '-') {
        out_.positionals.push_back(arg);
      } else if (arg == "--") {
        only_words = true;
      } else if (arg[1] == '-') {
        long_flag(arg.substr(2));
      } else {
        short_flag(arg);
      }
    }
    return std::move(out_);
  }

 private:
  void long_flag(const std::string& text) {
    std::size_t equals = text.find('=');
    std::string name = text.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = text.substr(equals + 1);
    if (builtin(name, value)) return;
    const Setting* setting = state_.find(name);
    bool negated = false;
    if (setting == nullptr && name.starts_with("no-")) {
      setting = state_.find(name.substr(3));
      negated = setting != nullptr && setting->value->boolean();
      if (!negated) setting = nullptr;
    }
    if (setting == nullptr) {
      out_.problems.push_back("--" + name + ": unknown flag" + hint(name, candidates(), "--"));
      return;
    }
    take("--" + name, *setting, value, negated);
  }

  void short_flag(const std::string& arg) {
    if (arg == "-h") {
      out_.asked.help = true;
      return;
    }
    for (const Setting& setting : state_.settings) {
      if (setting.info.short_flag != 0 && setting.info.short_flag == arg[1]) {
        std::optional<std::string> value;
        if (arg.size() > 2) value = arg.substr(2);
        take(arg.substr(0, 2), setting, value, false);
        return;
      }
    }
    out_.problems.push_back(arg + ": unknown flag");
  }

  bool builtin(const std::string& name, const std::optional<std::string>& value) {
    for (const BuiltinFlag& flag : builtin_flags()) {
      if (flag.name != name) continue;
      if (flag.asked != nullptr) {
        if (value) out_.problems.push_back("--" + name + " takes no value");
        out_.asked.*flag.asked = true;
      } else if (std::optional<std::string> file = value ? value : following("--" + name)) {
        if (out_.config) out_.problems.push_back("--config is given twice");
        out_.config = *file;
      }
      return true;
    }
    return false;
  }

  void take(const std::string& flag, const Setting& setting, std::optional<std::string> value,
            bool negated) {
    std::string name(setting.info.name);
    if (setting.info.secret) {
      out_.problems.push_back(flag +
                              ": secrets are not taken from the command line, where other "
                              "users see them: use " +
                              environment_name(name) + " or the configuration file");
      return;
    }
    if (setting.value->boolean()) {
      if (negated && value) {
        out_.problems.push_back(flag + " takes no value");
        return;
      }
      if (!value) value = negated ? "false" : "true";
    } else if (!value) {
      value = following(flag);
      if (!value) return;
    }
    Texts texts = split_if_many(setting, *value);
    auto [it, fresh] = out_.given.try_emplace(name, Given{texts, flag});
    if (fresh) return;
    if (setting.value->many()) {
      it->second.texts.insert(it->second.texts.end(), texts.begin(), texts.end());
    } else {
      out_.problems.push_back(flag + " is given twice");
    }
  }

  std::optional<std::string> following(const std::string& flag) {
    if (next_ < args_.size() && !args_[next_].starts_with("--")) return args_[next_++];
    out_.problems.push_back(flag + " needs a value (one that starts with -- is written " + flag +
                            "=VALUE)");
    return std::nullopt;
  }

  std::vector<std::string> candidates() const {
    std::vector<std::string> out = state_.names(true);
    for (const BuiltinFlag& flag : builtin_flags()) out.emplace_back(flag.name);
    return out;
  }

  const Settings::State& state_;
  std::span<const std::string> args_;
  std::size_t next_ = 0;
  FlagsRead out_;
};

// The elements of a YAML value; a problem's text if its shape does not fit the setting.
Result<Texts> yaml_texts(const Setting& setting, const YAML::Node& node) {
  if (node.IsScalar()) return split_if_many(setting, node.Scalar());
  if (node.IsSequence() && setting.value->many()) {
    Texts texts;
    for (const YAML::Node& element : node) {
      if (!element.IsScalar()) return fail(Errc::kInvalid, "its elements must be plain values");
      texts.push_back(element.Scalar());
    }
    return texts;
  }
  if (node.IsMap() && setting.value->kind().starts_with("KEY=")) {
    Texts texts;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
        return fail(Errc::kInvalid, "its keys and values must be plain");
      }
      texts.push_back(entry.first.Scalar() + "=" + entry.second.Scalar());
    }
    return texts;
  }
  if (node.IsNull()) return fail(Errc::kInvalid, "has no value");
  return fail(Errc::kInvalid, "must be " + std::string(setting.value->kind()));
}

}  // namespace

FlagsRead read_flags(const Settings::State& state, std::span<const std::string> args) {
  return FlagReader(state, args).read();
}

std::optional<std::size_t> Settings::first_positional(std::span<const std::string> args) const {
  for (std::size_t count = 1; count <= args.size(); ++count) {
    // Reading a prefix asks the reader itself what is a word and what is a flag's value.
    if (!read_flags(*state_, args.first(count)).positionals.empty()) return count - 1;
  }
  return std::nullopt;
}

SourceRead read_environment(const Settings::State& state, const Environment& environment) {
  SourceRead out;
  std::vector<std::string> known;
  for (const std::string& name : state.names(false)) {
    std::string variable = environment_name(name);
    known.push_back(variable);
    auto it = environment.find(variable);
    if (it == environment.end() || it->second.empty()) continue;
    out.given.emplace(name, Given{split_if_many(*state.find(name), it->second), variable});
  }
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with("SHOAL_")) continue;
    if (std::find(known.begin(), known.end(), variable) != known.end()) continue;
    if (std::optional<std::string> meant = did_you_mean(variable, known)) {
      out.warnings.push_back(variable + " is not a setting of " + state.program +
                             "; did you mean " + *meant + "?");
    }
  }
  return out;
}

SourceRead read_file(const Settings::State& state, const std::filesystem::path& path) {
  SourceRead out;
  std::ifstream stream(path, std::ios::binary);
  std::error_code ec;
  if (!stream || !std::filesystem::is_regular_file(path, ec)) {
    out.problems.push_back(path.string() + ": cannot be read as a configuration file");
    return out;
  }
  if (std::filesystem::file_size(path, ec) > kMaxConfigBytes) {
    out.problems.push_back(path.string() + ": larger than 1 MiB, not a configuration file");
    return out;
  }
  std::stringstream text;
  text << stream.rdbuf();
  try {
    YAML::Node root = YAML::Load(text.str());
    if (root.IsNull()) return out;
    if (!root.IsMap()) {
      out.problems.push_back(path.string() + ": must be a list of `name: value` lines");
      return out;
    }
    for (const auto& entry : root) {
      std::string place = path.string() + ":" + std::to_string(entry.first.Mark().line + 1) + ": ";
      std::string name = entry.first.IsScalar() ? entry.first.Scalar() : std::string();
      const Setting* setting = state.find(name);
      if (setting == nullptr || setting->info.flag_only) {
        out.problems.push_back(place + "'" + name + "' is not a setting" +
                               hint(name, state.names(false), ""));
        continue;
      }
      Result<Texts> texts = yaml_texts(*setting, entry.second);
      if (!texts) {
        out.problems.push_back(place + name + ": " + texts.error().message());
      } else if (!out.given.emplace(name, Given{*texts, place + name}).second) {
        out.problems.push_back(place + name + " is given twice");
      }
    }
  } catch (const YAML::Exception& error) {
    out.problems.push_back(path.string() + ":" + std::to_string(error.mark.line + 1) + ": " +
                           error.msg);
  }
  return out;
}

}  // namespace shoal::daemon
