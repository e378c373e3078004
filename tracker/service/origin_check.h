// What the tracker takes as an origin. Pure.
#pragma once

#include "core/api/catalogue.h"
#include "core/base/result.h"

namespace shoal::tracker {

// The URL has a scheme, no user part (a catalogue holds no credentials), no fragment, spaces or
// control characters; one with a query is refused too, because that is where signed URLs carry
// their secrets. A "dir" origin is file:///absolute/path without "..". Node ids are node ids.
// Errors: invalid, naming the origin without what may be secret in it.
Status check_origin(const api::Origin& origin);

}  // namespace shoal::tracker
