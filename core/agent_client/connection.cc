#include "core/agent_client/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/agent_client/response_head.h"

namespace shoal::agent_client {
namespace {

constexpr std::size_t kReadSize = 64 * 1024;
constexpr std::size_t kMaxFds = 8;  // per message; the agent sends two

tl::unexpected<Error> lost(std::string_view what, int errno_value) {
  Error error = errno_error(what, errno_value);
  return fail(Errc::kUnavailable, "the connection to the agent broke: " + error.message());
}

Error connect_error(const std::filesystem::path& path, int errno_value) {
  Error error = errno_error("cannot reach the agent at " + path.string(), errno_value);
  if (errno_value == EACCES || errno_value == EPERM) return error;
  return Error(Errc::kUnavailable, error.message());
}

}  // namespace

Result<Connection> Connection::open(const std::filesystem::path& path, int cancel_fd,
                                    TimePoint deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.native().size() >= sizeof(address.sun_path)) {
    return fail(Errc::kInvalid, "'" + path.string() +
                                    "' cannot be a unix socket: its path is empty or longer than " +
                                    std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(errno_error("socket", errno));
  Connection connection(std::move(socket), cancel_fd);
  for (;;) {
    if (::connect(connection.socket_.get(), reinterpret_cast<const sockaddr*>(&address),
                  sizeof(address)) == 0) {
      return connection;
    }
    if (errno == EINTR) continue;
    // A unix socket whose queue of connections is full says EAGAIN and offers nothing to wait on.
    if (errno != EAGAIN) return fail(connect_error(path, errno));
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::kTimedOut, "the agent at " + path.string() + " takes no connection");
    }
    pollfd cancel{cancel_fd, POLLIN, 0};
    if (::poll(&cancel, 1, 10) > 0) return fail(Errc::kCancelled, "interrupted");
  }
}

bool Connection::usable() const {
  if (broken_) return false;
  char byte = 0;
  ssize_t got = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  // Bytes that nobody asked for make a connection as useless as its end does.
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Status Connection::wait(short events, TimePoint deadline) {
  for (;;) {
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(Errc::kTimedOut, "the agent did not answer in time");
    std::array<pollfd, 2> fds{{{socket_.get(), events, 0}, {cancel_fd_, POLLIN, 0}}};
    auto timeout = static_cast<int>(std::min<std::chrono::milliseconds::rep>(left.count(), 60'000));
    int ready = ::poll(fds.data(), fds.size(), timeout);
    if (ready < 0 && errno != EINTR) return fail(errno_error("poll", errno));
    if (ready <= 0) continue;
    if (fds[1].revents != 0) return fail(Errc::kCancelled, "interrupted");
    if (fds[0].revents != 0) return {};
  }
}

Status Connection::send(const Exchange& request, TimePoint deadline) {
  std::size_t sent = 0;
  while (sent < request.head_and_body.size()) {
    iovec part{const_cast<char*>(request.head_and_body.data()) + sent,
               request.head_and_body.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (sent == 0 && request.fd >= 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &request.fd, sizeof(int));
    }
    ssize_t count = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      SHOAL_TRY(wait(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return lost("sending a request", errno);
    }
  }
  return {};
}

Result<std::size_t> Connection::receive(std::string& into, std::size_t space, TimePoint deadline,
                                        std::vector<UniqueFd>& fds) {
  std::size_t old_size = into.size();
  into.resize(old_size + space);
  auto give_back = [&](std::size_t got) { into.resize(old_size + got); };
  for (;;) {
    iovec part{into.data() + old_size, space};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t count = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (Status waited = wait(POLLIN, deadline); !waited) {
        give_back(0);
        return fail(waited.error());
      }
      continue;
    }
    if (count < 0) {
      int error = errno;
      give_back(0);
      return lost("reading an answer", error);
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      std::size_t bytes = header->cmsg_len - CMSG_LEN(0);
      for (std::size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + at, sizeof(int));
        fds.emplace_back(fd);
      }
    }
    give_back(static_cast<std::size_t>(count));
    return static_cast<std::size_t>(count);
  }
}

Result<Answer> Connection::read_answer(TimePoint deadline, bool* nothing_received) {
  Answer answer;
  std::string buffer;
  std::size_t head_size = std::string::npos;
  auto more = [&](std::size_t space) -> Status {
    Result<std::size_t> got = receive(buffer, space, deadline, answer.fds);
    if (!got) return fail(got.error());
    if (*got == 0) return fail(Errc::kUnavailable, "the agent closed the connection");
    *nothing_received = false;
    return {};
  };
  while ((head_size = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (buffer.size() > kMaxHead) {
      return fail(Errc::kCorrupt, "the agent's answer has no end of its head");
    }
    SHOAL_TRY(more(kReadSize));
  }
  head_size += 4;
  Result<ResponseHead> head = parse_response_head(std::string_view(buffer).substr(0, head_size));
  if (!head) return fail(head.error());
  buffer.erase(0, head_size);
  while (buffer.size() < head->content_length) {
    SHOAL_TRY(more(std::min<std::uint64_t>(kReadSize, head->content_length - buffer.size())));
  }
  if (buffer.size() > head->content_length) {
    return fail(Errc::kCorrupt, "the agent's answer is longer than it says");
  }
  answer.status = head->status;
  answer.content_type = std::move(head->content_type);
  answer.body = std::move(buffer);
  if (head->close) broken_ = true;
  return answer;
}

Result<Answer> Connection::exchange(const Exchange& request, TimePoint deadline,
                                    bool* nothing_received) {
  *nothing_received = true;
  Status sent = send(request, deadline);
  // A server that refuses early answers before it has read all: the answer says why the send
  // failed.
  if (!sent && sent.error().code() != Errc::kUnavailable) {
    broken_ = true;
    return fail(sent.error());
  }
  Result<Answer> answer = read_answer(deadline, nothing_received);
  if (!sent || !answer) broken_ = true;
  if (!answer && !sent && *nothing_received) return fail(sent.error());
  return answer;
}

}  // namespace shoal::agent_client
