#include "cli/verb.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "cli/text.h"
#include "core/daemon/version.h"

namespace shoal::cli {
namespace {

constexpr std::string_view kSummary =
    "Brings models to every node of a cluster: publish once, prefetch everywhere, read locally.";

constexpr std::array<VerbInfo, 15> kVerbs{{
    {"publish", "Give the cluster a directory, or what an origin has, under a name.", make_publish},
    {"prefetch", "Bring a model to nodes before it is needed.", make_prefetch},
    {"pull", "Bring a model to this node and write its files to a directory.", make_pull},
    {"verify", "Read every stored piece of a model on this node again and check it.", make_verify},
    {"ls", "List the models in the catalogue.", make_list},
    {"nodes", "List the nodes.", make_nodes},
    {"status", "Show where a model is and what it waits for, or how this node is.", make_status},
    {"pin", "Keep a model in this node's store.", make_pin},
    {"unpin", "Let this node's store evict a model again.", make_unpin},
    {"rm", "Remove a name from the catalogue.", make_remove},
    {"gc", "Free space in this node's store.", make_gc},
    {"torrent", "Write the BitTorrent v2 torrent of a model.", make_torrent},
    {"cert", "Make the certificates of a cluster.", make_cert},
    {"version", "Print the versions of command, agent and tracker.", make_version},
    {"completion", "Print a completion script for a shell.", make_completion},
}};

std::string overview() {
  std::string out = "Usage: shoal [FLAGS] VERB …\n\n" + std::string(kSummary) + "\n\nVerbs\n";
  for (const VerbInfo& verb : kVerbs) {
    out += "  " + padded(verb.name, 12) + std::string(verb.summary) + "\n";
  }
  return out +
         "\n`shoal VERB --help` says more about one; `shoal --help` lists the common flags.\n"
         "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done (what is not was listed), "
         "130 interrupted.\n";
}

const VerbInfo* find_verb(std::string_view name) {
  auto it = std::find_if(kVerbs.begin(), kVerbs.end(),
                         [&](const VerbInfo& verb) { return verb.name == name; });
  return it == kVerbs.end() ? nullptr : &*it;
}

std::string all_documentation() {
  Globals globals;
  daemon::Settings table("shoal", std::string(kSummary));
  declare_globals(table, globals);
  std::string out = table.markdown();
  for (const VerbInfo& info : kVerbs) {
    daemon::Settings verb_table("shoal " + std::string(info.name), std::string(info.summary));
    std::unique_ptr<Verb> verb = info.make();
    verb->declare(verb_table);
    out += "\n" + verb_table.markdown();
  }
  return out;
}

// No verb: only questions about the command itself make sense.
int run_without_verb(std::span<const std::string> args, const daemon::Environment& environment,
                     Output& output) {
  Globals globals;
  daemon::Settings table("shoal", std::string(kSummary));
  declare_globals(table, globals);
  std::vector<std::string> problems = table.load(args, environment);
  if (table.asked().help) {
    std::string text = table.help();
    // The table's own head would say less.
    output.print(overview() + "\n" + text.substr(text.find("Connection\n")));
    return kExitOk;
  }
  if (table.asked().version) {
    output.print("shoal " + std::string(daemon::version()) + "\n");
    return kExitOk;
  }
  if (table.asked().print_settings_doc) {
    output.print(all_documentation());
    return kExitOk;
  }
  for (const std::string& problem : problems) output.complain(problem);
  if (problems.empty() && table.asked().check_config) {
    output.print("settings are valid\n");
    return kExitOk;
  }
  if (problems.empty()) output.complain("which verb? See `shoal --help`.");
  return kExitUsage;
}

int run_verb(const VerbInfo& info, std::span<const std::string> args,
             const daemon::Environment& environment, OutputOptions options,
             const Output::Write& out, const Output::Write& err, int interrupt_fd) {
  Globals globals;
  daemon::Settings table("shoal " + std::string(info.name), std::string(info.summary));
  std::unique_ptr<Verb> verb = info.make();
  table.section("Flags");
  verb->declare(table);
  declare_globals(table, globals);
  std::vector<std::string> problems = table.load(args, environment);
  if (table.asked().help) {
    out(table.help());
    return kExitOk;
  }
  if (table.asked().print_settings_doc) {
    out(table.markdown());
    return kExitOk;
  }
  options.json = globals.json;
  options.quiet = globals.quiet;
  options.progress = globals.progress;
  Output output(std::move(options), out, err);
  Session session(globals, output, interrupt_fd);
  for (std::size_t i = 0; i + 1 < problems.size(); ++i) output.complain(problems[i]);
  if (!problems.empty()) return session.usage_error(problems.back());
  if (table.asked().check_config) {
    output.print("settings are valid\n");
    return kExitOk;
  }
  for (const std::string& warning : table.warnings()) output.complain("warning: " + warning);
  return verb->run(session);
}

}  // namespace

std::span<const VerbInfo> verbs() { return kVerbs; }

int run_command(std::span<const std::string> args, const daemon::Environment& environment,
                OutputOptions options, Output::Write out, Output::Write err, int interrupt_fd) {
  Globals globals;
  daemon::Settings table("shoal", std::string(kSummary));
  declare_globals(table, globals);
  std::optional<std::size_t> at = table.first_positional(args);
  if (!at) {
    Output output(std::move(options), out, err);
    return run_without_verb(args, environment, output);
  }
  const std::string& name = args[*at];
  const VerbInfo* info = find_verb(name);
  if (info == nullptr) {
    std::vector<std::string> names;
    for (const VerbInfo& verb : kVerbs) names.emplace_back(verb.name);
    std::optional<std::string> meant = daemon::did_you_mean(name, names);
    err("shoal: '" + printable(name) + "' is not a verb" +
        (meant ? "; did you mean " + *meant + "?" : std::string("; see `shoal --help`")) + "\n");
    return kExitUsage;
  }
  std::vector<std::string> rest(args.begin(), args.end());
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(*at));
  return run_verb(*info, rest, environment, std::move(options), out, err, interrupt_fd);
}

}  // namespace shoal::cli
