// Is a range of a file in memory, and if not, how it gets there: sendfile from a cold disk would
// hold up a whole lane thread.
#pragma once

#include "core/base/units.h"

namespace shoal::agent {

// Samples the range with reads that never wait. May say true for a partly cold range; false means
// that at least one page must come from the disk.
bool resident(int fd, ByteRange range);

// Reads the range into the page cache. Blocks on the disk. Failures show when the bytes are sent.
void read_ahead(int fd, ByteRange range);

}  // namespace shoal::agent
