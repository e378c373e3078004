// A TCP server on loopback that answers each request head with the bytes a test chose: short
// bodies, wrong ranges, garbage, silence. For everything that a real server would not do on demand.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/base/unique_fd.h"

namespace shoal::fakes {

class ScriptedServer {
 public:
  struct Answer {
    std::string bytes;     // sent as they are, head included
    bool close = false;    // close the connection afterwards
    bool silence = false;  // send nothing more and keep the connection open until the server ends
  };
  // Called with the request's head up to the empty line, on a thread of the server.
  using Script = std::function<Answer(const std::string& head)>;

  explicit ScriptedServer(Script script);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string url(const std::string& path) const { return "http://" + authority() + path; }
  int connections() const { return connections_.load(); }
  int requests() const { return requests_.load(); }

 private:
  void accept_loop();
  void serve(int fd);

  const Script script_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::vector<std::thread> threads_;  // guarded by mutex_
  std::vector<UniqueFd> sockets_;     // guarded by mutex_; closed when the server ends
  std::thread acceptor_;
};

// "HTTP/1.1 <status>\r\n<headers, each with \r\n>Content-Length: …\r\n\r\n<body>"
std::string http_answer(const std::string& status, const std::string& headers,
                        const std::string& body);

}  // namespace shoal::fakes
