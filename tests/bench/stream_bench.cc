// GB/s and CPU seconds of one Stream over loopback, beside a bare loop of the same system calls or
// of OpenSSL: what the abstraction costs. One thread per side, the file in memory.
//   stream_bench [gigabytes=2] [read buffer KiB=1024]
#include "core/async/task.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "core/async/run.h"
#include "core/base/check.h"
#include "core/base/random.h"
#include "core/http/certificate.h"
#include "core/http/socket.h"
#include "core/http/stream.h"
#include "core/http/tls.h"

namespace shoal::http {
namespace {

constexpr std::uint64_t kRequest = 16 << 20;

struct Work {
  std::uint64_t total;
  std::size_t read_size;
  int file;  // kRequest bytes
};

struct Cost {
  double seconds;
  double cpu;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Cost measure(const std::function<void()>& sender, const std::function<void()>& receiver) {
  const double cpu = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  std::thread other(sender);
  receiver();
  other.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return {took.count(), cpu_seconds() - cpu};
}

// Blocking TCP sockets over loopback.
std::pair<UniqueFd, UniqueFd> connected() {
  asio::io_context io;
  auto listener = Listener::open(io.get_executor(), parse_endpoint("127.0.0.1:0").value()).value();
  UniqueFd a =
      run_to_end(io, connect_socket(io.get_executor(), listener->local(), Deadline::never()))
          .value();
  UniqueFd b = run_to_end(io, listener->accept()).value();
  return {std::move(a), std::move(b)};
}

void make_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); }

Cost bare_plain(const Work& work) {
  auto [a, b] = connected();
  make_blocking(a.get());
  make_blocking(b.get());
  return measure(
      [&] {
        for (std::uint64_t sent = 0; sent < work.total; sent += kRequest) {
          off_t offset = 0;
          while (offset < static_cast<off_t>(kRequest)) {
            SHOAL_CHECK(::sendfile(b.get(), work.file, &offset,
                                   kRequest - static_cast<std::uint64_t>(offset)) > 0,
                        "sendfile");
          }
        }
      },
      [&] {
        std::vector<char> buffer(work.read_size);
        for (std::uint64_t got = 0; got < work.total;) {
          const ssize_t n = ::recv(a.get(), buffer.data(), buffer.size(), MSG_WAITALL);
          SHOAL_CHECK(n > 0, "recv");
          got += static_cast<std::uint64_t>(n);
        }
      });
}

Cost bare_tls(const Work& work, TlsContext& tls) {
  auto [a, b] = connected();
  make_blocking(a.get());
  make_blocking(b.get());
  const auto shake = [&](int fd, bool server) {
    SSL* ssl = SSL_new(tls.ssl_context().get());
    SSL_set_fd(ssl, fd);
    SHOAL_CHECK((server ? SSL_accept(ssl) : SSL_connect(ssl)) == 1, "handshake");
    SSL_set_read_ahead(ssl, 1);
    return ssl;
  };
  SSL* server = nullptr;
  std::thread shaking([&] { server = shake(b.get(), true); });
  SSL* client = shake(a.get(), false);
  shaking.join();
  const Cost cost = measure(
      [&] {
        std::vector<char> buffer(256 << 10);
        for (std::uint64_t sent = 0; sent < work.total;) {
          const ssize_t n =
              ::pread(work.file, buffer.data(), buffer.size(), static_cast<off_t>(sent % kRequest));
          for (ssize_t done = 0; done < n;) {
            const int w = SSL_write(server, buffer.data() + done, static_cast<int>(n - done));
            SHOAL_CHECK(w > 0, "SSL_write");
            done += w;
          }
          sent += static_cast<std::uint64_t>(n);
        }
      },
      [&] {
        std::vector<char> buffer(work.read_size);
        for (std::uint64_t got = 0; got < work.total;) {
          const int n = SSL_read(client, buffer.data(), static_cast<int>(buffer.size()));
          SHOAL_CHECK(n > 0, "SSL_read");
          got += static_cast<std::uint64_t>(n);
        }
      });
  SSL_free(server);
  SSL_free(client);
  return cost;
}

Task<void> send_all(UniqueFd socket, std::shared_ptr<TlsContext> tls, Work work) {
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  std::unique_ptr<Stream> stream;
  if (tls) {
    stream =
        (co_await Stream::accept_tls(executor, std::move(socket), tls, Deadline::never())).value();
  } else {
    stream = Stream::plain(executor, std::move(socket)).value();
  }
  for (std::uint64_t sent = 0; sent < work.total; sent += kRequest) {
    Status status = co_await stream->send_file(work.file, 0, kRequest,
                                               Deadline::after(std::chrono::seconds(30)));
    SHOAL_CHECK(status.has_value(), "send_file");
  }
}

Task<void> receive_all(UniqueFd socket, std::shared_ptr<TlsContext> tls, Work work) {
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  std::unique_ptr<Stream> stream;
  if (tls) {
    stream = (co_await Stream::connect_tls(executor, std::move(socket), tls, ExpectedPeer::member(),
                                           Deadline::never()))
                 .value();
  } else {
    stream = Stream::plain(executor, std::move(socket)).value();
  }
  std::vector<std::byte> buffer(work.read_size);
  for (std::uint64_t got = 0; got < work.total; got += buffer.size()) {
    Status status = co_await stream->read_exact(buffer, Deadline::after(std::chrono::seconds(30)));
    SHOAL_CHECK(status.has_value(), "read_exact");
  }
}

Cost streams(const Work& work, const std::shared_ptr<TlsContext>& tls) {
  auto [a, b] = connected();
  UniqueFd* const client = &a;
  UniqueFd* const server = &b;
  return measure(
      [&] {
        asio::io_context io(1);
        run_to_end(io, send_all(std::move(*server), tls, work));
      },
      [&] {
        asio::io_context io(1);
        run_to_end(io, receive_all(std::move(*client), tls, work));
      });
}

std::shared_ptr<TlsContext> make_tls() {
  const auto dir = std::filesystem::temp_directory_path() / ("stream-bench-" + random_hex(8));
  std::filesystem::create_directory(dir);
  const Validity day = Validity::for_next(std::chrono::hours(24));
  const CertifiedKey ca = make_ca("bench", day).value();
  const CertifiedKey own = issue_certificate(ca, node_identity("bench"), {}, day).value();
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(dir / name) << text;
    return (dir / name).string();
  };
  auto tls = TlsContext::load({write("crt", own.certificate), write("key", own.key),
                               write("ca", ca.certificate)})
                 .value();
  std::filesystem::remove_all(dir);
  return tls;
}

