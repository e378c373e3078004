#include "tests/fakes/fake_agent.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "core/base/check.h"
#include "core/base/random.h"

namespace shoal::fakes {
namespace {

// Reads what has come; false at the end of the stream.
bool receive(int fd, std::string& into, std::vector<UniqueFd>& fds) {
  std::array<char, 4096> buffer{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t count = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (count <= 0) return false;
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_type != SCM_RIGHTS) continue;
    std::size_t bytes = h->cmsg_len - CMSG_LEN(0);
    for (std::size_t at = 0; at < bytes; at += sizeof(int)) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(h) + at, sizeof(int));
      fds.emplace_back(received);
    }
  }
  into.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

bool send_all(int fd, std::string_view data, const std::vector<int>& fds) {
  bool first = true;
  while (!data.empty()) {
    iovec part{const_cast<char*>(data.data()), data.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(8 * sizeof(int))> control{};
    if (first && !fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
    first = false;
  }
  return true;
}

FakeRequest parse_head(std::string_view head) {
  FakeRequest request;
  std::size_t line_end = head.find("\r\n");
  std::string_view line = head.substr(0, line_end);
  std::size_t space = line.find(' ');
  request.method = line.substr(0, space);
  line.remove_prefix(space + 1);
  request.target = line.substr(0, line.find(' '));
  head.remove_prefix(line_end + 2);
  while (!head.starts_with("\r\n")) {
    line_end = head.find("\r\n");
    line = head.substr(0, line_end);
    std::size_t colon = line.find(": ");
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers[name] = line.substr(colon + 2);
    head.remove_prefix(line_end + 2);
  }
  return request;
}

}  // namespace

FakeAgent::FakeAgent(Handler handler) : handler_(std::move(handler)) {
  folder_ = std::filesystem::temp_directory_path() / ("shoal-fake-agent-" + random_hex(8));
  std::filesystem::create_directories(folder_);
  socket_ = folder_ / "agent.sock";
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_.c_str(), sizeof(address.sun_path) - 1);
  SHOAL_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
              "bind");
  SHOAL_CHECK(::listen(listener_.get(), 16) == 0, "listen");
  acceptor_ = std::thread([this] { accept_loop(); });
}

FakeAgent::~FakeAgent() {
  stopping_ = true;
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  drop_connections();
  for (std::thread& thread : threads_) thread.join();
  std::filesystem::remove_all(folder_);
}

std::vector<std::string> FakeAgent::seen() const {
  std::lock_guard lock(mutex_);
  return seen_;
}

void FakeAgent::drop_connections() {
  std::lock_guard lock(mutex_);
  for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
}

void FakeAgent::accept_loop() {
  for (int number = 1; !stopping_; ++number) {
    int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    {
      std::lock_guard lock(mutex_);
      open_.push_back(fd);
    }
    threads_.emplace_back([this, fd, number] { serve(fd, number); });
  }
}

void FakeAgent::serve(int fd, int number) {
  std::string buffer;
  std::vector<UniqueFd> fds;
  bool alive = true;
  while (alive) {
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
      if (!(alive = receive(fd, buffer, fds))) break;
    }
    if (!alive) break;
    FakeRequest request = parse_head(std::string_view(buffer).substr(0, end + 4));
    std::size_t length = 0;
    if (auto it = request.headers.find("content-length"); it != request.headers.end()) {
      length = std::stoul(it->second);
    }
    while (alive && buffer.size() < end + 4 + length) alive = receive(fd, buffer, fds);
    if (!alive) break;
    request.body = buffer.substr(end + 4, length);
    buffer.erase(0, end + 4 + length);
    request.fds = std::move(fds);
    fds.clear();
    request.connection = number;
    {
      std::lock_guard lock(mutex_);
      seen_.push_back(request.method + " " + request.target);
    }
    FakeAnswer answer;
    {
      std::lock_guard lock(handler_mutex_);
      answer = handler_(request);
    }
    if (answer.no_answer) break;
    std::string text = answer.raw;
    if (text.empty()) {
      text = "HTTP/1.1 " + std::to_string(answer.status) +
             " Status\r\nContent-Type: " + answer.content_type +
             "\r\nContent-Length: " + std::to_string(answer.body.size()) + "\r\n" +
             (answer.close_after ? "Connection: close\r\n" : "") + "\r\n" + answer.body;
    }
    alive = send_all(fd, text, answer.fds) && !answer.close_after;
  }
  std::lock_guard lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), fd));
  ::close(fd);
}

}  // namespace shoal::fakes
