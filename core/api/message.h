// How every message of the tracker's HTTP API becomes JSON and comes back. Hides the JSON library:
// a message is a plain struct everywhere else. The reference for fields, paths and errors is
// docs/formats/tracker-api.md.
//
// Thread safe: no state.
#pragma once

#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::api {

// The message as JSON on one line. Text that is not UTF-8 has its bad bytes replaced by U+FFFD, so
// that a peer's error text can always be passed on. Defined for the structs of common.h, node.h,
// lease.h, eviction.h, catalogue.h, ingest.h and operate.h that are a whole body.
template <typename T>
std::string encode(const T& message);

// The message in `body`. Fields this version does not know are ignored; a field that is absent (or
// null) has the value its struct starts with, unless the reference calls it required.
//
// Errors: invalid, naming the field: not JSON, a wrong type, a required field missing, a value
// outside its limits (limits.h), more than kMaxDepth levels. Nothing is allocated for what exceeds
// a limit beyond the parsed body itself, whose size the caller bounds (kMax…Body).
template <typename T>
Result<T> decode(std::string_view body);

}  // namespace shoal::api
