// The bare limit of a transfer without TLS: sendfile, recv, leaf hashes, pwrite.
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "tests/bench/arguments.h"
#include "tests/bench/lane_limit.h"

using shoal::ByteRange;
using shoal::bench::give_up;

namespace {

void send_range(int socket, int file, ByteRange range, std::size_t /*buffer*/) {
  auto at = static_cast<off_t>(range.offset);
  for (std::uint64_t left = range.length; left > 0;) {
    ssize_t n = ::sendfile(socket, file, &at, left);
    if (n <= 0) give_up("sendfile failed");
    left -= static_cast<std::uint64_t>(n);
  }
}

std::function<std::size_t(std::span<std::byte>)> receive_from(int socket) {
  return [socket](std::span<std::byte> out) {
    ssize_t n = ::recv(socket, out.data(), out.size(), 0);
    if (n <= 0) give_up("recv failed");
    return static_cast<std::size_t>(n);
  };
}

}  // namespace

int main(int argc, char** argv) {
  return shoal::bench::limit_main(argc, argv, "lane_limit_plain", {send_range, receive_from});
}
