// What people read: the help text and the markdown chapter.

#include "core/daemon/settings_state.h"

namespace shoal::daemon {
namespace {

constexpr std::size_t kHelpWidth = 96;

// `text` broken at spaces, each line indented.
std::string wrap(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    std::size_t space = text.find(' ');
    std::string_view word = text.substr(0, space);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    if (column == 0 || column + 1 + word.size() > kHelpWidth) {
      if (column != 0) out += '\n';
      out += std::string(indent, ' ');
      column = indent;
    } else {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string flag_text(const Setting& setting) {
  std::string out;
  if (setting.info.secret) return std::string(setting.info.name) + " (no flag)";
  if (setting.info.short_flag != 0) out += std::string("-") + setting.info.short_flag + ", ";
  out += "--" + std::string(setting.info.name);
  if (!setting.value->boolean()) out += " " + std::string(setting.value->kind());
  return out;
}

std::string bounds_text(const SettingInfo& info) {
  std::string out;
  for (std::string_view choice : info.choices) {
    out += (out.empty() ? "" : ", ") + std::string(choice);
  }
  if (!info.min.empty() && !info.max.empty()) {
    out += std::string(info.min) + " to " + std::string(info.max);
  } else if (!info.min.empty()) {
    out += "at least " + std::string(info.min);
  } else if (!info.max.empty()) {
    out += "at most " + std::string(info.max);
  }
  return out;
}

std::string default_text(const Setting& setting) {
  if (setting.info.required) return "required";
  if (setting.info.secret) return "none";
  return setting.default_text.empty() ? "none" : setting.default_text;
}

std::string usage_line(const Settings::State& state) {
  return "Usage: " + state.program + " [FLAGS]" +
         (state.positional_usage.empty() ? "" : " " + state.positional_usage) + "\n";
}

}  // namespace

std::string Settings::help() const {
  std::string out = usage_line(*state_) + "\n" + wrap(state_->summary, 0);
  if (!state_->examples.empty()) {
    out += "\nExamples\n";
    for (const auto& [command, what] : state_->examples) {
      out += "  " + command + "\n" + wrap(what, 8);
    }
  }
  for (std::size_t section = 0; section < state_->sections.size(); ++section) {
    bool titled = false;
    for (const Setting& setting : state_->settings) {
      if (setting.section != section) continue;
      if (!titled) {
        const std::string& title = state_->sections[section];
        out += "\n" + (title.empty() ? std::string("Flags") : title) + "\n";
        titled = true;
      }
      out += "  " + flag_text(setting) + "\n";
      std::string text(setting.info.doc);
      if (std::string bounds = bounds_text(setting.info); !bounds.empty()) {
        text += " Allowed: " + bounds + ".";
      }
      bool plain_switch = setting.value->boolean() && setting.default_text == "false";
      // A sentence about a default of its own is enough.
      const std::string value = default_text(setting);
      const bool said = setting.info.doc.find("Default: ") != std::string_view::npos;
      if (!plain_switch && !said && value != "none") {
        text += " Default: " + value + (value.ends_with('.') ? "" : ".");
      }
      if (!setting.info.flag_only) text += " [" + environment_name(setting.info.name) + "]";
      out += wrap(text, 8);
    }
  }
  out += "\nCommon flags\n";
  for (const BuiltinFlag& flag : builtin_flags()) {
    out += "  --" + std::string(flag.name) + (flag.asked == nullptr ? " FILE" : "") + "\n" +
           wrap(flag.doc, 8);
  }
  return out;
}

std::string Settings::markdown() const {
  std::string out = "## " + state_->program + "\n\n" + state_->summary + "\n";
  for (std::size_t section = 0; section < state_->sections.size(); ++section) {
    bool titled = false;
    for (const Setting& setting : state_->settings) {
      if (setting.section != section) continue;
      if (!titled) {
        if (!state_->sections[section].empty()) out += "\n### " + state_->sections[section] + "\n";
        out += "\n| setting | default | meaning |\n|---|---|---|\n";
        titled = true;
      }
      std::string meaning(setting.info.doc);
      if (std::string bounds = bounds_text(setting.info); !bounds.empty()) {
        meaning += " Allowed: " + bounds + ".";
      }
      if (!setting.info.example.empty()) {
        meaning += " Example: `" + std::string(setting.info.example) + "`.";
      }
      if (setting.info.secret) meaning += " Secret: only from file or environment.";
      if (setting.info.live) meaning += " Applied on SIGHUP.";
      for (std::size_t at = 0; (at = meaning.find('|', at)) != std::string::npos; at += 2) {
        meaning.replace(at, 1, "\\|");
      }
      std::string shown = default_text(setting);
      bool words = shown == "none" || shown == "required";
      out +=
          "| `" + std::string(setting.info.name) + "` " +
          (setting.value->boolean() ? std::string("switch") : std::string(setting.value->kind())) +
          " | " + (words ? shown : "`" + shown + "`") + " | " + meaning + " |\n";
    }
  }
  return out;
}

std::vector<Settings::Flag> Settings::flags() const {
  std::vector<Flag> out;
  for (const Setting& setting : state_->settings) {
    if (setting.info.secret) continue;
    out.push_back({"--" + std::string(setting.info.name), !setting.value->boolean(),
                   std::string(setting.info.doc)});
  }
  for (const BuiltinFlag& flag : builtin_flags()) {
    out.push_back({"--" + std::string(flag.name), flag.asked == nullptr, std::string(flag.doc)});
  }
  return out;
}

}  // namespace shoal::daemon
