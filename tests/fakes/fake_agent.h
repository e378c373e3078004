// A stand-in for the agent's local socket: a real unix socket, a thread, and answers that the test
// decides. Speaks the HTTP of docs/formats/agent-api.md with code of its own, so that a mistake in
// the client's is not hidden by sharing it.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/base/unique_fd.h"

namespace shoal::fakes {

struct FakeRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::vector<UniqueFd> fds;
  int connection = 0;  // counts from 1
};

struct FakeAnswer {
  int status = 200;
  std::string body = {};
  std::vector<int> fds = {};  // sent, and stay the handler's
  std::string raw = {};       // not empty: sent instead of a proper response
  bool close_after = false;
  bool no_answer = false;  // closes the connection instead
  std::string content_type = "application/json";
};

class FakeAgent {
 public:
  using Handler = std::function<FakeAnswer(FakeRequest&)>;

  // Listens when constructed. The handler runs on the agent's threads, one call at a time.
  explicit FakeAgent(Handler handler);
  ~FakeAgent();
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;

  const std::filesystem::path& socket() const { return socket_; }
  // "METHOD target" of all requests so far.
  std::vector<std::string> seen() const;

 private:
  void drop_connections();
  void accept_loop();
  void serve(int fd, int number);

  const Handler handler_;
  std::filesystem::path folder_;
  std::filesystem::path socket_;
  UniqueFd listener_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> seen_;     // guarded by mutex_
  std::vector<int> open_;             // guarded by mutex_
  std::vector<std::thread> threads_;  // accept thread, then guarded by joining it
  std::mutex handler_mutex_;
  std::thread acceptor_;
};

}  // namespace shoal::fakes
