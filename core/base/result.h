// Result<T>: a value, or the Error that says why there is none.
//
//   Result<Digest> parsed = Digest::parse(text);
//   if (!parsed) return fail(parsed.error().with_context("layer 3"));
//   use(*parsed);
//
// Backed by tl::expected; this header is the only one that knows.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "core/base/error.h"

namespace shoal {

template <typename T>
using Result = tl::expected<T, Error>;

using Status = Result<void>;

// `return fail(Errc::kInvalid, "…");` or `return fail(other.error());` in a function returning any
// Result<T>.
inline tl::unexpected<Error> fail(Errc code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace shoal

// Evaluates to nothing; returns from the enclosing function (not coroutine) when `expr` failed.
#define SHOAL_TRY(expr)                                      \
  do {                                                       \
    if (auto shoal_try_result = (expr); !shoal_try_result) { \
      return ::shoal::fail(shoal_try_result.error());        \
    }                                                        \
  } while (false)

// The same inside a coroutine.
#define SHOAL_CO_TRY(expr)                                   \
  do {                                                       \
    if (auto shoal_try_result = (expr); !shoal_try_result) { \
      co_return ::shoal::fail(shoal_try_result.error());     \
    }                                                        \
  } while (false)
