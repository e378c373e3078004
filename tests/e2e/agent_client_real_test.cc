// core/agent_client against a real agent and a real tracker: what tests/core/agent_client assumes
// of an agent is what an agent does.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/agent_client/client.h"
#include "core/base/random.h"
#include "core/content/manifest.h"

namespace shoal::agent_client {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// Below the kernel's range for outgoing connections, one of which could take the port meanwhile.
std::uint16_t free_port() {
  for (;;) {
    auto port = static_cast<std::uint16_t>(10240 + random_u64() % 20000);
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return port;
  }
}

class Program {
 public:
  explicit Program(std::vector<std::string> words, const std::filesystem::path& log) {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(out, 1);
      ::dup2(out, 2);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Program() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "ended with " << status;
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

 private:
  pid_t pid_ = -1;
};

class RealAgent : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    suite_folder = std::filesystem::temp_directory_path() / ("shoal-real-" + random_hex(6));
    std::filesystem::create_directories(suite_folder);
    const std::string tracker = "127.0.0.1:" + std::to_string(free_port());
    const auto at = [](const char* name) { return (suite_folder / name).string(); };
    suite_tracker = std::make_unique<Program>(
        std::vector<std::string>{SHOAL_TRACKER, "--listen", tracker, "--admin-listen",
                                 "127.0.0.1:" + std::to_string(free_port()), "--data",
                                 at("tracker")},
        suite_folder / "tracker.log");
    suite_agent = std::make_unique<Program>(
        std::vector<std::string>{SHOAL_AGENT,
                                 "--insecure",
                                 "--tracker",
                                 "http://" + tracker,
                                 "--node-id",
                                 "n1",
                                 "--store",
                                 at("store"),
                                 "--runtime",
                                 at("runtime"),
                                 "--socket",
                                 at("sock"),
                                 "--lane-listen",
                                 "127.0.0.1:" + std::to_string(free_port()),
                                 "--admin-listen",
                                 "127.0.0.1:" + std::to_string(free_port()),
                                 "--mirror-listen",
                                 "off",
                                 "--free-space-floor",
                                 "0",
                                 "--replicas",
                                 "0"},
        suite_folder / "agent.log");
    for (int i = 0; i < 600; ++i) {
      Result<AgentStatus> status = client().status();
      if (status && status->tracker_connected) return;
      std::this_thread::sleep_for(milliseconds(50));
    }
    std::ifstream log(suite_folder / "agent.log");
    FAIL() << "the agent is not registered: "
           << std::string(std::istreambuf_iterator<char>(log), {});
  }
  static void TearDownTestSuite() {
    suite_agent.reset();
    suite_tracker.reset();
    std::error_code ignored;
    std::filesystem::remove_all(suite_folder, ignored);
  }

