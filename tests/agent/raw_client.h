// A blocking HTTP client that sends exactly the bytes a test chose.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/base/unique_fd.h"

namespace shoal::agent {

struct RawAnswer {
  int status = 0;  // 0: the connection ended, or 30 s passed
  std::string head;
  std::string body;

  // Empty if there is none.
  std::string header(const std::string& name) const {
    auto at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    at += name.size() + 4;
    return head.substr(at, head.find("\r\n", at) - at);
  }
};

class RawClient {
 public:
  explicit RawClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval limit{30, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }

  void send(const std::string& text) {
    EXPECT_EQ(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  RawAnswer read(bool with_body = true) {
    RawAnswer answer;
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return answer;
    }
    answer.head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    std::size_t length = std::strtoull(answer.header("Content-Length").c_str(), nullptr, 10);
    while (with_body && buffer_.size() < length) {
      if (!more()) return answer;
    }
    if (with_body) {
      answer.body = buffer_.substr(0, length);
      buffer_.erase(0, length);
    }
    answer.status = std::atoi(answer.head.c_str() + 9);
    return answer;
  }

  // `fields`: lines, each with \r\n.
  RawAnswer get(const std::string& target, const std::string& fields = "") {
    send("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n");
    return read();
  }

  // The next `length` bytes, or what came before the end.
  std::string take(std::size_t length) {
    while (buffer_.size() < length && more()) {
    }
    std::string taken = buffer_.substr(0, length);
    buffer_.erase(0, taken.size());
    return taken;
  }

  // Everything until the connection ends.
  std::string rest() {
    while (more()) {
    }
    return std::move(buffer_);
  }

  bool closed_by_peer() { return !more(); }

 private:
  bool more() {
    char chunk[65536];
    ssize_t got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (got <= 0) return false;
    buffer_.append(chunk, static_cast<std::size_t>(got));
    return true;
  }

  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace shoal::agent
