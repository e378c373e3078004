// What a Stream is made of, for stream.cc (plain sockets, the calls) and stream_tls.cc (OpenSSL).
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/base/thread_check.h"
#include "core/http/openssl.h"
#include "core/http/readiness.h"
#include "core/http/stream.h"

namespace shoal::http {

// Whatever broke the connection, the caller's remedy is another one: unavailable, or timed_out.
Error connection_error(const char* what, int errno_value);

// One call of a direction at a time.
class InUse {
 public:
  explicit InUse(bool* flag) : flag_(flag) {
    SHOAL_CHECK(!*flag, "two calls of one direction on one stream");
    *flag_ = true;
  }
  ~InUse() { *flag_ = false; }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  bool* const flag_;
};

struct PageFree {
  void operator()(std::byte* p) const { std::free(p); }
};

class Stream::Impl : OneThreadOnly {
 public:
  Impl(std::unique_ptr<Readiness> readiness, bool is_unix, std::string peer_address)
      : readiness_(std::move(readiness)), unix_(is_unix), peer_address_(std::move(peer_address)) {}
  ~Impl() { SHOAL_CHECK(!reading_ && !writing_, "a stream dies while it is used"); }

  std::size_t read_now(std::span<std::byte> out);
  Task<Result<std::size_t>> read(std::span<std::byte> out, std::size_t at_least,
                                 std::uint64_t coming, Deadline deadline);
  Task<Status> write(std::span<const std::byte> data, Deadline deadline);
  Task<Status> send_file(int file, std::uint64_t offset, std::uint64_t length, Deadline deadline);
  Task<Status> write_with_fds(std::string_view data, std::span<const int> fds, Deadline deadline);
  Task<Status> handshake(std::shared_ptr<TlsContext> tls, bool server, ExpectedPeer expected,
                         Deadline deadline);
  void close();

  int fd() const { return readiness_->fd(); }

  // What one try of a system call, or of OpenSSL, came to.
  struct Attempt {
    enum class Kind { kDone, kEnd, kWantRead, kWantWrite, kFailed };
    Kind kind;
    std::size_t bytes = 0;
    std::optional<Error> error = {};
  };

  Attempt try_read(std::span<std::byte> out);
  Attempt try_write(std::span<const std::byte> data);
  Attempt try_read_tls(std::span<std::byte> out);
  Attempt try_write_tls(std::span<const std::byte> data);
  Attempt try_read_unix(std::span<std::byte> out);
  Attempt tls_attempt(int rc, std::size_t bytes, const char* what);
  Error tls_error(const char* what);
  Error write_failure(Error error);
  void rekey_if_due();
  Task<Status> send_file_plain(int file, std::uint64_t offset, std::uint64_t length,
                               Deadline deadline);
  Task<Status> send_file_tls(int file, std::uint64_t offset, std::uint64_t length,
                             Deadline deadline);
  Task<Status> write_attempts(std::span<const std::byte> data, Deadline deadline);
  Task<Status> wait(Readiness::Slot slot, Attempt::Kind kind, Deadline deadline);
  Status check_peer(const ExpectedPeer& expected);
  // What has to be in the socket before it counts as readable.
  std::size_t gather_target(std::uint64_t coming, std::size_t space) const;
  void set_low_water(std::size_t bytes);

  const std::unique_ptr<Readiness> readiness_;
  const bool unix_;
  const std::string peer_address_;
  std::shared_ptr<TlsContext> tls_;
  SslPtr ssl_;
  Identity peer_identity_;
  std::optional<Error> read_failure_;
  std::vector<UniqueFd> received_fds_;
  std::unique_ptr<std::byte[], PageFree> encrypt_buffer_;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t next_rekey_ = 0;
  std::size_t low_water_ = 1;
  bool reading_ = false;
  bool writing_ = false;
};

}  // namespace shoal::http
