#include "core/http/tls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <string>
#include <thread>

#include "core/http/openssl.h"
#include "tests/core/http/stream_pair.h"

namespace shoal::http {
namespace {

using std::chrono::hours;

Validity between(hours from, hours to) {
  const auto now = std::chrono::system_clock::now();
  return {now + from, now + to};
}

// What both ends of a handshake, and of a first byte each way, came to.
struct Meeting {
  Status server;
  Status client;
};

Task<Status> greet(Result<std::unique_ptr<Stream>>* stream) {
  if (!*stream) co_return fail(stream->error());
  Status sent = co_await (**stream)->write_all("x", soon());
  if (!sent) co_return sent;
  std::byte byte;
  Status read = co_await (**stream)->read_exact({&byte, 1}, soon());
  co_return read;
}

Task<void> serve_one(Executor executor, UniqueFd socket, std::shared_ptr<TlsContext> tls,
                     Status* out) {
  Result<std::unique_ptr<Stream>> stream =
      co_await Stream::accept_tls(executor, std::move(socket), std::move(tls), soon());
  *out = co_await greet(&stream);
}

Task<Meeting> meet(Executor executor, std::shared_ptr<TlsContext> server,
                   std::shared_ptr<TlsContext> client, ExpectedPeer expected) {
  Meeting meeting;
  auto listener = Listener::open(executor, any_port()).value();
  UniqueFd dialled = (co_await connect_socket(executor, listener->local(), soon())).value();
  UniqueFd accepted = (co_await listener->accept()).value();
  TaskGroup group(executor, "meet");
  group.spawn("server", serve_one(executor, std::move(accepted), server, &meeting.server));
  {
    Result<std::unique_ptr<Stream>> stream = co_await Stream::connect_tls(
        executor, std::move(dialled), client, std::move(expected), soon());
    meeting.client = co_await greet(&stream);
  }
  co_await group.join();
  co_return meeting;
}

class TlsTest : public testing::Test {
 protected:
  Meeting run(const std::shared_ptr<TlsContext>& server, const std::shared_ptr<TlsContext>& client,
              ExpectedPeer expected = ExpectedPeer::member()) {
    return run_to_end(io_, meet(io_.get_executor(), server, client, std::move(expected)));
  }

