// One HTTP/1.1 connection over a unix socket, with descriptors in both directions. Internal to
// core/agent_client.
#pragma once

#include <chrono>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"

namespace shoal::agent_client {

using TimePoint = std::chrono::steady_clock::time_point;

struct Exchange {
  std::string head_and_body;  // the whole request
  int fd = -1;                // travels with its first byte; -1: none
};

struct Answer {
  int status = 0;
  std::string content_type;
  std::string body;
  std::vector<UniqueFd> fds;
};

// Thread: one at a time.
class Connection {
 public:
  // Errors: unavailable (nobody listens), denied, invalid (path too long), timed_out, cancelled.
  static Result<Connection> open(const std::filesystem::path& path, int cancel_fd,
                                 TimePoint deadline);

  // False once the other side has closed, or after a failed exchange.
  bool usable() const;

  // Sends the request and reads its answer. After an error the connection is of no further use;
  // `nothing_received` then says whether not even a byte of an answer came.
  // Errors: unavailable, timed_out, cancelled, corrupt.
  Result<Answer> exchange(const Exchange& request, TimePoint deadline, bool* nothing_received);

 private:
  Connection(UniqueFd socket, int cancel_fd) : socket_(std::move(socket)), cancel_fd_(cancel_fd) {}

  Status wait(short events, TimePoint deadline);
  Status send(const Exchange& request, TimePoint deadline);
  // Reads what has come, at most `space`; 0 at the end of the stream.
  Result<std::size_t> receive(std::string& into, std::size_t space, TimePoint deadline,
                              std::vector<UniqueFd>& fds);
  Result<Answer> read_answer(TimePoint deadline, bool* nothing_received);

  UniqueFd socket_;
  int cancel_fd_;
  bool broken_ = false;
};

}  // namespace shoal::agent_client
