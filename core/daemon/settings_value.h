// One setting's value with its type hidden: parsing, bounds, showing. Internal to core/daemon.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/daemon/settings.h"

namespace shoal::daemon {

// What one source says: one text for a scalar, one per element for lists and maps.
using Texts = std::vector<std::string>;

class SettingValue {
 public:
  virtual ~SettingValue() = default;
  virtual std::string_view kind() const = 0;  // "SIZE", as shown after the flag
  virtual bool many() const = 0;              // a list or a map: texts are elements
  virtual bool boolean() const = 0;
  // The canonical text of what assign(texts) would store. Errors: invalid.
  virtual Result<std::string> check(const Texts& texts) const = 0;
  // Stores; check(texts) must have succeeded.
  virtual void assign(const Texts& texts) = 0;
  virtual std::string show() const = 0;  // the target's current value in canonical form
  // Stores what show() once returned; the empty text of an optional means "not set".
  virtual void restore(const std::string& shown) = 0;
};

// "a,b,c" as elements; the empty text has none.
Texts split_elements(std::string_view text);

}  // namespace shoal::daemon
