// What the bare limit programs share: a blob goes from one file to another through a TCP connection
// per thread, hashed on the way, with nothing else around it. Sender and receiver are processes of
// their own, so that what each costs can be told apart.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "core/base/units.h"

namespace shoal::bench {

// One thread's connection, on either side. Failures end the program.
struct Transport {
  // Sends the range of the file over the connected socket.
  std::function<void(int socket, int file, ByteRange range, std::size_t buffer)> send;
  // Called once per connection; gives a function that returns at least one byte.
  std::function<std::function<std::size_t(std::span<std::byte>)>(int socket)> receive;
};

// The program: reads its arguments, runs every combination of threads and buffers, prints a table,
// and with --json the same as one JSON line.
//
//   --source FILE --table FILE --target FILE [--threads 1,2] [--buffers 262144,…] [--runs N]
//   [--json]
int limit_main(int argc, char** argv, const char* name, const Transport& transport);

}  // namespace shoal::bench
