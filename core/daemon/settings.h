// A setting is a declaration. A program has a plain struct of values; a table says for each member
// its name, one sentence of documentation, an example and its bounds. From that table come the
// flags, the environment variables, the keys of the configuration file, the help text and
// docs/settings.md, so they cannot disagree.
//
//   struct Settings { std::filesystem::path store; ByteCount capacity{0}; bool insecure = false; };
//
//   void declare(daemon::Settings& table, Settings& values) {
//     table.section("Store");
//     table.add(values.store, {.name = "store", .doc = "Folder of the content store.",
//                              .example = "/var/lib/shoal", .required = true});
//     table.add(values.capacity, {.name = "store-capacity", .doc = "…", .example = "2TiB",
//                                 .min = "1GiB"});
//     table.rule([&values]() -> std::optional<std::string> { … });   // rules over several settings
//   }
//
// The default is the member's value at declaration. Sources, weakest first: default, configuration
// file (YAML, flat, keys = names), environment (SHOAL_ + upper case, `-` as `_`; an empty variable
// counts as unset), flags (`--name value`, `--name=value`, booleans `--name` and `--no-name`). A
// secret has no flag, because other users of the machine see flags.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/base/units.h"
#include "core/daemon/address.h"

namespace shoal::daemon {

// The literals given must outlive the table (string literals do).
struct SettingInfo {
  std::string_view name = {};     // lower case words joined by '-': the flag without its dashes
  std::string_view doc = {};      // one sentence: what it changes; units if the type has none
  std::string_view example = {};  // a value as one would write it; empty only for booleans
  std::string_view min = {};      // inclusive bounds in the setting's own form, e.g. "64MiB"
  std::string_view max = {};
  std::vector<std::string_view> choices = {};  // if not empty: the only accepted texts
  bool required = false;                       // some source must give it
  bool secret = false;                         // masked wherever values are shown; no flag
  bool live = false;       // reload() applies it; every other setting needs a restart
  bool flag_only = false;  // neither file nor environment (a command's own options)
  char short_flag = 0;     // 'o' for -o
};

using KeyValues = std::map<std::string, std::string>;
using Environment = std::map<std::string, std::string>;

// Not copyable. Belongs to one thread. The struct whose members were added must outlive it.
class Settings {
 public:
  // `program` as typed, `summary` one sentence for the help text.
  Settings(std::string program, std::string summary);
  ~Settings();
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

  // A heading for the settings added after it.
  void section(std::string title);

  // T is one of std::string, std::filesystem::path, bool, int, std::uint64_t, ByteCount, Rate,
  // std::chrono::milliseconds, Address, std::optional of one of these but bool ("not set" is a
  // meaning of its own), std::vector<std::string> (file: sequence; elsewhere `a,b`, flags repeat)
  // or KeyValues (file: map; elsewhere `k=v,k=v`). A wrong declaration is a bug and aborts: a bad
  // or doubled name, a bound or example that does not parse, a default outside the bounds.
  template <typename T>
  void add(T& target, SettingInfo info);

  // A rule over several settings, asked after all values are in place: the problem, or nullopt.
  void rule(std::function<std::optional<std::string>()> broken);

  // Words that are no flags: at least `min`, at most `max`; `usage` as in "NAME:TAG DIR". Without
  // this call every such word is a problem.
  void positionals(std::vector<std::string>& target, std::string usage, std::size_t min,
                   std::size_t max);

  // A command line for the help text, and what it does.
  void usage_example(std::string command, std::string what);

  // Reads `args` (without the program's name), `environment` and the file that --config names, and
  // fills the targets. Returns every problem found, in a form for people; if there is one,
  // the targets are unspecified and the program must not go on. Call once.
  std::vector<std::string> load(std::span<const std::string> args, const Environment& environment);

  // Variables starting with SHOAL_ that look like a misspelt setting (foreign ones, such as those
  // that Kubernetes makes from service names, are none of our business). After load().
  const std::vector<std::string>& warnings() const;

  // Reads the configuration file again. If anything is wrong nothing changes and `problems` says
  // why; else live settings have their new values.
  struct Reloaded {
    std::vector<std::string> problems;
    std::vector<std::string> changed;        // names of live settings that have a new value
    std::vector<std::string> needs_restart;  // names that differ but are not applied
  };
  Reloaded reload();

  // The value of every setting and where it came from; secrets are "***". After load().
  struct Effective {
    std::string name;
    std::string value;
    std::string source;  // "default", "file", "environment", "flag"
  };
  std::vector<Effective> effective() const;

  // The file that was read; empty if none.
  const std::filesystem::path& config_file() const;

  // The flags that only ask for something: given once load() has returned without problems (and,
  // for help, version and documentation, also if it returned some).
  struct Asked {
    bool help = false;
    bool version = false;
    bool check_config = false;
    bool print_settings_doc = false;
  };
  const Asked& asked() const;

  // The index of the first of `args` that is neither a flag nor a flag's value: a command's verb.
  std::optional<std::size_t> first_positional(std::span<const std::string> args) const;

  std::string help() const;
  // The same as a markdown chapter for docs/settings.md.
  std::string markdown() const;
  const std::string& program() const;
  // "--name" of every flag, for shell completion, with whether a value follows.
  struct Flag {
    std::string name;
    bool takes_value;
    std::string doc;
  };
  std::vector<Flag> flags() const;

  struct State;  // for the implementation's own files

 private:
  void add_value(const SettingInfo& info, std::unique_ptr<class SettingValue> value);

  std::unique_ptr<State> state_;
};

// The process's environment as a map.
Environment current_environment();

// The candidate closest to `word` by edit distance, if it is close enough to be what was meant.
std::optional<std::string> did_you_mean(std::string_view word,
                                        std::span<const std::string> candidates);

}  // namespace shoal::daemon
