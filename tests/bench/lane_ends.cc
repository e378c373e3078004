// The lane's two ends as programs, through the classes that the agent uses: the store, LaneServer
// and LaneClient.
//
//   lane_ends prepare --root DIR --size BYTES          a store with one blob of random bytes;
//   prints
//                                                      {"table":FILE,"data":FILE}
//   lane_ends certs --dir DIR                          node certificates "server" and "asker"
//   lane_ends serve --root DIR --port P [--threads N] [--certs DIR]     until SIGTERM
//   lane_ends fetch --root DIR --port P --table FILE [--threads N] [--certs DIR]
//                                                      prints {"seconds":S,"cpu":C}
#include "core/async/task.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>

#include "agent/blob_cache.h"
#include "agent/lane/lane_client.h"
#include "agent/lane/lane_server.h"
#include "agent/lane/lane_threads.h"
#include "agent/lane/upload_gate.h"
#include "core/async/blocking_pool.h"
#include "core/async/io_thread.h"
#include "core/base/random.h"
#include "core/content/piece_hasher.h"
#include "core/content/piece_table.h"
#include "core/http/certificate.h"
#include "core/http/tls.h"
#include "core/store/blob_store.h"
#include "tests/bench/arguments.h"

namespace shoal::bench {
namespace {

namespace fs = std::filesystem;

template <typename T>
T must(Result<T> result, const char* what) {
  if (!result) give_up(std::string(what) + ": " + result.error().str());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

std::unique_ptr<store::BlobStore> open_store(const fs::path& root) {
  fs::create_directories(root);
  store::StoreConfig config;
  config.store_directory = (root / "store").string();
  config.runtime_directory = (root / "runtime").string();
  config.limits.free_space_floor = 0;
  return must(store::BlobStore::open(std::move(config), store::real_file_system()), "store");
}

void write_file(const fs::path& path, const void* data, std::size_t size) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size)).flush()) {
    give_up(path.string() + ": cannot be written");
  }
}

// Random bytes, `at` being a multiple of a leaf.
void fill(std::span<std::byte> bytes, std::uint64_t at) {
  SeededRandom random(at + 1);
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t number = random.next();
    std::memcpy(bytes.data() + i, &number, std::min(sizeof number, bytes.size() - i));
  }
}

void prepare(const Arguments& arguments) {
  const fs::path root = arguments.get("root");
  const content::BlobLayout layout =
      must(content::BlobLayout::of_size(arguments.number("size")), "size");
  // Any name will do: the pieces are what is verified.
  const content::Digest digest = content::digest_of("benchmark " + arguments.get("size"));
  std::vector<std::byte> piece(layout.piece_length());
  std::vector<content::Hash32> hashes;
  for (content::PieceIndex index : layout.all_pieces()) {
    auto bytes = std::span(piece).first(layout.piece_size(index));
    fill(bytes, layout.offset_of(index));
    hashes.push_back(content::piece_hash(layout, index, bytes));
  }
  auto table = must(content::PieceTable::make(digest, layout, std::move(hashes)), "table");
  auto opened = open_store(root);
  auto blob = must(opened->create(table, store::Reservation::kFull), "blob");
  for (content::PieceIndex index : layout.all_pieces()) {
    auto bytes = std::span(piece).first(layout.piece_size(index));
    fill(bytes, layout.offset_of(index));
    must(blob->commit(index, bytes), "commit");
  }
  must(opened->close(), "closing the store");
  std::vector<std::byte> serialised = table.serialise();
  write_file(root / "table", serialised.data(), serialised.size());
  std::string hex = digest.hex();
  std::printf("{\"table\":\"%s\",\"data\":\"%s\"}\n", (root / "table").c_str(),
              (root / "store" / "blobs" / "sha256" / hex.substr(0, 2) / hex / "data").c_str());
}

void write_certificates(const Arguments& arguments) {
  const fs::path dir = arguments.get("dir");
  auto validity = http::Validity::for_next(std::chrono::hours(24));
  auto ca = must(http::make_ca("benchmark", validity), "CA");
  write_file(dir / "ca.crt", ca.certificate.data(), ca.certificate.size());
  for (const char* node : {"server", "asker"}) {
    auto pair =
        must(http::issue_certificate(ca, http::node_identity(node), {"127.0.0.1"}, validity), node);
    write_file(dir / (std::string(node) + ".crt"), pair.certificate.data(),
               pair.certificate.size());
    write_file(dir / (std::string(node) + ".key"), pair.key.data(), pair.key.size());
  }
}

