// An expected failure: what the caller should do next, and a sentence for a person.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace shoal {

// Chosen by the caller's next action, not by the place of failure. Never branch on the message.
enum class Errc {
  kNotFound,     // does not exist; asking again will not help
  kTimedOut,     // the deadline passed; what was done so far stays
  kOverloaded,   // the other side is busy: the same call may succeed later
  kUnavailable,  // this source cannot answer: try elsewhere
  kCorrupt,      // bytes contradict their hash or their own format: distrust the source
  kInvalid,      // the request or input is wrong: reject it, do not retry
  kDenied,       // the caller may not do this
  kConflict,     // the state changed under the caller, or somebody else holds the name
  kNoSpace,      // disk or quota is full
  kCancelled,    // the caller, or a shutdown, asked to stop
  kInternal,     // a bug or a failing machine; the message says which
};

inline constexpr Errc kAllErrcs[] = {
    Errc::kNotFound, Errc::kTimedOut,  Errc::kOverloaded, Errc::kUnavailable,
    Errc::kCorrupt,  Errc::kInvalid,   Errc::kDenied,     Errc::kConflict,
    Errc::kNoSpace,  Errc::kCancelled, Errc::kInternal,
};

// The stable snake_case name used in logs, JSON and metrics, e.g. "not_found".
std::string_view errc_name(Errc code);

// The inverse of errc_name; kInternal for a name this version does not know.
Errc errc_from_name(std::string_view name);

class [[nodiscard]] Error {
 public:
  Error(Errc code, std::string message) : code_(code), message_(std::move(message)) {}

  Errc code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error with "what: " before its message. Add once per layer:
  //   return opened.error().with_context("reading piece table of " + digest.str());
  Error with_context(std::string_view what) const;

  // "not_found: message"
  std::string str() const;

  friend bool operator==(const Error&, const Error&) = default;

 private:
  Errc code_;
  std::string message_;
};

// An Error from an errno value: "what: strerror". ENOENT is not_found, EACCES and EPERM are denied,
// ENOSPC and EDQUOT are no_space, EEXIST is conflict, EINVAL and ENAMETOOLONG are invalid, EAGAIN,
// ENFILE and EMFILE are overloaded, connection errnos are unavailable, ETIMEDOUT is timed_out,
// ECANCELED is cancelled, all others are internal.
Error errno_error(std::string_view what, int errno_value);

}  // namespace shoal