void report(const char* name, const Work& work, std::vector<Cost> runs) {
  std::sort(runs.begin(), runs.end(),
            [](const Cost& x, const Cost& y) { return x.seconds < y.seconds; });
  const double gigabytes = static_cast<double>(work.total) * 1e-9;
  const Cost& median = runs[runs.size() / 2];
  std::printf("%-14s %6.2f GB/s (%.2f to %.2f)  %.3f CPU s/GB\n", name, gigabytes / median.seconds,
              gigabytes / runs.back().seconds, gigabytes / runs.front().seconds,
              median.cpu / gigabytes);
}

int run(int argc, char** argv) {
  const std::uint64_t gigabytes = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2;
  const std::size_t read_kib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1024;
  Work work{gigabytes << 30, read_kib << 10, ::memfd_create("stream_bench", MFD_CLOEXEC)};
  const std::vector<char> content(kRequest, 'x');
  SHOAL_CHECK(
      ::write(work.file, content.data(), content.size()) == static_cast<ssize_t>(content.size()),
      "writing the file");
  const std::shared_ptr<TlsContext> tls = make_tls();
  std::vector<Cost> plain_bare, plain_stream, tls_bare, tls_stream;
  for (int i = 0; i < 5; ++i) {
    plain_bare.push_back(bare_plain(work));
    plain_stream.push_back(streams(work, nullptr));
    tls_bare.push_back(bare_tls(work, *tls));
    tls_stream.push_back(streams(work, tls));
  }
  report("plain bare", work, plain_bare);
  report("plain Stream", work, plain_stream);
  report("TLS bare", work, tls_bare);
  report("TLS Stream", work, tls_stream);
  return 0;
}

}  // namespace
}  // namespace shoal::http

int main(int argc, char** argv) { return shoal::http::run(argc, argv); }