std::shared_ptr<http::TlsContext> tls_of(const Arguments& arguments, const std::string& node) {
  if (!arguments.has("certs")) return nullptr;
  std::string stem = arguments.get("certs") + "/";
  return must(http::TlsContext::load({stem + node + ".crt", stem + node + ".key", stem + "ca.crt"}),
              "certificates");
}

std::size_t threads_of(const Arguments& arguments) {
  return arguments.has("threads") ? arguments.number("threads") : 1;
}

class NoHaves final : public agent::LaneBackend {
 public:
  Task<http::Response> have(http::Request) override { return nothing(); }

 private:
  static Task<http::Response> nothing() { co_return http::Response{}; }
};

Task<Status> start(agent::LaneServer* server) { co_return server->start(); }

void serve(const Arguments& arguments) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // inherited by all threads

  auto opened = open_store(arguments.get("root"));
  agent::BlobCache cache(*opened);
  agent::UploadGate gate(Rate(), {});
  BlockingPool pool("disk", 4, 1024);
  NoHaves backend;
  agent::LaneThreads threads(threads_of(arguments));
  IoThread control("control");
  agent::LaneServer::Options options;
  options.listen.tcp = {"127.0.0.1", static_cast<std::uint16_t>(arguments.number("port"))};
  options.node = "server";
  options.epoch = "1";
  options.tls = tls_of(arguments, "server");
  auto server = std::make_unique<agent::LaneServer>(control.executor(), threads, cache, gate, pool,
                                                    backend, options);
  must(control.run(start(server.get())), "listening");
  int received = 0;
  sigwait(&ends, &received);
  control.run(server->stop());
  control.stop();
  threads.stop();
  server.reset();
  cache.clear();
  must(opened->close(), "closing the store");
}

// Counts transfers until the last one has ended.
class Countdown {
 public:
  explicit Countdown(std::size_t count) : left_(count) {}
  void ended(const agent::TransferEvent& event) {
    std::lock_guard lock(mutex_);
    if (event.outcome != swarm::Outcome::kFinished) failure_ = event.detail + " ";
    if (--left_ == 0 || !failure_.empty()) done_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return left_ == 0 || !failure_.empty(); });
    if (!failure_.empty()) give_up("transfer failed: " + failure_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::size_t left_;
  std::string failure_;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

void fetch(const Arguments& arguments) {
  std::ifstream file(arguments.get("table"), std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  auto table = must(content::PieceTable::parse(std::as_bytes(std::span(bytes))), "table");
  auto opened = open_store(arguments.get("root"));
  auto blob = must(opened->create(table, store::Reservation::kFull), "blob");
  const content::BlobLayout& layout = blob->layout();
  const auto pieces_per_request =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, 16 * kMiB / layout.piece_length()));
  const std::size_t count = (layout.piece_count() + pieces_per_request - 1) / pieces_per_request;
  Countdown countdown(count);
  agent::LaneThreads threads(threads_of(arguments));
  IoThread control("control");
  agent::LaneClient client(threads, {"asker", tls_of(arguments, "asker")},
                           [&](agent::TransferEvent event) {
                             if (event.kind == agent::TransferEvent::Kind::kEnded) {
                               countdown.ended(event);
                             }
                           });
  agent::PeerAddress peer{"server",
                          {"127.0.0.1", static_cast<std::uint16_t>(arguments.number("port"))}};
  double cpu_before = cpu_seconds();
  auto before = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < count; ++i) {
    auto first = static_cast<std::uint32_t>(i) * pieces_per_request;
    agent::Transfer transfer;
    transfer.id = swarm::RequestId(static_cast<std::uint32_t>(i));
    transfer.blob = blob;
    transfer.pieces = {content::PieceIndex(first),
                       std::min(pieces_per_request, layout.piece_count() - first)};
    client.fetch(std::move(transfer), peer);
  }
  countdown.wait();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  double cpu = cpu_seconds() - cpu_before;
  if (!blob->complete()) give_up("the blob is not complete");
  control.run(client.stop());
  control.stop();
  threads.stop();
  std::printf("{\"seconds\":%.6f,\"cpu\":%.6f}\n", seconds, cpu);
}

int run(int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "";
  Arguments arguments(std::vector<std::string>(argv + std::min(argc, 2), argv + argc));
  if (verb == "prepare") {
    prepare(arguments);
  } else if (verb == "certs") {
    write_certificates(arguments);
  } else if (verb == "serve") {
    serve(arguments);
  } else if (verb == "fetch") {
    fetch(arguments);
  } else {
    give_up("usage: lane_ends prepare|certs|serve|fetch --…");
  }
  return 0;
}

}  // namespace
}  // namespace shoal::bench

int main(int argc, char** argv) { return shoal::bench::run(argc, argv); }
