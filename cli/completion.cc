// shoal completion bash|zsh|fish

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/verb.h"

namespace shoal::cli {
namespace {

struct VerbFlags {
  std::string name;
  std::string summary;
  std::vector<daemon::Settings::Flag> flags;
};

std::vector<VerbFlags> all_flags() {
  std::vector<VerbFlags> out;
  for (const VerbInfo& info : verbs()) {
    // Completion itself has no flags of its own, so asking it for them does not go round in
    // circles.
    Globals globals;
    daemon::Settings table("shoal", "x");
    std::unique_ptr<Verb> verb = info.make();
    verb->declare(table);
    declare_globals(table, globals);
    out.push_back({std::string(info.name), std::string(info.summary), table.flags()});
  }
  return out;
}

// Inside single quotes of any of the three shells.
std::string single_quoted(std::string_view text) {
  std::string out;
  for (char c : text) out += c == '\'' ? std::string("’") : std::string(1, c);
  return out;
}

std::string flag_words(const VerbFlags& verb) {
  std::string out;
  for (const auto& flag : verb.flags) out += (out.empty() ? "" : " ") + flag.name;
  return out;
}

std::string bash_script(const std::vector<VerbFlags>& all) {
  std::string names;
  std::string cases;
  for (const VerbFlags& verb : all) {
    names += (names.empty() ? "" : " ") + verb.name;
    cases += "    " + verb.name + ") flags='" + flag_words(verb) + "' ;;\n";
  }
  return "# source <(shoal completion bash)\n"
         "_shoal() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} verb='' flags='' word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case $word in -*) ;; *) case ' " +
         names +
         " ' in *\" $word \"*) verb=$word; break ;; esac ;; esac\n"
         "  done\n"
         "  if [ -z \"$verb\" ] && [[ $current != -* ]]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         names +
         "' -- \"$current\"))\n"
         "    return\n"
         "  fi\n"
         "  case ${verb:-" +
         all.front().name + "} in\n" + cases +
         "  esac\n"
         "  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W \"$flags\" -- \"$current\"))\n"
         "  else COMPREPLY=($(compgen -f -- \"$current\")); fi\n"
         "}\n"
         "complete -o filenames -F _shoal shoal\n";
}

std::string zsh_script(const std::vector<VerbFlags>& all) {
  std::string described;
  std::string cases;
  for (const VerbFlags& verb : all) {
    described += "    '" + verb.name + ":" + single_quoted(verb.summary) + "'\n";
    cases += "    " + verb.name + ") flags=(" + flag_words(verb) + ") ;;\n";
  }
  return "#compdef shoal\n"
         "# shoal completion zsh > \"${fpath[1]}/_shoal\"\n"
         "_shoal() {\n"
         "  local -a names flags\n"
         "  local word verb=''\n"
         "  names=(\n" +
         described +
         "  )\n"
         "  for word in ${words[2,CURRENT-1]}; do\n"
         "    if (( ${names[(I)$word:*]} )); then verb=$word; break; fi\n"
         "  done\n"
         "  if [[ -z $verb && $PREFIX != -* ]]; then _describe verb names; return; fi\n"
         "  case ${verb:-" +
         all.front().name + "} in\n" + cases +
         "  esac\n"
         "  if [[ $PREFIX == -* ]]; then compadd -- $flags; else _files; fi\n"
         "}\n"
         "_shoal \"$@\"\n";
}

std::string fish_script(const std::vector<VerbFlags>& all) {
  std::string out = "# shoal completion fish > ~/.config/fish/completions/shoal.fish\n";
  std::string names;
  for (const VerbFlags& verb : all) names += (names.empty() ? "" : " ") + verb.name;
  for (const VerbFlags& verb : all) {
    out += "complete -c shoal -n 'not __fish_seen_subcommand_from " + names + "' -f -a " +
           verb.name + " -d '" + single_quoted(verb.summary) + "'\n";
    for (const auto& flag : verb.flags) {
      out += "complete -c shoal -n '__fish_seen_subcommand_from " + verb.name + "' -l " +
             flag.name.substr(2) + (flag.takes_value ? " -r" : "") + " -d '" +
             single_quoted(flag.doc) + "'\n";
    }
  }
  return out;
}

class Completion final : public Verb {
 public:
  void declare(daemon::Settings& table) override {
    table.positionals(words_, "bash|zsh|fish", 1, 1);
    table.usage_example("source <(shoal completion bash)", "For this shell.");
    table.usage_example("shoal completion fish > ~/.config/fish/completions/shoal.fish",
                        "For every fish from now on.");
  }

  int run(Session& session) override {
    std::vector<VerbFlags> all = all_flags();
    std::string script;
    if (words_[0] == "bash") {
      script = bash_script(all);
    } else if (words_[0] == "zsh") {
      script = zsh_script(all);
    } else if (words_[0] == "fish") {
      script = fish_script(all);
    } else {
      return session.usage_error("'" + words_[0] + "' is not a known shell: bash, zsh or fish");
    }
    session.out().print(script);
    session.out().result({{"script", script}}, true);
    return kExitOk;
  }

 private:
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_completion() { return std::make_unique<Completion>(); }

}  // namespace shoal::cli