  static Client client() {
    Options options;
    options.socket = suite_folder / "sock";
    options.timeout = milliseconds(20'000);
    return Client(options);
  }
  static UniqueFd file(const std::string& name, const std::string& bytes) {
    std::ofstream(suite_folder / name, std::ios::binary) << bytes;
    return UniqueFd(::open((suite_folder / name).c_str(), O_RDONLY | O_CLOEXEC));
  }
  static IngestState ingest(Client& client, const std::string& name, const std::string& bytes,
                            IngestMode mode) {
    UniqueFd fd = file(name, bytes);
    Result<std::string> job = client.start_ingest(fd.get(), mode, suite_folder / name);
    EXPECT_TRUE(job) << job.error().str();
    Result<IngestState> state = client.ingest(*job, milliseconds(20'000));
    EXPECT_TRUE(state) << state.error().str();
    return *state;
  }
  // A published model of one file.
  static content::Digest publish(Client& client, const std::string& reference,
                                 const std::string& bytes) {
    IngestState state = ingest(client, "w.bin", bytes, IngestMode::kCopy);
    std::vector<content::ModelFile> files;
    files.push_back({*content::RelativePath::parse("w.bin"), state.digest, state.size,
                     state.pieces_root, std::string()});
    auto documents = content::make_model("m", std::move(files), std::nullopt);
    EXPECT_TRUE(documents) << documents.error().str();
    Result<content::Digest> manifest =
        client.publish({reference, documents->manifest_json, documents->config_json, {}});
    EXPECT_TRUE(manifest) << manifest.error().str();
    return *manifest;
  }

  inline static std::filesystem::path suite_folder;
  inline static std::unique_ptr<Program> suite_tracker;
  inline static std::unique_ptr<Program> suite_agent;
};

TEST_F(RealAgent, SaysWhoItIs) {
  Client client = this->client();
  Result<AgentStatus> status = client.status();
  ASSERT_TRUE(status) << status.error().str();
  EXPECT_EQ(status->node, "n1");
  EXPECT_FALSE(status->epoch.empty());
  EXPECT_TRUE(status->tracker_error.empty());
}

TEST_F(RealAgent, TakesFilesInAndGivesThemOut) {
  Client client = this->client();
  const std::string bytes(200'000, 'x');
  IngestState hashed = ingest(client, "a", bytes, IngestMode::kHash);
  EXPECT_EQ(hashed.phase, IngestState::Phase::kDone);
  EXPECT_EQ(hashed.digest, content::digest_of(bytes));
  EXPECT_EQ(hashed.how, "hash");
  EXPECT_EQ(client.open(hashed.digest).error().code(), Errc::kNotFound);

  IngestState copied = ingest(client, "a", bytes, IngestMode::kCopy);
  EXPECT_THAT(copied.how, ::testing::AnyOf("copy", "reflink"));
  Result<OpenedBlob> opened = client.open(copied.digest);
  ASSERT_TRUE(opened) << opened.error().str();
  EXPECT_EQ(opened->state, "complete");
  EXPECT_EQ(opened->size, bytes.size());
  std::string read(bytes.size(), '\0');
  EXPECT_EQ(::pread(opened->data.get(), read.data(), read.size(), 0),
            static_cast<ssize_t>(read.size()));
  EXPECT_EQ(read, bytes);
  EXPECT_EQ(::fcntl(opened->data.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(::fcntl(opened->ready.get(), F_GETFL) & O_ACCMODE, O_RDONLY);

  // It is open as long as the connection.
  auto blob_of = [&](Client& by) {
    Result<std::vector<BlobInfo>> blobs = by.blobs();
    EXPECT_TRUE(blobs) << blobs.error().str();
    for (const BlobInfo& blob : *blobs) {
      if (blob.digest == copied.digest) return blob;
    }
    ADD_FAILURE() << "not listed";
    return BlobInfo{};
  };
  EXPECT_TRUE(blob_of(client).opened);
  EXPECT_EQ(blob_of(client).bytes_have, bytes.size());
  EXPECT_EQ(ingest(client, "a", bytes, IngestMode::kCopy).how, "present");
}

TEST_F(RealAgent, AnIngestThatCannotBeSaysWhy) {
  Client client = this->client();
  UniqueFd folder(::open(suite_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Result<std::string> job = client.start_ingest(folder.get(), IngestMode::kCopy, suite_folder);
  ASSERT_TRUE(job) << job.error().str();
  Result<IngestState> state = client.ingest(*job, milliseconds(20'000));
  ASSERT_TRUE(state) << state.error().str();
  EXPECT_EQ(state->phase, IngestState::Phase::kFailed);
  ASSERT_TRUE(state->error);
  EXPECT_EQ(client.ingest("no such", milliseconds(0)).error().code(), Errc::kNotFound);
  EXPECT_EQ(client.cancel_ingest("no such").error().code(), Errc::kNotFound);
}

TEST_F(RealAgent, PublishesPullsPinsVerifiesAndExplains) {
  Client client = this->client();
  const std::string bytes(150'000, 'm');
  const content::Digest manifest = publish(client, "m/a:1", bytes);

  Result<PullStarted> started = client.start_pull("m/a:1", false, PullClass::kPrefetch);
  ASSERT_TRUE(started) << started.error().str();
  EXPECT_EQ(started->manifest, manifest);
  Result<PullProgress> pull = client.pull(started->pull, 0, milliseconds(1000));
  while (pull && pull->phase == PullProgress::Phase::kRunning) {
    pull = client.pull(started->pull, pull->version, milliseconds(20'000));
  }
  ASSERT_TRUE(pull) << pull.error().str();
  EXPECT_EQ(pull->phase, PullProgress::Phase::kComplete);
  EXPECT_EQ(pull->reference, "m/a:1");
  EXPECT_EQ(pull->bytes_done, pull->bytes_total);
  EXPECT_EQ(pull->bytes_local, pull->bytes_total) << "all of it was here";
  ASSERT_EQ(pull->files.size(), 1u);
  EXPECT_EQ(pull->files[0].path, "w.bin");
  EXPECT_EQ(client.start_pull("no/such:1", false, PullClass::kPrefetch).error().code(),
            Errc::kNotFound);
  EXPECT_EQ(client.pull("no such", 0, milliseconds(0)).error().code(), Errc::kNotFound);

  Result<std::vector<Pinned>> pinned = client.pin("m/a:1");
  ASSERT_TRUE(pinned) << pinned.error().str();
  ASSERT_EQ(pinned->size(), 1u);
  EXPECT_EQ(pinned->at(0).reference, "m/a:1");
  EXPECT_EQ(pinned->at(0).manifest, manifest);
  Result<GcResult> kept = client.gc(true, bytes.size());
  ASSERT_TRUE(kept) << kept.error().str();
  bool said = false;
  for (const GcResult::Kept& one : kept->kept) {
    said = said || (one.digest == manifest && one.reason == "pinned by m/a:1");
  }
  EXPECT_TRUE(said);
  pinned = client.unpin("m/a:1");
  ASSERT_TRUE(pinned) << pinned.error().str();
  EXPECT_TRUE(pinned->empty());
  EXPECT_EQ(client.pin("no/such:1").error().code(), Errc::kNotFound);

  Result<std::string> job = client.start_verify("m/a:1");
  ASSERT_TRUE(job) << job.error().str();
  Result<VerifyState> verified = client.verify(*job, milliseconds(20'000));
  ASSERT_TRUE(verified) << verified.error().str();
  EXPECT_EQ(verified->phase, VerifyState::Phase::kDone);
  EXPECT_EQ(verified->bytes_done, bytes.size());
  EXPECT_TRUE(verified->bad.empty());

  Result<Explanation> explained = client.explain("m/a:1");
  ASSERT_TRUE(explained) << explained.error().str();
  EXPECT_EQ(explained->manifest, manifest);
  ASSERT_EQ(explained->files.size(), 1u);
  EXPECT_EQ(explained->files[0].pieces_have, explained->files[0].pieces_total);
  EXPECT_EQ(client.explain("no/such:1").error().code(), Errc::kNotFound);
}

TEST_F(RealAgent, PublishRefusesWhatItHasNotRead) {
  Client client = this->client();
  std::vector<content::ModelFile> files;
  files.push_back({*content::RelativePath::parse("w.bin"), content::digest_of("never seen"), 10,
                   content::Hash32{}, std::string()});
  auto documents = content::make_model("m", std::move(files), std::nullopt);
  ASSERT_TRUE(documents) << documents.error().str();
  auto manifest = client.publish({"m/b:1", documents->manifest_json, documents->config_json, {}});
  ASSERT_FALSE(manifest);
  EXPECT_THAT(manifest.error().message(), HasSubstr("not ingested"));
}

TEST_F(RealAgent, GivesBackSoManyBytesAsAreAskedFor) {
  Client client = this->client();
  // Published, not pinned, and no copy has to stay (--replicas 0).
  for (char c : {'1', '2', '3'}) {
    publish(client, std::string("m/g:") + c, std::string(300'000, c));
  }
  Result<GcResult> dry = client.gc(true, 400'000);
  ASSERT_TRUE(dry) << dry.error().str();
  EXPECT_GE(dry->freed_bytes, 400'000u);
  EXPECT_FALSE(dry->evicted.empty());
  const std::uint64_t before = client.status()->store_used;
  Result<GcResult> freed = client.gc(false, 400'000);
  ASSERT_TRUE(freed) << freed.error().str();
  EXPECT_GE(freed->freed_bytes, 400'000u);
  EXPECT_EQ(client.status()->store_used, before - freed->freed_bytes);
  for (const content::Digest& digest : freed->evicted) {
    EXPECT_EQ(client.open(digest).error().code(), Errc::kNotFound);
  }
  EXPECT_GT(before - freed->freed_bytes, 0u) << "not everything went";
}

TEST_F(RealAgent, WantsOfReadersAreTaken) {
  Client client = this->client();
  IngestState state = ingest(client, "r", std::string(100'000, 'r'), IngestMode::kCopy);
  EXPECT_TRUE(client.want({state.digest, {{0, 10}}, milliseconds(100), WantClass::kFault}));
  EXPECT_EQ(
      client.want({content::digest_of("none"), {{0, 10}}, milliseconds(100), WantClass::kWindow})
          .error()
          .code(),
      Errc::kNotFound);
}

TEST_F(RealAgent, PassesOperatorsRequestsToTheTrackerAndNoOthers) {
  Client client = this->client();
  Result<RawAnswer> version = client.forward("GET", "/v1/version", "", milliseconds(0));
  ASSERT_TRUE(version) << version.error().str();
  EXPECT_EQ(version->status, 200);
  EXPECT_EQ(Json::parse(version->body)["program"], "shoal-tracker");
  Result<RawAnswer> nodes = client.forward("GET", "/v1/nodes", "", milliseconds(0));
  ASSERT_TRUE(nodes) << nodes.error().str();
  EXPECT_EQ(Json::parse(nodes->body)["nodes"][0]["node"], "n1");
  Result<RawAnswer> missing =
      client.forward("GET", "/v1/references?reference=no/such:1", "", milliseconds(0));
  ASSERT_TRUE(missing) << missing.error().str();
  EXPECT_EQ(missing->status, 404);
  Result<RawAnswer> denied =
      client.forward("POST", "/v1/nodes/n1/heartbeat", "{}", milliseconds(0));
  ASSERT_TRUE(denied) << denied.error().str();
  EXPECT_EQ(denied->status, 403);
}

}  // namespace
}  // namespace shoal::agent_client