  TestCa ca_;
  TempDir dir_;
  asio::io_context io_;
};

TEST_F(TlsTest, MembersOfOneClusterMeetAndKnowEachOther) {
  const StreamPair pair =
      run_to_end(io_, connect_pair(io_.get_executor(), Kind::kTls, ca_.context(tracker_identity()),
                                   ca_.context(node_identity("gpu-17"))));
  EXPECT_EQ(pair.client->peer_identity(), tracker_identity());
  EXPECT_EQ(pair.server->peer_identity(), node_identity("gpu-17"));
  EXPECT_TRUE(pair.client->is_tls());
}

TEST_F(TlsTest, AForeignClientIsRefusedAndBothSidesSayWhy) {
  const TestCa foreign("foreign CA");
  const Meeting meeting = run(ca_.context(tracker_identity()), [&] {
    // Trusts the server, but shows a certificate the server does not trust.
    const TlsFiles files = foreign.write(dir_, "f", foreign.issue(node_identity("evil")));
    dir_.write("f.ca", foreign.ca().certificate + ca_.ca().certificate);
    return TlsContext::load(files).value();
  }());
  EXPECT_EQ(meeting.server.error().code(), Errc::kDenied) << meeting.server.error().str();
  EXPECT_NE(meeting.server.error().message().find("unable to get local issuer"), std::string::npos)
      << meeting.server.error().str();
  EXPECT_EQ(meeting.client.error().code(), Errc::kDenied) << meeting.client.error().str();
  EXPECT_NE(meeting.client.error().message().find("our certificate was refused"), std::string::npos)
      << meeting.client.error().str();
}

TEST_F(TlsTest, AForeignServerIsRefused) {
  const TestCa foreign("foreign CA");
  const Meeting meeting =
      run(foreign.context(tracker_identity()), ca_.context(node_identity("gpu-17")));
  EXPECT_EQ(meeting.client.error().code(), Errc::kDenied) << meeting.client.error().str();
  EXPECT_EQ(meeting.server.error().code(), Errc::kDenied) << meeting.server.error().str();
}

TEST_F(TlsTest, AnotherIdentityThanExpectedIsRefused) {
  const auto node = ca_.context(node_identity("gpu-1"), {"127.0.0.1", "localhost"});
  const auto tracker = ca_.context(tracker_identity());
  const auto bare = ca_.context(Identity{}, {"tracker.example", "127.0.0.1"});
  const auto client = ca_.context(node_identity("gpu-17"));
  EXPECT_TRUE(run(node, client, ExpectedPeer::node_id("gpu-1")).client);
  EXPECT_EQ(run(node, client, ExpectedPeer::node_id("gpu-2")).client.error().code(), Errc::kDenied);
  EXPECT_TRUE(run(tracker, client, ExpectedPeer::tracker("anything")).client);
  EXPECT_EQ(run(tracker, client, ExpectedPeer::node_id("gpu-1")).client.error().code(),
            Errc::kDenied);
  // A node's own names do not make it the tracker; names in a certificate without identity do.
  EXPECT_EQ(run(node, client, ExpectedPeer::tracker("127.0.0.1")).client.error().code(),
            Errc::kDenied);
  EXPECT_TRUE(run(bare, client, ExpectedPeer::tracker("127.0.0.1")).client);
  EXPECT_TRUE(run(bare, client, ExpectedPeer::tracker("tracker.example")).client);
  EXPECT_EQ(run(bare, client, ExpectedPeer::tracker("other.example")).client.error().code(),
            Errc::kDenied);
  EXPECT_EQ(run(bare, client, ExpectedPeer::node_id("gpu-1")).client.error().code(), Errc::kDenied);
}

// A client made of bare OpenSSL and blocking calls, to do what TlsContext refuses to.
void bare_client(Endpoint endpoint, std::string certificate, std::string key, int max_version) {
  std::unique_ptr<SSL_CTX, OpensslDeleter<SSL_CTX_free>> context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_max_proto_version(context.get(), max_version);
  if (!certificate.empty()) {
    const BioPtr certificate_bio = memory_bio(certificate);
    const X509Ptr own(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
    const BioPtr key_bio = memory_bio(key);
    const PkeyPtr own_key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    ASSERT_EQ(SSL_CTX_use_certificate(context.get(), own.get()), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey(context.get(), own_key.get()), 1);
  }
  asio::io_context io;
  const UniqueFd fd = run_to_end(io, connect_socket(io.get_executor(), endpoint, soon())).value();
  const int flags = ::fcntl(fd.get(), F_GETFL);
  ASSERT_EQ(::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK), 0);
  const SslPtr ssl(SSL_new(context.get()));
  SSL_set_fd(ssl.get(), fd.get());
  char byte;
  if (SSL_connect(ssl.get()) == 1) static_cast<void>(SSL_read(ssl.get(), &byte, 1));
}

Status accept_from_bare_client(asio::io_context& io, std::shared_ptr<TlsContext> server,
                               CertifiedKey pair, int max_version = TLS1_3_VERSION) {
  struct Steps {
    static Task<Status> accept(Executor executor, Listener* listener,
                               std::shared_ptr<TlsContext> tls) {
      UniqueFd socket = (co_await listener->accept()).value();
      Result<std::unique_ptr<Stream>> stream =
          co_await Stream::accept_tls(executor, std::move(socket), tls, soon());
      if (!stream) co_return fail(stream.error());
      co_return Status();
    }
  };
  auto listener = Listener::open(io.get_executor(), any_port()).value();
  std::thread client(bare_client, listener->local(), pair.certificate, pair.key, max_version);
  Status accepted =
      run_to_end(io, Steps::accept(io.get_executor(), listener.get(), std::move(server)));
  listener.reset();
  client.join();
  return accepted;
}

TEST_F(TlsTest, ExpiredFutureAndMissingClientCertificatesAreRefused) {
  const auto server = ca_.context(tracker_identity());
  const auto refusal = [&](CertifiedKey pair) {
    const Status accepted = accept_from_bare_client(io_, server, std::move(pair));
    EXPECT_FALSE(accepted);
    if (accepted) return std::string();
    EXPECT_EQ(accepted.error().code(), Errc::kDenied);
    return accepted.error().message();
  };
  EXPECT_TRUE(accept_from_bare_client(io_, server, ca_.issue(node_identity("n"))));
  EXPECT_NE(
      refusal(ca_.issue(node_identity("n"), {}, between(hours(-48), hours(-24)))).find("expired"),
      std::string::npos);
  EXPECT_NE(refusal(ca_.issue(node_identity("n"), {}, between(hours(24), hours(48))))
                .find("not yet valid"),
            std::string::npos);
  EXPECT_NE(refusal(CertifiedKey{}).find("no certificate"), std::string::npos);
}

TEST_F(TlsTest, OlderVersionsAreRefused) {
  const Status accepted = accept_from_bare_client(io_, ca_.context(tracker_identity()),
                                                  ca_.issue(node_identity("n")), TLS1_2_VERSION);
  EXPECT_EQ(accepted.error().code(), Errc::kCorrupt) << accepted.error().str();
}

TEST_F(TlsTest, GarbageIsCorruptAndSilenceTimesOut) {
  struct Steps {
    static Task<Status> accept(Executor executor, std::shared_ptr<TlsContext> tls, std::string said,
                               Deadline deadline) {
      auto listener = Listener::open(executor, any_port()).value();
      UniqueFd dialled = (co_await connect_socket(executor, listener->local(), soon())).value();
      auto stranger = Stream::plain(executor, std::move(dialled)).value();
      if (!said.empty()) {
        EXPECT_TRUE(co_await stranger->write_all(said, soon()));
      }
      UniqueFd accepted = (co_await listener->accept()).value();
      Result<std::unique_ptr<Stream>> stream =
          co_await Stream::accept_tls(executor, std::move(accepted), tls, deadline);
      if (!stream) co_return fail(stream.error());
      co_return Status();
    }
  };
  const auto server = ca_.context(tracker_identity());
  EXPECT_EQ(
      run_to_end(io_, Steps::accept(io_.get_executor(), server, "GET / HTTP/1.1\r\n\r\n", soon()))
          .error()
          .code(),
      Errc::kCorrupt);
  EXPECT_EQ(
      run_to_end(io_, Steps::accept(io_.get_executor(), server, "", short_time())).error().code(),
      Errc::kTimedOut);
}

TEST_F(TlsTest, LoadNamesTheFileAndTheReason) {
  const auto load_error = [&](const TlsFiles& files) {
    Result<std::shared_ptr<TlsContext>> context = TlsContext::load(files);
    EXPECT_FALSE(context);
    return context ? Error(Errc::kInternal, "loaded") : context.error();
  };
  const auto expect = [&](const TlsFiles& files, Errc code, const std::string& file,
                          const std::string& reason) {
    const Error error = load_error(files);
    EXPECT_EQ(error.code(), code) << error.str();
    EXPECT_NE(error.message().find(file), std::string::npos) << error.str();
    EXPECT_NE(error.message().find(reason), std::string::npos) << error.str();
  };
  const CertifiedKey good = ca_.issue(node_identity("n"));
  const TlsFiles files = ca_.write(dir_, "n", good);
  EXPECT_TRUE(TlsContext::load(files));

  TlsFiles bad = files;
  bad.key = dir_.file("none.key");
  expect(bad, Errc::kNotFound, "none.key", "No such file");
  bad.key = dir_.write("other.key", ca_.issue(node_identity("o")).key);
  expect(bad, Errc::kInvalid, "other.key", "does not belong");
  bad.key = dir_.write("garbage.key", "garbage");
  expect(bad, Errc::kInvalid, "garbage.key", "private key");
  bad = files;
  bad.certificate = dir_.write("garbage.crt", "garbage");
  expect(bad, Errc::kInvalid, "garbage.crt", "no PEM certificate");
  bad.certificate =
      dir_.write("broken.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  expect(bad, Errc::kInvalid, "broken.crt", "bad certificate");
  bad = files;
  bad.ca = dir_.write("foreign.ca", TestCa("foreign").ca().certificate);
  expect(bad, Errc::kInvalid, "n.crt", "not signed by the CA");
  bad.ca = dir_.write("empty.ca", "");
  expect(bad, Errc::kInvalid, "empty.ca", "no PEM certificate");
  expect(ca_.write(dir_, "old", ca_.issue(node_identity("n"), {}, between(hours(-48), hours(-24)))),
         Errc::kInvalid, "old.crt", "expired on");
  expect(ca_.write(dir_, "new", ca_.issue(node_identity("n"), {}, between(hours(24), hours(48)))),
         Errc::kInvalid, "new.crt", "not valid before");
}

TEST_F(TlsTest, ReloadServesNewConnectionsAndKeepsOldOnes) {
  TlsFiles files = ca_.write(dir_, "n", ca_.issue(node_identity("first")));
  const auto server = TlsContext::load(files).value();
  const auto client = ca_.context(node_identity("client"));
  EXPECT_EQ(server->reload_if_changed(), false);
  StreamPair old = run_to_end(io_, connect_pair(io_.get_executor(), Kind::kTls, server, client));

  ca_.write(dir_, "n", ca_.issue(node_identity("second"), {}, between(hours(-1), hours(2))));
  EXPECT_EQ(server->reload_if_changed(), true);
  EXPECT_EQ(server->identity(), node_identity("second"));
  EXPECT_LT(server->expires(), std::chrono::system_clock::now() + hours(3));
  EXPECT_TRUE(run(server, client, ExpectedPeer::node_id("second")).client);

  EXPECT_TRUE(run_to_end(io_, old.server->write_all("x", soon())));
  std::byte byte;
  EXPECT_TRUE(run_to_end(io_, old.client->read_exact({&byte, 1}, soon())));

  dir_.write("n.crt", "half a certifi");
  EXPECT_EQ(server->reload_if_changed().error().code(), Errc::kInvalid);
  EXPECT_EQ(server->reload_if_changed(), false);
  EXPECT_EQ(server->identity(), node_identity("second"));
  EXPECT_TRUE(run(server, client, ExpectedPeer::node_id("second")).client);
}

TEST_F(TlsTest, StopEndsAHandshake) {
  struct Steps {
    static Task<Status> shake(Executor executor, std::shared_ptr<TlsContext> tls,
                              std::stop_token stop) {
      auto listener = Listener::open(executor, any_port()).value();
      Result<std::unique_ptr<Stream>> stream = co_await connect_stream(
          executor, listener->local(), tls, ExpectedPeer::member(), Deadline::never(), stop);
      if (!stream) co_return fail(stream.error());
      co_return Status();
    }
    static Task<void> stop_later(Event* never, std::stop_source* source) {
      co_await sleep_until(short_time(), never);
      source->request_stop();
    }
  };
  std::stop_source source;
  Event never(io_.get_executor());
  TaskGroup group(io_.get_executor(), "test");
  group.spawn("stop", Steps::stop_later(&never, &source));
  const Status shaken = run_to_end(
      io_, Steps::shake(io_.get_executor(), ca_.context(node_identity("n")), source.get_token()));
  EXPECT_EQ(shaken.error().code(), Errc::kCancelled);
  run_to_end(io_, group.join());
}

TEST(Certificate, RefusesBadInput) {
  const TestCa ca;
  const Validity day = Validity::for_next(hours(24));
  EXPECT_FALSE(make_ca("", day));
  EXPECT_FALSE(make_ca(std::string(65, 'x'), day));
  EXPECT_FALSE(make_ca("x", between(hours(2), hours(1))));
  EXPECT_FALSE(issue_certificate(ca.ca(), node_identity("../x"), {}, day));
  EXPECT_FALSE(issue_certificate(ca.ca(), Identity{}, {}, day));
  EXPECT_FALSE(issue_certificate(ca.ca(), node_identity("x"), {"a,URI:shoal://tracker"}, day));
  EXPECT_FALSE(issue_certificate(ca.ca(), node_identity("x"), {"a:b"}, day));
  EXPECT_FALSE(issue_certificate({"garbage", "garbage"}, node_identity("x"), {}, day));
  EXPECT_FALSE(issue_certificate(ca.issue(node_identity("n")), node_identity("x"), {}, day));
  EXPECT_FALSE(
      issue_certificate({ca.ca().certificate, TestCa().ca().key}, node_identity("x"), {}, day));
  EXPECT_TRUE(
      issue_certificate(ca.ca(), node_identity("x"), {"h.example", "10.0.0.1", "fe80::1"}, day));
}

}  // namespace
}  // namespace shoal::http
