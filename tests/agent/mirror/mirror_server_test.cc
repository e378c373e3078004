#include "agent/mirror/mirror_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/async/event.h"
#include "core/async/io_thread.h"
#include "tests/agent/raw_client.h"
#include "tests/agent/temp_store.h"

namespace shoal::agent {
namespace {

using content::PieceIndex;
using std::chrono::milliseconds;

constexpr std::uint64_t kPiece = 64 * kKiB;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// One name with one tag and some blobs, which are in a store or not yet.
class FakeContent final : public MirrorContent {
 public:
  explicit FakeContent(Executor executor) : changed_(std::move(executor)) {}

  Task<Result<MirrorManifest>> manifest(content::Reference reference, bool head_only) override {
    if (away) co_return fail(Errc::kUnavailable, "the tracker is away");
    if (reference.name() != "org/m" || reference.tag() == nullptr || *reference.tag() != "v1") {
      co_return fail(Errc::kNotFound, "no such manifest");
    }
    MirrorManifest out{content::digest_of(manifest_text), "application/x-manifest",
                       manifest_text.size(), head_only ? "" : manifest_text};
    co_return out;
  }
  Task<Result<MirrorBlob>> blob(std::string name, content::Digest digest) override {
    auto it = blobs.find(digest);
    if (name != "org/m" || it == blobs.end()) co_return fail(Errc::kNotFound, "no such blob");
    co_return MirrorBlob{digest, it->second.size, std::nullopt, "application/x-blob"};
  }
  Task<Result<bool>> knows(std::string name) override { co_return name == "org/m"; }
  Task<Result<MirrorList>> tags(std::string name, OciPage page) override {
    if (name != "org/m") co_return fail(Errc::kNotFound, "");
    MirrorList out;
    if (page.n > 0) out.entries.push_back("v1");
    out.more = page.n == 1;
    co_return out;
  }
  Task<Result<MirrorList>> names(OciPage) override {
    MirrorList out;
    out.entries.push_back("org/m");
    co_return out;
  }

  ReaderId begin_reading(MirrorBlob blob, ByteRange range, std::string) override {
    std::lock_guard lock(mutex);
    readers[++last] = {blob.digest, range.offset};
    offsets.push_back(range.offset);
    return last;
  }
  Task<Result<std::shared_ptr<store::Blob>>> opened(ReaderId reader, Deadline deadline) override {
    for (;;) {
      const Known& known = blobs.at(readers.at(reader).first);
      if (known.error) co_return fail(*known.error);
      if (known.stored) co_return known.stored;
      Status woken = co_await changed_.wait(deadline);
      if (!woken) co_return fail(woken.error().code(), "waiting for its table");
    }
  }
  std::string advance(ReaderId, std::uint64_t offset) override {
    std::lock_guard lock(mutex);
    offsets.push_back(offset);
    changed.notify_all();
    return "a peer";
  }
  void end_reading(ReaderId reader) override {
    std::lock_guard lock(mutex);
    EXPECT_EQ(readers.erase(reader), 1u);
    changed.notify_all();
  }
  Task<void> stop() override {
    changed_.close();
    co_return;
  }

  bool wait_until(const std::function<bool()>& holds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(30), holds);
  }
  bool wait_for_readers(std::size_t count) {
    return wait_until([&] { return readers.size() == count; });
  }

  struct Known {
    std::uint64_t size = 0;
    std::shared_ptr<store::Blob> stored;
    std::optional<Error> error;
  };
  std::map<content::Digest, Known> blobs;  // set before, or on the control thread
  std::string manifest_text = "a manifest";
  bool away = false;

  std::mutex mutex;
  std::condition_variable changed;
  std::map<ReaderId, std::pair<content::Digest, std::uint64_t>> readers;  // guarded by mutex
  std::vector<std::uint64_t> offsets;                                     // guarded by mutex
  ReaderId last = 0;

 private:
  Condition changed_;
};

class MirrorServerTest : public ::testing::Test {
 protected:
  MirrorServerTest()
      : blob_(make_blob(20 * kPiece + 100, test_seed())),
        pool_("test", 2, 100),
        control_("control"),
        thread_("mirror"),
        content_(control_.executor()) {}
  ~MirrorServerTest() override { stop(); }

  void start(milliseconds stall = std::chrono::minutes(1), std::size_t max_readers = 256) {
    MirrorServer::Options options;
    options.listen.tcp = {"127.0.0.1", 0};
    options.names = {"models.example.org"};
    options.stall = stall;
    options.max_readers = max_readers;
    options.look = milliseconds(10);
    server_ = std::make_unique<MirrorServer>(thread_.executor(), control_.executor(), content_,
                                             pool_, std::move(options));
    ASSERT_TRUE(thread_.run(server_->start()));
  }
  void stop() {
    if (std::exchange(stopped_, true)) return;
    if (server_) thread_.run(server_->stop(Deadline::after(std::chrono::seconds(10))));
    control_.run(content_.stop());
    thread_.stop();
    control_.stop();
    pool_.stop();
  }

