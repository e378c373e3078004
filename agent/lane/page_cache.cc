#include "agent/lane/page_cache.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace shoal::agent {
namespace {

constexpr std::uint64_t kSampleStep = 256 * 1024;
// What the kernel reads ahead at a time; one byte of each makes sure that it has arrived.
constexpr std::uint64_t kTouchStep = 128 * 1024;

// Positions within the range: each step, and the last byte.
template <typename Visit>
void visit(ByteRange range, std::uint64_t step, Visit visit_one) {
  for (std::uint64_t at = range.offset; at < range.end(); at += step) {
    if (!visit_one(at)) return;
  }
  visit_one(range.end() - 1);
}

}  // namespace

bool resident(int fd, ByteRange range) {
  bool warm = true;
  visit(range, kSampleStep, [&](std::uint64_t at) {
    char byte = 0;
    iovec vector{&byte, 1};
    ssize_t got = ::preadv2(fd, &vector, 1, static_cast<off_t>(at), RWF_NOWAIT);
    // A file system without RWF_NOWAIT gives no answer, here or elsewhere: sending then waits as
    // it must.
    warm = got >= 0 || errno != EAGAIN;
    return got >= 0;
  });
  return warm;
}

void read_ahead(int fd, ByteRange range) {
  (void)::posix_fadvise(fd, static_cast<off_t>(range.offset), static_cast<off_t>(range.length),
                        POSIX_FADV_WILLNEED);
  visit(range, kTouchStep, [&](std::uint64_t at) {
    char byte = 0;
    return ::pread(fd, &byte, 1, static_cast<off_t>(at)) == 1;
  });
}

}  // namespace shoal::agent
