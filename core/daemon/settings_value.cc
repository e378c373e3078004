#include "core/daemon/settings_value.h"

#include <charconv>
#include <concepts>
#include <type_traits>

#include "core/base/check.h"

namespace shoal::daemon {
namespace {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

// Parsing and showing of one scalar.
template <typename T>
struct Scalar;

template <>
struct Scalar<std::string> {
  static constexpr std::string_view kKind = "TEXT";
  static Result<std::string> parse(std::string_view text) { return std::string(text); }
  static std::string show(const std::string& value) { return value; }
};

template <>
struct Scalar<std::filesystem::path> {
  static constexpr std::string_view kKind = "PATH";
  static Result<std::filesystem::path> parse(std::string_view text) {
    if (text.empty()) return fail(Errc::kInvalid, "a path cannot be empty");
    return std::filesystem::path(text);
  }
  static std::string show(const std::filesystem::path& value) { return value.string(); }
};

template <>
struct Scalar<bool> {
  static constexpr std::string_view kKind = "BOOL";
  static Result<bool> parse(std::string_view text) {
    for (std::string_view word : {"true", "yes", "on", "1"}) {
      if (text == word) return true;
    }
    for (std::string_view word : {"false", "no", "off", "0"}) {
      if (text == word) return false;
    }
    return fail(Errc::kInvalid, "'" + std::string(text) + "' is neither true nor false");
  }
  static std::string show(bool value) { return value ? "true" : "false"; }
};

template <std::integral T>
struct Scalar<T> {
  static constexpr std::string_view kKind = "N";
  static Result<T> parse(std::string_view text) {
    T value{};
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size()) {
      return fail(Errc::kInvalid, "'" + std::string(text) + "' is not a whole number in range");
    }
    return value;
  }
  static std::string show(T value) { return std::to_string(value); }
};

template <>
struct Scalar<ByteCount> {
  static constexpr std::string_view kKind = "SIZE";
  static Result<ByteCount> parse(std::string_view text) { return parse_byte_count(text); }
  static std::string show(ByteCount value) { return to_setting(value); }
};

template <>
struct Scalar<Rate> {
  static constexpr std::string_view kKind = "RATE";
  static Result<Rate> parse(std::string_view text) { return parse_rate(text); }
  static std::string show(Rate value) { return to_setting(value); }
};

template <>
struct Scalar<std::chrono::milliseconds> {
  static constexpr std::string_view kKind = "DURATION";
  static Result<std::chrono::milliseconds> parse(std::string_view text) {
    return parse_duration(text);
  }
  static std::string show(std::chrono::milliseconds value) { return to_setting(value); }
};

template <>
struct Scalar<Address> {
  static constexpr std::string_view kKind = "HOST:PORT";
  static Result<Address> parse(std::string_view text) { return parse_address(text); }
  static std::string show(const Address& value) { return value.str(); }
};

template <typename T>
concept Bounded =
    std::same_as<T, int> || std::same_as<T, std::uint64_t> || std::same_as<T, ByteCount> ||
    std::same_as<T, Rate> || std::same_as<T, std::chrono::milliseconds>;

template <typename T>
T parse_declared(std::string_view text, const SettingInfo& info) {
  Result<T> value = Scalar<T>::parse(text);
  SHOAL_CHECK(value.has_value(), "bound or example of setting " + std::string(info.name));
  return *value;
}

template <typename T>
class ScalarValue final : public SettingValue {
  using Inner = typename std::conditional_t<IsOptional<T>::value, T, std::optional<T>>::value_type;

 public:
  ScalarValue(T& target, const SettingInfo& info) : target_(target), info_(info) {
    if constexpr (Bounded<Inner>) {
      if (!info.min.empty()) min_ = parse_declared<Inner>(info.min, info);
      if (!info.max.empty()) max_ = parse_declared<Inner>(info.max, info);
    } else {
      SHOAL_CHECK(info.min.empty() && info.max.empty(), "bounds on a type without order");
    }
    if (!info.example.empty()) {
      SHOAL_CHECK(check({std::string(info.example)}).has_value(),
                  "example of setting " + std::string(info.name));
    }
    std::string shown = show();
    if (!shown.empty()) {
      SHOAL_CHECK(check({shown}).has_value(), "default of setting " + std::string(info.name));
    }
  }

  std::string_view kind() const override { return Scalar<Inner>::kKind; }
  bool many() const override { return false; }
  bool boolean() const override { return std::same_as<Inner, bool>; }

  Result<std::string> check(const Texts& texts) const override {
    Result<Inner> value = parse(texts);
    if (!value) return fail(value.error());
    return Scalar<Inner>::show(*value);
  }

  void assign(const Texts& texts) override { target_ = *parse(texts); }

  void restore(const std::string& shown) override {
    if constexpr (IsOptional<T>::value) {
      if (shown.empty()) {
        target_.reset();
        return;
      }
    }
    assign({shown});
  }

  std::string show() const override {
    if constexpr (IsOptional<T>::value) {
      return target_ ? Scalar<Inner>::show(*target_) : std::string();
    } else {
      return Scalar<Inner>::show(target_);
    }
  }

