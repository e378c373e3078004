#include "core/http/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "core/base/random.h"
#include "tests/core/http/stream_pair.h"

namespace shoal::http {
namespace {

std::string pattern(std::size_t size, std::uint64_t seed) {
  SeededRandom random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random.next());
  return text;
}

std::span<std::byte> bytes_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }

class StreamTest : public testing::TestWithParam<Kind> {
 protected:
  StreamTest() {
    if (GetParam() == Kind::kTls) {
      server_tls_ = ca_.context(node_identity("server"), {}, {.rekey_after_bytes = 1 << 20});
      client_tls_ = ca_.context(node_identity("client"));
    }
    pair_ = run_to_end(io_, connect_pair(io_.get_executor(), GetParam(), server_tls_, client_tls_));
  }

  UniqueFd file_with(const std::string& text) {
    const std::string path = dir_.write("file", text);
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }

  TestCa ca_;
  TempDir dir_;
  asio::io_context io_;
  std::shared_ptr<TlsContext> server_tls_;
  std::shared_ptr<TlsContext> client_tls_;
  StreamPair pair_;
};

Task<void> write_then_close(Stream* stream, std::string text) {
  EXPECT_TRUE(co_await stream->write_all(text, soon()));
  stream->close();
}

Task<std::string> read_to_end(Stream* stream) {
  std::string all;
  std::string part(10'000, '\0');
  for (;;) {
    Result<std::size_t> n = co_await stream->read_some(bytes_of(part), soon());
    EXPECT_TRUE(n) << n.error().str();
    if (!n || *n == 0) co_return all;
    all.append(part, 0, *n);
  }
}

TEST_P(StreamTest, CarriesMoreThanTheBuffersHoldAndThenEnds) {
  const std::string text = pattern(5'000'000, 1);
  TaskGroup group(io_.get_executor(), "test");
  group.spawn("writer", write_then_close(pair_.server.get(), text));
  const std::string got = run_to_end(io_, read_to_end(pair_.client.get()));
  run_to_end(io_, group.join());
  EXPECT_EQ(got.size(), text.size());
  EXPECT_TRUE(got == text);
  EXPECT_EQ(pair_.client->bytes_read(), text.size());
  EXPECT_EQ(pair_.server->bytes_written(), text.size());
}

Task<void> send_file_task(Stream* stream, int fd, std::uint64_t offset, std::uint64_t length,
                          Status* out) {
  *out = co_await stream->send_file(fd, offset, length, soon());
}

TEST_P(StreamTest, SendsAPartOfAFile) {
  const std::string text = pattern(3'000'000, 2);
  const UniqueFd fd = file_with(text);
  TaskGroup group(io_.get_executor(), "test");
  Status sent = fail(Errc::kInternal, "not run");
  group.spawn("sender", send_file_task(pair_.server.get(), fd.get(), 12'345, 2'900'001, &sent));
  std::string got(2'900'001, '\0');
  EXPECT_TRUE(run_to_end(io_, pair_.client->read_exact(bytes_of(got), soon())));
  run_to_end(io_, group.join());
  EXPECT_TRUE(sent);
  EXPECT_TRUE(got == text.substr(12'345, 2'900'001));
}

TEST_P(StreamTest, AFileThatEndsEarlyIsCorrupt) {
  const UniqueFd fd = file_with("short");
  Status sent = run_to_end(io_, pair_.server->send_file(fd.get(), 0, 6, soon()));
  EXPECT_EQ(sent.error().code(), Errc::kCorrupt);
}

TEST_P(StreamTest, ReadsTimeOutPromptlyAndMayBeRepeated) {
  std::string got(4, '\0');
  const auto before = std::chrono::steady_clock::now();
  Status late = run_to_end(io_, pair_.client->read_exact(bytes_of(got), short_time()));
  EXPECT_EQ(late.error().code(), Errc::kTimedOut);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  EXPECT_TRUE(run_to_end(io_, pair_.server->write_all("data", soon())));
  EXPECT_TRUE(run_to_end(io_, pair_.client->read_exact(bytes_of(got), soon())));
  EXPECT_EQ(got, "data");
}

Task<void> write_later(Executor executor, Stream* stream, std::string text) {
  Event never(executor);
  (void)co_await sleep_until(Deadline::after(std::chrono::milliseconds(20)), &never);
  EXPECT_TRUE(co_await stream->write_all(text, soon()));
}

Task<void> write_bit_by_bit(Executor executor, Stream* stream, std::string text) {
  Event never(executor);
  for (std::size_t at = 0; at < text.size(); at += 2'000) {
    EXPECT_TRUE(co_await stream->write_all(std::string_view(text).substr(at, 2'000), soon()));
    (void)co_await sleep_until(Deadline::after(std::chrono::microseconds(100)), &never);
  }
}

Task<std::string> read_announced(Stream* stream, std::size_t size, int* reads) {
  std::string all(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    Result<std::size_t> n =
        co_await stream->read_gathered(bytes_of(all).subspan(done), size - done, soon());
    EXPECT_TRUE(n && *n > 0);
    if (!n || *n == 0) break;
    done += *n;
    ++*reads;
  }
  co_return all;
}

TEST_P(StreamTest, AnnouncedBytesGatherBeforeAReaderIsWoken) {
  if (GetParam() == Kind::kUnix) return;  // local sockets are read as they come
  const std::string text = pattern(400'000, 3);
  TaskGroup group(io_.get_executor(), "writer");
  group.spawn("write", write_bit_by_bit(io_.get_executor(), pair_.client.get(), text));
  int reads = 0;
  EXPECT_EQ(run_to_end(io_, read_announced(pair_.server.get(), text.size(), &reads)), text);
  EXPECT_LT(reads, 20);  // of 200 writes
  run_to_end(io_, group.join());
}

TEST_P(StreamTest, AnnouncedBytesThatDoNotComeHoldUpNothingForLong) {
  ASSERT_TRUE(run_to_end(io_, pair_.client->write_all("ten bytes.", soon())));
  std::string out(10, '\0');
  int reads = 0;
  EXPECT_EQ(run_to_end(io_, read_announced(pair_.server.get(), 10, &reads)), "ten bytes.");
  TaskGroup group(io_.get_executor(), "writer");
  group.spawn("write", write_later(io_.get_executor(), pair_.client.get(), "late"));
  std::string space(300'000, '\0');
  auto got = run_to_end(io_, pair_.server->read_gathered(bytes_of(space), 300'000, soon()));
  ASSERT_TRUE(got) << got.error().str();
  EXPECT_EQ(space.substr(0, *got), "late");
  run_to_end(io_, group.join());
}

Task<std::string> read_what_is_there(Executor executor, Stream* stream, std::size_t size) {
  Event never(executor);
  std::string all(size, '\0');
  for (std::size_t done = 0; done < size;) {
    std::size_t n = stream->read_now(bytes_of(all).subspan(done));
    done += n;
    if (n == 0) {
      (void)co_await sleep_until(Deadline::after(std::chrono::milliseconds(1)), &never);
    }
  }
  co_return all;
}

TEST_P(StreamTest, WhatHasArrivedIsReadWithoutWaiting) {
  std::string space(100, '\0');
  EXPECT_EQ(pair_.server->read_now(bytes_of(space)), 0u);
  const std::string text = pattern(300'000, 5);
  TaskGroup group(io_.get_executor(), "writer");
  group.spawn("write", write_later(io_.get_executor(), pair_.client.get(), text));
  auto reading = read_what_is_there(io_.get_executor(), pair_.server.get(), text.size());
  EXPECT_EQ(run_to_end(io_, std::move(reading)), text);
  run_to_end(io_, group.join());
  EXPECT_EQ(pair_.server->bytes_read(), text.size());
  // An end is told by a read that waits, also after one that did not.
  pair_.client->close();
  EXPECT_EQ(pair_.server->read_now(bytes_of(space)), 0u);
  auto ended = run_to_end(io_, pair_.server->read_some(bytes_of(space), soon()));
  EXPECT_TRUE(!ended || *ended == 0);
  EXPECT_EQ(pair_.server->read_now(bytes_of(space)), 0u);
}

TEST_P(StreamTest, WritesToAPeerThatDoesNotReadTimeOut) {
  const std::string text = std::string(32 << 20, 'x');
  Status late = run_to_end(io_, pair_.server->write_all(text, short_time()));
  EXPECT_EQ(late.error().code(), Errc::kTimedOut);
}

TEST_P(StreamTest, ATimeoutOfOneDirectionLeavesTheOtherAlone) {
  TaskGroup group(io_.get_executor(), "test");
  std::string got(5, '\0');
  struct Reader {
    static Task<void> run(Stream* stream, std::string* out, Status* status) {
      *status = co_await stream->read_exact(bytes_of(*out), soon());
    }
  };
  Status read = fail(Errc::kInternal, "not run");
  group.spawn("reader", Reader::run(pair_.server.get(), &got, &read));
  const std::string text = std::string(32 << 20, 'x');
  Status late = run_to_end(io_, pair_.server->write_all(text, short_time()));
  EXPECT_EQ(late.error().code(), Errc::kTimedOut);
  EXPECT_TRUE(run_to_end(io_, pair_.client->write_all("hello", soon())));
  run_to_end(io_, group.join());
  EXPECT_TRUE(read) << read.error().str();
  EXPECT_EQ(got, "hello");
}

Task<void> read_one(Stream* stream, Errc* out) {
  std::byte byte;
  Result<std::size_t> n = co_await stream->read_some({&byte, 1}, Deadline::never());
  *out = n ? Errc::kInternal : n.error().code();
}

TEST_P(StreamTest, CloseEndsPendingAndLaterCalls) {
  TaskGroup group(io_.get_executor(), "test");
  Errc ended = Errc::kInternal;
  group.spawn("reader", read_one(pair_.client.get(), &ended), [this] { pair_.client->close(); });
  Event never(io_.get_executor());
  run_to_end(io_, sleep_until(short_time(), &never));
  run_to_end(io_, group.stop());
  EXPECT_EQ(ended, Errc::kCancelled);
  EXPECT_EQ(run_to_end(io_, pair_.client->write_all("x", soon())).error().code(), Errc::kCancelled);
  // And the other side sees the end.
  std::byte byte;
  Result<std::size_t> n = run_to_end(io_, pair_.server->read_some({&byte, 1}, soon()));
  EXPECT_TRUE(!n || *n == 0);
}

TEST_P(StreamTest, AnEndInsideReadExactIsUnavailable) {
  TaskGroup group(io_.get_executor(), "test");
  group.spawn("writer", write_then_close(pair_.server.get(), "abc"));
  std::string got(4, '\0');
  Status read = run_to_end(io_, pair_.client->read_exact(bytes_of(got), soon()));
  run_to_end(io_, group.join());
  EXPECT_EQ(read.error().code(), Errc::kUnavailable);
}

Task<void> echo(Stream* stream, std::size_t total) {
  std::string part(3000, '\0');
  while (total > 0) {
    Result<std::size_t> n = co_await stream->read_some(bytes_of(part), soon());
    if (!n || *n == 0) co_return;
    EXPECT_TRUE(co_await stream->write_all(std::string_view(part).substr(0, *n), soon()));
    total -= *n;
  }
}

Task<void> write_task(Stream* stream, const std::string* text) {
  EXPECT_TRUE(co_await stream->write_all(*text, soon()));
}

TEST_P(StreamTest, BothDirectionsRunAtOnce) {
  const std::string text = pattern(4'000'000, 5);
  TaskGroup group(io_.get_executor(), "test");
  group.spawn("echo", echo(pair_.server.get(), text.size()));
  group.spawn("writer", write_task(pair_.client.get(), &text));
  std::string got(text.size(), '\0');
  EXPECT_TRUE(run_to_end(io_, pair_.client->read_exact(bytes_of(got), soon())));
  run_to_end(io_, group.join());
  EXPECT_TRUE(got == text);
}

INSTANTIATE_TEST_SUITE_P(AllKinds, StreamTest,
                         testing::Values(Kind::kPlain, Kind::kTls, Kind::kUnix),
                         [](const auto& kind) { return kind_name(kind.param); });

class UnixStreamTest : public testing::Test {
 protected:
  UnixStreamTest()
      : pair_(run_to_end(io_, connect_pair(io_.get_executor(), Kind::kUnix, nullptr, nullptr))) {}
  asio::io_context io_;
  StreamPair pair_;
};

TEST_F(UnixStreamTest, PassesDescriptorsWithTheirBytes) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  const UniqueFd read_end(pipe_fds[0]);
  const UniqueFd write_end(pipe_fds[1]);
  const std::array<int, 2> fds{read_end.get(), write_end.get()};
  EXPECT_TRUE(run_to_end(io_, pair_.client->write_with_fds("hello", fds, soon())));
  std::string got(5, '\0');
  EXPECT_TRUE(run_to_end(io_, pair_.server->read_exact(bytes_of(got), soon())));
  EXPECT_EQ(got, "hello");
  const std::vector<UniqueFd> received = pair_.server->take_received_fds();
  ASSERT_EQ(received.size(), 2u);
  ASSERT_EQ(::write(received[1].get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(read_end.get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
  EXPECT_TRUE(pair_.server->take_received_fds().empty());
}

int open_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

TEST_F(UnixStreamTest, KeepsABoundedNumberOfDescriptors) {
  const int null_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const UniqueFd null(null_fd);
  const std::vector<int> fds(Stream::kMaxFds, null_fd);
  const int before = open_descriptors();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(run_to_end(io_, pair_.client->write_with_fds("x", fds, soon())));
  }
  std::string got(3, '\0');
  EXPECT_TRUE(run_to_end(io_, pair_.server->read_exact(bytes_of(got), soon())));
  EXPECT_EQ(open_descriptors(), before + static_cast<int>(Stream::kMaxFds));
  EXPECT_EQ(pair_.server->take_received_fds().size(), Stream::kMaxFds);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(UnixStreamTest, KnowsThePeersUser) {
  const std::optional<UnixPeer> peer = pair_.server->unix_peer();
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->uid, ::getuid());
  EXPECT_EQ(peer->gid, ::getgid());
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(pair_.server->peer_address(), "unix");
}

TEST(TcpStream, RefusesDescriptors) {
  asio::io_context io;
  StreamPair pair = run_to_end(io, connect_pair(io.get_executor(), Kind::kPlain, nullptr, nullptr));
  const std::array<int, 1> fds{0};
  EXPECT_EQ(run_to_end(io, pair.client->write_with_fds("x", fds, soon())).error().code(),
            Errc::kInvalid);
  EXPECT_FALSE(pair.client->unix_peer());
  EXPECT_EQ(pair.server->peer_address().rfind("127.0.0.1:", 0), 0u);
}

}  // namespace
}  // namespace shoal::http
