#include "tests/bench/lane_limit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"
#include "tests/bench/arguments.h"

namespace shoal::bench {
namespace {

using content::PieceIndex;
using content::PieceRange;

struct Shape {
  std::size_t threads;
  std::size_t buffer;
};

struct Cost {
  double seconds;
  double sender_cpu;
  double receiver_cpu;
};

double seconds_of(const rusage& usage) {
  auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

content::PieceTable read_table(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  auto table = content::PieceTable::parse(std::as_bytes(std::span(bytes)));
  if (!table) give_up(path + ": " + table.error().str());
  return *table;
}

// The pieces that one of several threads moves.
PieceRange share_of(std::uint32_t pieces, std::size_t thread, std::size_t threads) {
  auto first = static_cast<std::uint32_t>(pieces * thread / threads);
  auto end = static_cast<std::uint32_t>(pieces * (thread + 1) / threads);
  return {PieceIndex(first), end - first};
}

void receive_share(const std::function<std::size_t(std::span<std::byte>)>& read,
                   const content::PieceTable& table, PieceRange share, int target,
                   std::size_t buffer_size) {
  const content::BlobLayout& layout = table.layout();
  auto fit =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, buffer_size / layout.piece_length()));
  std::size_t size = fit * layout.piece_length();
  std::unique_ptr<std::byte, decltype(&std::free)> memory(
      static_cast<std::byte*>(std::aligned_alloc(4096, size)), &std::free);
  std::vector<content::Hash32> hashes(fit);
  content::PieceHasher hasher;
  for (PieceIndex next = share.first; next != share.end();) {
    PieceRange batch{next, std::min(fit, share.end() - next)};
    ByteRange range = layout.range_of(batch);
    hasher.begin(layout, batch);
    for (std::size_t end = 0; end < range.length;) {
      end += read({memory.get() + end, range.length - end});
      hasher.advance({memory.get(), end}, hashes);
    }
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      if (hashes[i] != table.hash(batch.first + i)) give_up("a piece arrived damaged");
    }
    for (std::size_t done = 0; done < range.length;) {
      ssize_t n = ::pwrite(target, memory.get() + done, range.length - done,
                           static_cast<off_t>(range.offset + done));
      if (n <= 0) give_up("cannot write the target");
      done += static_cast<std::size_t>(n);
    }
    next = batch.end();
  }
}

UniqueFd listen_on_loopback(sockaddr_in& address) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.get(), generic, length) != 0 || ::listen(listener.get(), 16) != 0 ||
      ::getsockname(listener.get(), generic, &length) != 0) {
    give_up("cannot listen on loopback");
  }
  return listener;
}

void no_delay(int socket) {
  int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// The sending process. Each connection says first which thread's share it wants.
[[noreturn]] void send_all(const Transport& transport, int listener, int source,
                           const content::PieceTable& table, Shape shape) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < shape.threads; ++i) {
    int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) give_up("cannot accept");
    no_delay(socket);
    threads.emplace_back([&, socket] {
      unsigned char share = 0;
      if (::recv(socket, &share, 1, MSG_WAITALL) != 1) give_up("nobody asks");
      PieceRange pieces = share_of(table.layout().piece_count(), share, shape.threads);
      transport.send(socket, source, table.layout().range_of(pieces), shape.buffer);
      ::close(socket);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::_Exit(0);
}

Cost run_once(const Transport& transport, int source, const content::PieceTable& table,
              const std::string& target_path, Shape shape) {
  ::unlink(target_path.c_str());
  UniqueFd target(::open(target_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  // Nothing is set aside before the clock starts: whoever receives a file has to find its pages.
  if (!target || ::ftruncate(target.get(), static_cast<off_t>(table.layout().size())) != 0) {
    give_up(target_path + ": cannot be made");
  }
  sockaddr_in address{};
  UniqueFd listener = listen_on_loopback(address);
  pid_t sender = ::fork();
  if (sender < 0) give_up("cannot fork");
  if (sender == 0) send_all(transport, listener.get(), source, table, shape);

  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < shape.threads; ++i) {
    threads.emplace_back([&, i] {
      UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address)) {
        give_up("cannot connect");
      }
      no_delay(socket.get());
      auto share = static_cast<unsigned char>(i);
      if (::send(socket.get(), &share, 1, MSG_NOSIGNAL) != 1) give_up("cannot ask");
      receive_share(transport.receive(socket.get()), table,
                    share_of(table.layout().piece_count(), i, shape.threads), target.get(),
                    shape.buffer);
    });
  }
  for (std::thread& thread : threads) thread.join();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  int status = 0;
  rusage sent{};
  if (::wait4(sender, &status, 0, &sent) != sender || status != 0) give_up("the sender failed");
  ::unlink(target_path.c_str());
  return {seconds, seconds_of(sent), seconds_of(after) - seconds_of(before)};
}

}  // namespace

int limit_main(int argc, char** argv, const char* name, const Transport& transport) {
  Arguments arguments(std::vector<std::string>(argv + 1, argv + argc));
  content::PieceTable table = read_table(arguments.get("table"));
  UniqueFd source(::open(arguments.get("source").c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!source || ::fstat(source.get(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_size) != table.layout().size()) {
    give_up("the source is not the table's blob");
  }
  std::vector<std::uint64_t> threads = {1, 2};
  std::vector<std::uint64_t> buffers = {256 * kKiB, kMiB, 4 * kMiB};
  if (arguments.has("threads")) threads = arguments.numbers("threads");
  if (arguments.has("buffers")) buffers = arguments.numbers("buffers");
  const std::uint64_t runs = arguments.has("runs") ? arguments.number("runs") : 1;
  const double gigabytes = static_cast<double>(table.layout().size()) / 1e9;

  std::printf("%s: %.3g GB\nthreads  buffer KiB   GB/s  CPU-s/GB sender  receiver\n", name,
              gigabytes);
  std::string json;
  for (std::uint64_t count : threads) {
    if (count < 1 || count > 16) give_up("1 to 16 threads");
    for (std::uint64_t buffer : buffers) {
      for (std::uint64_t run = 0; run < runs; ++run) {
        Cost cost =
            run_once(transport, source.get(), table, arguments.get("target"), {count, buffer});
        std::printf("%7llu  %10llu  %5.3f  %15.3f  %8.3f\n", static_cast<unsigned long long>(count),
                    static_cast<unsigned long long>(buffer / kKiB), gigabytes / cost.seconds,
                    cost.sender_cpu / gigabytes, cost.receiver_cpu / gigabytes);
        std::fflush(stdout);
        char line[256];
        std::snprintf(line, sizeof line,
                      R"(%s{"threads":%llu,"buffer":%llu,"seconds":%.6f,"sender_cpu":%.6f,)"
                      R"("receiver_cpu":%.6f})",
                      json.empty() ? "" : ",", static_cast<unsigned long long>(count),
                      static_cast<unsigned long long>(buffer), cost.seconds, cost.sender_cpu,
                      cost.receiver_cpu);
        json += line;
      }
    }
  }
  if (arguments.has("json")) std::printf("[%s]\n", json.c_str());
  return 0;
}

}  // namespace shoal::bench
