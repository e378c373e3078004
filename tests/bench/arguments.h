// "--name value" and "--name" arguments of a benchmark program.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace shoal::bench {

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

class Arguments {
 public:
  // `words` follow the program's name, or its verb.
  explicit Arguments(const std::vector<std::string>& words) {
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (!words[i].starts_with("--")) give_up("unexpected argument '" + words[i] + "'");
      bool value = i + 1 < words.size() && !words[i + 1].starts_with("--");
      values_[words[i].substr(2)] = value ? words[i + 1] : "";
      i += value ? 1 : 0;
    }
  }

  bool has(const std::string& name) const { return values_.contains(name); }
  std::string get(const std::string& name) const {
    auto it = values_.find(name);
    if (it == values_.end() || it->second.empty()) give_up("--" + name + " VALUE is missing");
    return it->second;
  }
  std::string get(const std::string& name, const std::string& otherwise) const {
    return has(name) ? get(name) : otherwise;
  }
  std::uint64_t number(const std::string& name) const { return to_number(get(name)); }
  // "1,2,4"
  std::vector<std::uint64_t> numbers(const std::string& name) const {
    std::vector<std::uint64_t> out;
    std::string text = get(name);
    for (std::size_t at = 0; at <= text.size();) {
      std::size_t end = std::min(text.find(',', at), text.size());
      out.push_back(to_number(text.substr(at, end - at)));
      at = end + 1;
    }
    return out;
  }

 private:
  static std::uint64_t to_number(const std::string& text) {
    char* end = nullptr;
    std::uint64_t value = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0') give_up("'" + text + "' is not a number");
    return value;
  }

  std::map<std::string, std::string> values_;
};

}  // namespace shoal::bench