  void have(std::shared_ptr<store::Blob> stored) {
    stored_ = stored;
    content_.blobs[blob_.table.digest()] = {blob_.bytes.size(), std::move(stored), std::nullopt};
  }
  void commit(std::uint32_t first, std::uint32_t count) {
    content::PieceRange pieces{PieceIndex(first), count};
    ASSERT_TRUE(stored_->commit(pieces.first, blob_.range(blob_.layout().range_of(pieces))));
    server_->pieces_ready();
  }
  RawClient client() const { return RawClient(server_->local().tcp.port); }
  std::string path() const { return "/v2/org/m/blobs/" + blob_.table.digest().str(); }

  TempStore store_;
  TestBlob blob_;
  BlockingPool pool_;
  IoThread control_;
  IoThread thread_;
  FakeContent content_;
  std::shared_ptr<store::Blob> stored_;
  std::unique_ptr<MirrorServer> server_;
  bool stopped_ = false;
};

TEST_F(MirrorServerTest, SendsWhatIsHere) {
  have(store_.full(blob_));
  start();
  RawClient asks = client();
  RawAnswer whole = asks.get(path());
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, text_of(blob_.bytes));
  EXPECT_EQ(whole.header("Docker-Content-Digest"), blob_.table.digest().str());
  EXPECT_EQ(whole.header("Content-Type"), "application/x-blob");
  RawAnswer part = asks.get(path(), "Range: bytes=65530-131080\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, text_of(blob_.range({65'530, 65'551})));
  EXPECT_EQ(asks.get(path(), "Range: bytes=99999999-\r\n").status, 416);
  asks.send("HEAD " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  RawAnswer head = asks.read(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("Content-Length"), std::to_string(blob_.bytes.size()));
  EXPECT_EQ(asks.get("/v2/").status, 200);
  EXPECT_EQ(asks.get("/v2").status, 200);
  EXPECT_TRUE(content_.wait_for_readers(0));
}

TEST_F(MirrorServerTest, AnswersManifestsListsAndErrorsAsTheSpecSays) {
  have(store_.full(blob_));
  start();
  RawClient asks = client();
  RawAnswer manifest = asks.get("/v2/org/m/manifests/v1");
  EXPECT_EQ(manifest.status, 200);
  EXPECT_EQ(manifest.body, "a manifest");
  const std::string etag = manifest.header("ETag");
  EXPECT_EQ(asks.get("/v2/org/m/manifests/v1", "If-None-Match: " + etag + "\r\n").status, 304);
  EXPECT_EQ(asks.get("/v2/org/m/manifests/v1", "Range: bytes=0-1\r\n").body, "a manifest");
  asks.send("HEAD /v2/org/m/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(asks.read(false).header("Content-Length"), "10");
  EXPECT_EQ(asks.get("/v2/org/m/tags/list?n=1").header("Link"),
            "</v2/org/m/tags/list?last=v1&n=1>; rel=\"next\"");
  EXPECT_EQ(asks.get("/v2/_catalog").body, R"({"repositories":["org/m"]})");
  EXPECT_EQ(asks.get("/v2/org/m/manifests/v1?ns=models.example.org").status, 200);

  const std::string nothing = content::digest_of(std::string_view("nothing")).str();
  const std::vector<std::tuple<std::string, int, std::string>> errors = {
      {"/v2/org/m/manifests/v2", 404, "MANIFEST_UNKNOWN"},
      {"/v2/org/x/manifests/v1", 404, "NAME_UNKNOWN"},
      {"/v2/org/m/blobs/" + nothing, 404, "BLOB_UNKNOWN"},
      {"/v2/org/x/blobs/" + nothing, 404, "NAME_UNKNOWN"},
      {"/v2/org/x/tags/list", 404, "NAME_UNKNOWN"},
      {"/v2/org/x/referrers/" + nothing, 404, "NAME_UNKNOWN"},
      {"/v2/org/m/tags/list?n=x", 400, "UNSUPPORTED"},
      {"/v2/library/busybox/manifests/latest?ns=docker.io", 404, "NAME_UNKNOWN"},
  };
  for (const auto& [target, status, code] : errors) {
    RawAnswer answer = asks.get(target);
    EXPECT_EQ(answer.status, status) << target;
    EXPECT_NE(answer.body.find("\"code\":\"" + code + "\""), std::string::npos) << answer.body;
  }
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    asks.send(std::string(method) +
              " /v2/org/m/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    RawAnswer answer = asks.read();
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_EQ(answer.header("Allow"), "GET, HEAD");
    EXPECT_NE(answer.body.find("UNSUPPORTED"), std::string::npos);
  }
  content_.away = true;
  RawAnswer away = asks.get("/v2/org/m/manifests/v1");
  EXPECT_EQ(away.status, 503);
  EXPECT_NE(away.body.find("the tracker is away"), std::string::npos);
}

TEST_F(MirrorServerTest, SendsPiecesWhileTheRestArrives) {
  have(store_.with(blob_, {PieceIndex(0), 2}));
  start();
  RawClient asks = client();
  asks.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  RawAnswer head = asks.read(false);
  EXPECT_EQ(head.status, 200);
  // It waits behind what it has, and says so.
  EXPECT_TRUE(content_.wait_until([&] { return content_.offsets.back() == 2 * kPiece; }));
  commit(10, 5);  // not next
  commit(2, 1);
  EXPECT_TRUE(content_.wait_until([&] { return content_.offsets.back() == 3 * kPiece; }));
  commit(3, 7);
  EXPECT_TRUE(content_.wait_until([&] { return content_.offsets.back() == 15 * kPiece; }));
  commit(15, 6);
  // The head was read already: what follows is the body.
  asks.send("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
  std::string all = asks.take(blob_.bytes.size());
  EXPECT_EQ(all, text_of(blob_.bytes));
  EXPECT_EQ(asks.read().status, 200);
}

TEST_F(MirrorServerTest, WithoutAByteInTimeTheAnswerIsAnError) {
  have(store_.empty(blob_));
  start(milliseconds(50));
  RawAnswer answer = client().get(path());
  EXPECT_EQ(answer.status, 504);
  EXPECT_NE(answer.body.find("no verified byte"), std::string::npos);
  EXPECT_NE(answer.body.find("waiting for a peer"), std::string::npos);
  EXPECT_FALSE(answer.header("Retry-After").empty());
  EXPECT_TRUE(content_.wait_for_readers(0));
}

TEST_F(MirrorServerTest, WithoutATableInTimeTheAnswerIsAnError) {
  content_.blobs[blob_.table.digest()] = {blob_.bytes.size(), nullptr, std::nullopt};
  start(milliseconds(50));
  RawAnswer answer = client().get(path());
  EXPECT_EQ(answer.status, 504);
  EXPECT_NE(answer.body.find("waiting for its table"), std::string::npos);
  content_.blobs[blob_.table.digest()].error = Error(Errc::kNoSpace, "the disk is full");
  EXPECT_EQ(client().get(path()).status, 507);
}

TEST_F(MirrorServerTest, ABodyThatStallsEndsShort) {
  have(store_.with(blob_, {PieceIndex(0), 3}));
  start(milliseconds(50));
  RawClient asks = client();
  asks.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(asks.read(false).status, 200);
  EXPECT_EQ(asks.rest(), text_of(blob_.range({0, 3 * kPiece})));
  EXPECT_TRUE(content_.wait_for_readers(0));
}

TEST_F(MirrorServerTest, ABlobThatIsWithdrawnEndsItsBodies) {
  have(store_.with(blob_, {PieceIndex(0), 3}));
  start();
  RawClient asks = client();
  asks.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(asks.read(false).status, 200);
  EXPECT_TRUE(content_.wait_until([&] { return content_.offsets.back() == 3 * kPiece; }));
  stored_->withdraw("it lies");
  server_->pieces_ready();
  EXPECT_EQ(asks.rest(), text_of(blob_.range({0, 3 * kPiece})));
}

TEST_F(MirrorServerTest, AClientThatLeavesEndsItsDemand) {
  have(store_.with(blob_, {PieceIndex(0), 1}));
  start();
  {
    RawClient in_body = client(), before_head = client();
    in_body.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
    before_head.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\nRange: bytes=70000-\r\n\r\n");
    EXPECT_EQ(in_body.read(false).status, 200);
    EXPECT_TRUE(content_.wait_for_readers(2));
  }
  EXPECT_TRUE(content_.wait_for_readers(0));
}

TEST_F(MirrorServerTest, TooManyReadersAreToldToComeLater) {
  have(store_.with(blob_, {PieceIndex(0), 1}));
  start(std::chrono::minutes(1), 1);
  RawClient first = client();
  first.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(first.read(false).status, 200);
  RawClient second = client();
  RawAnswer refused = second.get(path());
  EXPECT_EQ(refused.status, 429);
  EXPECT_NE(refused.body.find("TOOMANYREQUESTS"), std::string::npos);
  EXPECT_FALSE(refused.header("Retry-After").empty());
  EXPECT_EQ(second.get("/v2/org/m/manifests/v1").status, 200);
}

TEST_F(MirrorServerTest, StoppingEndsWhatWaits) {
  have(store_.with(blob_, {PieceIndex(0), 1}));
  start();
  RawClient in_body = client(), before_head = client();
  in_body.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\n\r\n");
  before_head.send("GET " + path() + " HTTP/1.1\r\nHost: x\r\nRange: bytes=70000-\r\n\r\n");
  EXPECT_EQ(in_body.read(false).status, 200);
  EXPECT_TRUE(content_.wait_for_readers(2));
  stop();
  EXPECT_LT(in_body.rest().size(), blob_.bytes.size());
  EXPECT_TRUE(content_.readers.empty());
}

}  // namespace
}  // namespace shoal::agent
