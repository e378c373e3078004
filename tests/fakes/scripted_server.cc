#include "tests/fakes/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "core/base/check.h"

namespace shoal::fakes {

ScriptedServer::ScriptedServer(Script script) : script_(std::move(script)) {
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  SHOAL_CHECK(::bind(listener_.get(), generic, length) == 0 && ::listen(listener_.get(), 64) == 0 &&
                  ::getsockname(listener_.get(), generic, &length) == 0,
              "cannot listen on loopback");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread(&ScriptedServer::accept_loop, this);
}

ScriptedServer::~ScriptedServer() {
  stopping_ = true;
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  {
    std::lock_guard lock(mutex_);
    for (const UniqueFd& fd : sockets_) ::shutdown(fd.get(), SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

void ScriptedServer::accept_loop() {
  while (!stopping_) {
    int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    std::lock_guard lock(mutex_);
    ++connections_;
    sockets_.emplace_back(fd);
    threads_.emplace_back(&ScriptedServer::serve, this, fd);
  }
}

void ScriptedServer::serve(int fd) {
  std::string buffer;
  std::array<char, 4096> chunk;
  while (!stopping_) {
    auto end = buffer.find("\r\n\r\n");
    if (end == std::string::npos) {
      ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
      if (got <= 0) break;
      buffer.append(chunk.data(), static_cast<std::size_t>(got));
      continue;
    }
    std::string head = buffer.substr(0, end + 4);
    buffer.erase(0, end + 4);
    ++requests_;
    Answer answer = script_(head);
    for (std::size_t sent = 0; sent < answer.bytes.size();) {
      ssize_t n = ::send(fd, answer.bytes.data() + sent, answer.bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<std::size_t>(n);
    }
    if (answer.silence) {
      while (::recv(fd, chunk.data(), chunk.size(), 0) > 0) {
      }
      return;
    }
    if (answer.close) break;
  }
  ::shutdown(fd, SHUT_RDWR);
}

std::string http_answer(const std::string& status, const std::string& headers,
                        const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace shoal::fakes
