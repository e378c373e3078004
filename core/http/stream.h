// A connected stream of bytes: TCP or unix socket, plain or TLS. The one thing that moves bytes
// between processes: HTTP messages and the lane's gigabytes alike. Hides the socket's readiness,
// TLS on a non-blocking descriptor, deadlines and cancellation. Calls try the system call first and
// wait only when the kernel has nothing.
//
// Thread: the executor's. At most one reading and one writing call at a time (checked).
// Lifetime: every call has ended before destruction (checked): close() makes them end.
// Buffers stay valid until the call has ended, also when it ends by deadline or close().
// Streams ignore SIGPIPE for the whole process.
#pragma once

#include "core/async/task.h"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/http/identity.h"

namespace shoal::http {

class TlsContext;

// Who opened the other end of a unix socket, as the kernel says (SO_PEERCRED).
struct UnixPeer {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
};

class Stream {
 public:
  // Takes over a connected stream socket and makes it non-blocking.
  static Result<std::unique_ptr<Stream>> plain(Executor executor, UniqueFd socket);

  // The same with a TLS handshake as server or client. Errors: denied (a certificate was refused,
  // by us or by the other side: the message says whose and why), corrupt (no TLS 1.3 spoken),
  // timed_out, unavailable. A server learns of a bad client here; a client whose own certificate is
  // refused learns it from its first read (denied), because TLS 1.3 ends the client's handshake
  // first. A request of `stop` (made on this thread) ends the handshake with cancelled.
  static Task<Result<std::unique_ptr<Stream>>> accept_tls(Executor executor, UniqueFd socket,
                                                          std::shared_ptr<TlsContext> tls,
                                                          Deadline deadline,
                                                          std::stop_token stop = {});
  static Task<Result<std::unique_ptr<Stream>>> connect_tls(Executor executor, UniqueFd socket,
                                                           std::shared_ptr<TlsContext> tls,
                                                           ExpectedPeer expected, Deadline deadline,
                                                           std::stop_token stop = {});

  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Errors of all I/O calls: timed_out (the deadline passed), cancelled (close() was called),
  // unavailable (reset, broken pipe, or another failure of the connection), corrupt (TLS records
  // that do not decrypt), denied (the peer refused our certificate). After any error of a write,
  // and after corrupt, the stream is of no further use; a read that timed out took nothing and may
  // be repeated.

  // Waits for at least one byte and gives what has arrived, at most out.size() (not 0) bytes; 0 at
  // the end of the stream.
  Task<Result<std::size_t>> read_some(std::span<std::byte> out, Deadline deadline);

  // What has arrived already, at most out.size() bytes. 0 also where read_some() would tell of an
  // end or an error: it does so next.
  std::size_t read_now(std::span<std::byte> out);

  // As read_some(), for a part of a body of which `coming` bytes (not 0) are still to come, the
  // peer said: lets them gather, so that a slow connection does not cost a wake-up for each packet.
  // Gives what is there after kGatherTime in any case.
  Task<Result<std::size_t>> read_gathered(std::span<std::byte> out, std::uint64_t coming,
                                          Deadline deadline);
  static constexpr std::chrono::milliseconds kGatherTime{100};

  // Fills `out`. An end of the stream before that is unavailable.
  Task<Status> read_exact(std::span<std::byte> out, Deadline deadline);

  // Returns when the kernel has taken all of it.
  Task<Status> write_all(std::span<const std::byte> data, Deadline deadline);
  Task<Status> write_all(std::string_view data, Deadline deadline);

  // Sends bytes [offset, offset + length) of `file`, which stays open until the call has ended:
  // sendfile(2) where plain, read and encrypt where TLS. Blocks the thread while the file system
  // reads: bring cold ranges into the page cache before. A file that ends early is corrupt.
  Task<Status> send_file(int file, std::uint64_t offset, std::uint64_t length, Deadline deadline);

  // Unix sockets: the descriptors travel with the first byte of `data` (not empty). They remain the
  // caller's. At most kMaxFds. Errors: invalid on other sockets.
  Task<Status> write_with_fds(std::string_view data, std::span<const int> fds, Deadline deadline);

  // Descriptors that have arrived so far with bytes that were read, in order; the caller's now.
  // Between two calls at most kMaxFds are kept, further ones are closed.
  std::vector<UniqueFd> take_received_fds();
  static constexpr std::size_t kMaxFds = 8;

  // Ends the connection, without waiting: pending and later calls end with cancelled. Sticky,
  // idempotent; the descriptor itself stays open until destruction.
  void close();
  bool closed() const;

  int native_handle() const;
  bool is_tls() const;
  // "10.0.0.7:41234", "[fe80::1]:6970", "unix"
  const std::string& peer_address() const;
  // From the verified certificate; kNone where plain or where it has none.
  const Identity& peer_identity() const;
  // Unix sockets only.
  std::optional<UnixPeer> unix_peer() const;
  // Bytes moved so far, TLS framing not counted.
  std::uint64_t bytes_read() const;
  std::uint64_t bytes_written() const;

 private:
  class Impl;
  explicit Stream(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::http
