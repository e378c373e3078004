// The agent's session with a stock libtorrent client at the other end, on loopback.
#include "agent/bittorrent/session.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <libtorrent/add_torrent_params.hpp>
#include <libtorrent/alert_types.hpp>
#include <libtorrent/load_torrent.hpp>
#include <libtorrent/magnet_uri.hpp>
#include <libtorrent/posix_disk_io.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/session_params.hpp>
#include <libtorrent/torrent_info.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/async/io_thread.h"
#include "tests/agent/bittorrent/seeded_model.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::agent::bittorrent {
namespace {

using content::TruncatedInfoHash;

constexpr std::chrono::seconds kPatience{60};

// Somebody's BitTorrent client, which downloads one torrent.
class Client {
 public:
  // `limit`: bytes per second, -1 for none.
  explicit Client(lt::add_torrent_params torrent, int limit = -1) : session_(params()) {
    torrent.download_limit = limit;
    torrent.save_path = folder_.path();
    torrent.flags &= ~(lt::torrent_flags::paused | lt::torrent_flags::auto_managed);
    handle_ = session_.add_torrent(std::move(torrent));
  }

  void connect(std::uint16_t port) { handle_.connect_peer({lt::make_address("127.0.0.1"), port}); }
  // Until an alert of that kind comes.
  template <typename Alert>
  bool wait_for() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      session_.wait_for_alert(std::chrono::seconds(1));
      std::vector<lt::alert*> alerts;
      session_.pop_alerts(&alerts);
      for (lt::alert* alert : alerts) {
        if (lt::alert_cast<Alert>(alert) != nullptr) return true;
      }
    }
    return false;
  }
  const std::string& folder() const { return folder_.path(); }
  const lt::torrent_handle& handle() const { return handle_; }

 private:
  static lt::session_params params() {
    lt::settings_pack pack;
    pack.set_str(lt::settings_pack::listen_interfaces, "127.0.0.1:0");
    for (int feature : {lt::settings_pack::enable_dht, lt::settings_pack::enable_lsd,
                        lt::settings_pack::enable_upnp, lt::settings_pack::enable_natpmp}) {
      pack.set_bool(feature, false);
    }
    pack.set_bool(lt::settings_pack::allow_multiple_connections_per_ip, true);
    // It would try that first, for four seconds.
    pack.set_bool(lt::settings_pack::enable_outgoing_utp, false);
    pack.set_int(lt::settings_pack::alert_mask,
                 lt::alert_category::all &
                     ~(lt::alert_category::session_log | lt::alert_category::torrent_log |
                       lt::alert_category::peer_log));
    lt::session_params out(pack);
    out.disk_io_constructor = lt::posix_disk_io_constructor;
    return out;
  }

  fakes::TempDirectory folder_;
  lt::session session_;
  lt::torrent_handle handle_;
};

class SessionTest : public ::testing::Test {
 protected:
  // On the control thread; waits.
  template <typename F>
  auto on_control(F work) {
    using Value = std::invoke_result_t<F>;
    std::promise<Value> promise;
    control_.post([&] {
      if constexpr (std::is_void_v<Value>) {
        work();
        promise.set_value();
      } else {
        promise.set_value(work());
      }
    });
    return promise.get_future().get();
  }
  void SetUp() override { open(); }
  void TearDown() override {
    if (session_) close();
  }

  void open() {
    Session::Hooks hooks;
    hooks.find = find_;
    hooks.pace = pace_;
    hooks.failed = [this](const TruncatedInfoHash& torrent, const Error& why) {
      std::lock_guard lock(mutex_);
      failed_.emplace_back(torrent, why.str());
      changed_.notify_all();
    };
    session_ = on_control([&] {
      Session::Options options{"127.0.0.1:0", "http://127.0.0.1:1/announce", "test", Rate()};
      return Session::open(control_.executor(), options, hooks).value();
    });
  }
  void close() {
    on_control([&] { session_->stop(); });
    session_->close();
    session_.reset();
  }

  void add(SeededModel& model) {
    auto seed = Session::prepare(model.torrent(), model.files());
    ASSERT_TRUE(seed) << seed.error().str();
    on_control([&] { session_->add(*seed); });
  }
  // As add(), and waits until libtorrent takes peers for it: before, it turns them away.
  void seed(SeededModel& model) {
    add(model);
    wait_for_stats([](const auto& now) { return now.seeding == 1; });
  }
  static lt::add_torrent_params torrent_file(const SeededModel& model) {
    const std::string& bytes = model.torrent().bytes;
    return lt::load_torrent_buffer(
        lt::span<const char>(bytes.data(), static_cast<std::ptrdiff_t>(bytes.size())));
  }
  TruncatedInfoHash hash() const { return model_.torrent().info_hash.truncated(); }
  std::string wait_for_failure() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !failed_.empty(); })) return "none";
    EXPECT_EQ(failed_[0].first, hash());
    return failed_[0].second;
  }
  Session::Stats wait_for_stats(const std::function<bool(const Session::Stats&)>& right) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    Session::Stats stats;
    do {
      // Asks again at each turn of the control thread: the answer comes by way of it.
      stats = on_control([&] {
        session_->tick();
        return session_->stats();
      });
    } while (!right(stats) && std::chrono::steady_clock::now() < end);
    return stats;
  }

  SeededModel model_;
  OpenBlobs::Find find_ = [this](const content::Digest& blob) {
    return model_.store()->find(blob);
  };
  decltype(Session::Hooks::pace) pace_;
  IoThread control_{"control"};
  std::unique_ptr<Session> session_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<TruncatedInfoHash, std::string>> failed_;  // guarded by mutex_
};

