#include "core/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

#include "core/base/result.h"

namespace shoal {
namespace {

TEST(Errc, NamesAreDistinctSnakeCaseAndReadBack) {
  std::set<std::string_view> seen;
  for (Errc code : kAllErrcs) {
    std::string_view name = errc_name(code);
    EXPECT_TRUE(seen.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos);
    EXPECT_EQ(errc_from_name(name), code);
  }
}

TEST(Errc, AllErrcsIsComplete) {
  // The enumerators are consecutive, so the list is complete when its last entry is the last one.
  EXPECT_EQ(std::size(kAllErrcs), static_cast<std::size_t>(Errc::kInternal) + 1);
}

TEST(Errc, AnUnknownNameIsInternal) {
  EXPECT_EQ(errc_from_name("too_new"), Errc::kInternal);
  EXPECT_EQ(errc_from_name(""), Errc::kInternal);
  EXPECT_EQ(errc_from_name("Not_Found"), Errc::kInternal);
}

TEST(Error, ContextGoesBeforeTheMessageAndKeepsTheCode) {
  Error error(Errc::kCorrupt, "bad magic");
  Error outer = error.with_context("table of sha256:ab").with_context("opening store");
  EXPECT_EQ(outer.code(), Errc::kCorrupt);
  EXPECT_EQ(outer.message(), "opening store: table of sha256:ab: bad magic");
  EXPECT_EQ(outer.str(), "corrupt: opening store: table of sha256:ab: bad magic");
}

TEST(ErrnoError, ClassifiesByWhatTheCallerDoesNext) {
  struct Case {
    int value;
    Errc code;
  };
  const Case cases[] = {
      {ENOENT, Errc::kNotFound},
      {EACCES, Errc::kDenied},
      {EPERM, Errc::kDenied},
      {ENOSPC, Errc::kNoSpace},
      {EDQUOT, Errc::kNoSpace},
      {EEXIST, Errc::kConflict},
      {EINVAL, Errc::kInvalid},
      {ENAMETOOLONG, Errc::kInvalid},
      {EAGAIN, Errc::kOverloaded},
      {ENFILE, Errc::kOverloaded},
      {EMFILE, Errc::kOverloaded},
      {ECONNREFUSED, Errc::kUnavailable},
      {ECONNRESET, Errc::kUnavailable},
      {ECONNABORTED, Errc::kUnavailable},
      {EPIPE, Errc::kUnavailable},
      {EHOSTUNREACH, Errc::kUnavailable},
      {ENETUNREACH, Errc::kUnavailable},
      {ETIMEDOUT, Errc::kTimedOut},
      {ECANCELED, Errc::kCancelled},
      {EIO, Errc::kInternal},
  };
  for (const Case& c : cases) EXPECT_EQ(errno_error("x", c.value).code(), c.code) << c.value;
}

TEST(ErrnoError, SaysWhatWasDoneAndWhy) {
  EXPECT_EQ(errno_error("opening /a", ENOENT).message(), "opening /a: No such file or directory");
}

Status failing(bool wrong) {
  if (wrong) return fail(Errc::kInvalid, "wrong");
  return {};
}

Result<int> tries(bool wrong) {
  SHOAL_TRY(failing(wrong));
  return 7;
}

TEST(Result, TryReturnsTheErrorOrGoesOn) {
  EXPECT_EQ(tries(false).value(), 7);
  Result<int> failed = tries(true);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), Error(Errc::kInvalid, "wrong"));
}

}  // namespace
}  // namespace shoal
