#include "core/base/error.h"

#include <cerrno>
#include <system_error>

namespace shoal {

std::string_view errc_name(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return "not_found";
    case Errc::kTimedOut:
      return "timed_out";
    case Errc::kOverloaded:
      return "overloaded";
    case Errc::kUnavailable:
      return "unavailable";
    case Errc::kCorrupt:
      return "corrupt";
    case Errc::kInvalid:
      return "invalid";
    case Errc::kDenied:
      return "denied";
    case Errc::kConflict:
      return "conflict";
    case Errc::kNoSpace:
      return "no_space";
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kInternal:
      return "internal";
  }
  return "internal";
}

Errc errc_from_name(std::string_view name) {
  for (Errc code : kAllErrcs) {
    if (errc_name(code) == name) return code;
  }
  return Errc::kInternal;
}

Error Error::with_context(std::string_view what) const {
  std::string message(what);
  message += ": ";
  message += message_;
  return Error(code_, std::move(message));
}

std::string Error::str() const {
  std::string text(errc_name(code_));
  text += ": ";
  text += message_;
  return text;
}

namespace {

Errc errc_from_errno(int value) {
  switch (value) {
    case ENOENT:
      return Errc::kNotFound;
    case EACCES:
    case EPERM:
      return Errc::kDenied;
    case ENOSPC:
    case EDQUOT:
      return Errc::kNoSpace;
    case EEXIST:
      return Errc::kConflict;
    case EINVAL:
    case ENAMETOOLONG:
      return Errc::kInvalid;
    case EAGAIN:
    case ENFILE:
    case EMFILE:
      return Errc::kOverloaded;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return Errc::kUnavailable;
    case ETIMEDOUT:
      return Errc::kTimedOut;
    case ECANCELED:
      return Errc::kCancelled;
    default:
      return Errc::kInternal;
  }
}

}  // namespace

Error errno_error(std::string_view what, int errno_value) {
  std::string message(what);
  message += ": ";
  message += std::system_category().message(errno_value);
  return Error(errc_from_errno(errno_value), std::move(message));
}

}  // namespace shoal