TEST_F(SessionTest, AClientGetsTheTorrent) {
  seed(model_);
  Client client(torrent_file(model_));
  client.connect(session_->port());
  ASSERT_TRUE(client.wait_for<lt::torrent_finished_alert>());
  EXPECT_TRUE(model_.is_in(client.folder()));
  std::uint64_t total = 0;
  for (const auto& [path, blob] : model_.blobs()) total += blob.bytes.size();
  Session::Stats stats = wait_for_stats([&](const auto& now) { return now.sent >= total; });
  EXPECT_GE(stats.sent, total);
  EXPECT_LT(stats.sent, total + model_.blobs().size() * content::kLeafSize);  // some padding
}

TEST_F(SessionTest, AClientGetsItByItsMagnetLink) {
  seed(model_);
  Client client(lt::parse_magnet_uri(model_.torrent().magnet()));
  client.connect(session_->port());
  ASSERT_TRUE(client.wait_for<lt::metadata_received_alert>());
  auto info = client.handle().torrent_file();
  ASSERT_NE(info, nullptr);
  auto section = info->info_section();
  const std::string bytes(section.data(), static_cast<std::size_t>(section.size()));
  EXPECT_NE(model_.torrent().bytes.find("4:info" + bytes), std::string::npos);
  ASSERT_TRUE(client.wait_for<lt::torrent_finished_alert>());
  EXPECT_TRUE(model_.is_in(client.folder()));
}

TEST_F(SessionTest, ABlobThatIsNotHereFailsTheTorrentAndSaysWhich) {
  ASSERT_TRUE(model_.store()->remove(model_.digest("b/weights")));
  seed(model_);
  Client client(torrent_file(model_));
  client.connect(session_->port());
  const std::string why = wait_for_failure();
  EXPECT_NE(why.find(model_.digest("b/weights").str()), std::string::npos) << why;
  on_control([&] { session_->remove(hash()); });
  EXPECT_EQ(on_control([&] { return session_->torrents(); }), 0u);
  EXPECT_TRUE(client.wait_for<lt::peer_disconnected_alert>());
}

TEST_F(SessionTest, TorrentsComeAndGoFasterThanLibtorrentAnswers) {
  for (int i = 0; i < 20; ++i) {
    // In one turn of the control thread: what libtorrent says of the first comes after both.
    auto first = Session::prepare(model_.torrent(), model_.files()).value();
    auto second = Session::prepare(model_.torrent(), model_.files()).value();
    on_control([&] {
      session_->add(first);
      session_->remove(hash());
      if (i % 2 == 0) session_->add(second);
    });
    on_control([&] { session_->remove(hash()); });
  }
  EXPECT_EQ(on_control([&] { return session_->torrents(); }), 0u);
  // Known again, whatever is still on its way.
  seed(model_);
  Client client(torrent_file(model_));
  client.connect(session_->port());
  ASSERT_TRUE(client.wait_for<lt::torrent_finished_alert>());
  EXPECT_TRUE(model_.is_in(client.folder()));
  EXPECT_TRUE(failed_.empty());
}

TEST_F(SessionTest, APortThatIsTakenIsAnError) {
  auto second = on_control([&] {
    Session::Options options{"127.0.0.1:" + std::to_string(session_->port()), "", "test", Rate()};
    Session::Hooks hooks;
    hooks.find = [](const content::Digest&) -> Result<std::shared_ptr<store::Blob>> {
      return fail(Errc::kNotFound, "");
    };
    return Session::open(control_.executor(), options, hooks);
  });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::kUnavailable);
  EXPECT_NE(second.error().str().find(std::to_string(session_->port())), std::string::npos);
}

TEST_F(SessionTest, ATorrentThatLibtorrentRefusesIsAnError) {
  content::Torrent torrent = model_.torrent();
  torrent.bytes.resize(torrent.bytes.size() / 2);
  auto seed = Session::prepare(torrent, model_.files());
  ASSERT_FALSE(seed);
  EXPECT_EQ(seed.error().code(), Errc::kInvalid);
}

// In the middle of a transfer, with requests queued and buffers at the peers.
TEST_F(SessionTest, EndsWithinSecondsWithPeersConnected) {
  SeededModel large({{"large", 24 * kMiB}}, "large");
  find_ = [&](const content::Digest& blob) { return large.store()->find(blob); };
  for (int round = 0; round < 4; ++round) {
    close();
    // In every second round most reads wait for the upload limit.
    std::atomic<int> reads = 0;
    pace_ = {};
    if (round % 2 == 1) {
      pace_ = [&](std::uint64_t, Session::Hooks::Clock::time_point now)
          -> std::optional<Session::Hooks::Clock::time_point> {
        if (++reads < 200) return std::nullopt;
        return now + std::chrono::hours(1);
      };
    }
    open();
    seed(large);
    // Neither is done before the end.
    Client one(torrent_file(large), 1'000'000);
    Client other(torrent_file(large), 1'000'000);
    one.connect(session_->port());
    EXPECT_TRUE(one.wait_for<lt::piece_finished_alert>());
    other.connect(session_->port());
    EXPECT_EQ(wait_for_stats([](const auto& now) { return now.peers == 2; }).peers, 2u);
    const auto before = std::chrono::steady_clock::now();
    close();
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
    EXPECT_EQ(large.store()->info(large.digest("large")).value().open_readers, 0);
    open();  // for the next round, or the end of the test
  }
  EXPECT_TRUE(failed_.empty());
  close();
}

}  // namespace
}  // namespace shoal::agent::bittorrent