 private:
  Result<Inner> parse(const Texts& texts) const {
    if (texts.size() != 1) return fail(Errc::kInvalid, "takes exactly one value");
    Result<Inner> value = Scalar<Inner>::parse(texts.front());
    if (!value) return value;
    if constexpr (Bounded<Inner>) {
      if ((min_ && *value < *min_) || (max_ && *value > *max_)) {
        std::string range =
            min_ && max_ ? "between " + std::string(info_.min) + " and " + std::string(info_.max)
            : min_       ? "at least " + std::string(info_.min)
                         : "at most " + std::string(info_.max);
        return fail(Errc::kInvalid, "'" + texts.front() + "' must be " + range);
      }
    }
    if (!info_.choices.empty()) {
      std::string list;
      for (std::string_view choice : info_.choices) {
        if (choice == texts.front()) return value;
        list += (list.empty() ? "" : ", ") + std::string(choice);
      }
      return fail(Errc::kInvalid, "'" + texts.front() + "' must be one of " + list);
    }
    return value;
  }

  T& target_;
  const SettingInfo info_;
  std::optional<Inner> min_;
  std::optional<Inner> max_;
};

class ListValue final : public SettingValue {
 public:
  explicit ListValue(std::vector<std::string>& target) : target_(target) {}
  std::string_view kind() const override { return "A,B,…"; }
  bool many() const override { return true; }
  bool boolean() const override { return false; }
  Result<std::string> check(const Texts& texts) const override {
    for (const std::string& text : texts) {
      if (text.empty()) return fail(Errc::kInvalid, "has an empty element");
    }
    return join(texts);
  }
  void assign(const Texts& texts) override { target_ = texts; }
  std::string show() const override { return join(target_); }
  void restore(const std::string& shown) override { assign(split_elements(shown)); }

 private:
  static std::string join(const std::vector<std::string>& items) {
    std::string out;
    for (const std::string& item : items) out += (out.empty() ? "" : ",") + item;
    return out;
  }
  std::vector<std::string>& target_;
};

class MapValue final : public SettingValue {
 public:
  explicit MapValue(KeyValues& target) : target_(target) {}
  std::string_view kind() const override { return "KEY=VALUE,…"; }
  bool many() const override { return true; }
  bool boolean() const override { return false; }
  Result<std::string> check(const Texts& texts) const override {
    Result<KeyValues> values = parse(texts);
    if (!values) return fail(values.error());
    return join(*values);
  }
  void assign(const Texts& texts) override { target_ = *parse(texts); }
  std::string show() const override { return join(target_); }
  void restore(const std::string& shown) override { assign(split_elements(shown)); }

 private:
  static Result<KeyValues> parse(const Texts& texts) {
    KeyValues values;
    for (const std::string& text : texts) {
      std::size_t equals = text.find('=');
      if (equals == std::string::npos || equals == 0) {
        return fail(Errc::kInvalid, "'" + text + "' must be KEY=VALUE");
      }
      if (!values.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
        return fail(Errc::kInvalid, "'" + text.substr(0, equals) + "' is given twice");
      }
    }
    return values;
  }
  static std::string join(const KeyValues& values) {
    std::string out;
    for (const auto& [key, value] : values) {
      out += (out.empty() ? "" : ",") + key + "=" + value;
    }
    return out;
  }
  KeyValues& target_;
};

template <typename T>
std::unique_ptr<SettingValue> make_setting_value(T& target, const SettingInfo& info) {
  if constexpr (std::same_as<T, std::vector<std::string>>) {
    return std::make_unique<ListValue>(target);
  } else if constexpr (std::same_as<T, KeyValues>) {
    return std::make_unique<MapValue>(target);
  } else {
    return std::make_unique<ScalarValue<T>>(target, info);
  }
}

}  // namespace

Texts split_elements(std::string_view text) {
  Texts out;
  while (!text.empty()) {
    std::size_t comma = text.find(',');
    out.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (text.empty()) out.emplace_back();
  }
  return out;
}

template <typename T>
void Settings::add(T& target, SettingInfo info) {
  add_value(info, make_setting_value(target, info));
}

#define SHOAL_SETTING_TYPE(...) template void Settings::add(__VA_ARGS__&, SettingInfo)
SHOAL_SETTING_TYPE(std::string);
SHOAL_SETTING_TYPE(std::filesystem::path);
SHOAL_SETTING_TYPE(bool);
SHOAL_SETTING_TYPE(int);
SHOAL_SETTING_TYPE(std::uint64_t);
SHOAL_SETTING_TYPE(ByteCount);
SHOAL_SETTING_TYPE(Rate);
SHOAL_SETTING_TYPE(std::chrono::milliseconds);
SHOAL_SETTING_TYPE(Address);
SHOAL_SETTING_TYPE(std::vector<std::string>);
SHOAL_SETTING_TYPE(KeyValues);
SHOAL_SETTING_TYPE(std::optional<std::string>);
SHOAL_SETTING_TYPE(std::optional<std::filesystem::path>);
SHOAL_SETTING_TYPE(std::optional<int>);
SHOAL_SETTING_TYPE(std::optional<std::uint64_t>);
SHOAL_SETTING_TYPE(std::optional<ByteCount>);
SHOAL_SETTING_TYPE(std::optional<Rate>);
SHOAL_SETTING_TYPE(std::optional<std::chrono::milliseconds>);
SHOAL_SETTING_TYPE(std::optional<Address>);
#undef SHOAL_SETTING_TYPE

}  // namespace shoal::daemon
