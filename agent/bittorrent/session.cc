#include "agent/bittorrent/session.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cstring>
#include <libtorrent/add_torrent_params.hpp>
#include <libtorrent/alert_types.hpp>
#include <libtorrent/error_code.hpp>
#include <libtorrent/extensions/ut_metadata.hpp>
#include <libtorrent/ip_filter.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/session_params.hpp>
#include <libtorrent/session_stats.hpp>
#include <libtorrent/torrent_flags.hpp>
#include <libtorrent/torrent_info.hpp>
#include <mutex>
#include <utility>
#include <vector>

#include "agent/bittorrent/buffer_pool.h"
#include "agent/bittorrent/session_settings.h"
#include "agent/bittorrent/store_disk.h"
#include "core/base/check.h"
#include "core/base/hex.h"
#include "core/base/log.h"

namespace shoal::agent::bittorrent {
namespace {

using content::TruncatedInfoHash;

// Enough to keep a disk busy; what is cached takes a fraction of one.
constexpr std::size_t kDiskThreads = 4;
// A blob that nobody has read for so long may be evicted.
constexpr std::chrono::seconds kKeptOpen{30};

// libtorrent does not name its thread. A new one has the name of the thread that makes it.
class ThreadNameForNew {
 public:
  explicit ThreadNameForNew(const char* name) {
    pthread_getname_np(pthread_self(), before_.data(), before_.size());
    pthread_setname_np(pthread_self(), name);
  }
  ~ThreadNameForNew() { pthread_setname_np(pthread_self(), before_.data()); }
  ThreadNameForNew(const ThreadNameForNew&) = delete;
  ThreadNameForNew& operator=(const ThreadNameForNew&) = delete;

 private:
  std::array<char, 16> before_{};
};

TruncatedInfoHash hash_of(const lt::torrent_info& torrent) {
  TruncatedInfoHash out;
  std::memcpy(out.data(), torrent.info_hashes().get_best().data(), out.size());
  return out;
}

// The torrents that the disk may be asked for. Thread safe.
class KnownFiles {
 public:
  void set(const TruncatedInfoHash& torrent, std::shared_ptr<const SeedFiles> files) {
    std::lock_guard lock(mutex_);
    files_[torrent] = std::move(files);
  }
  void erase(const TruncatedInfoHash& torrent) {
    std::lock_guard lock(mutex_);
    files_.erase(torrent);
  }
  std::optional<content::Digest> find(const TruncatedInfoHash& torrent,
                                      const content::Hash32& root) const {
    std::lock_guard lock(mutex_);
    auto files = files_.find(torrent);
    if (files == files_.end()) return std::nullopt;
    auto file = files->second->find(root);
    if (file == files->second->end()) return std::nullopt;
    return file->second;
  }

 private:
  mutable std::mutex mutex_;
  std::map<TruncatedInfoHash, std::shared_ptr<const SeedFiles>> files_;  // guarded by mutex_
};

}  // namespace

class Session::Seed {
 public:
  TruncatedInfoHash hash{};
  std::shared_ptr<const SeedFiles> files;
  lt::add_torrent_params params;
};

struct Session::Impl {
  // What libtorrent's threads post to; survives the session as long as a post is under way.
  struct Door {
    Impl* impl = nullptr;  // control thread only; null after stop()
    std::mutex mutex;
    std::map<TruncatedInfoHash, Error> failed;  // guarded by mutex
  };
  struct Torrent {
    lt::torrent_handle handle;  // not valid until libtorrent said that it has it
    bool wanted = true;
  };

  Impl(Executor executor, Options given, Hooks wanted)
      : control(std::move(executor)),
        options(std::move(given)),
        hooks(std::move(wanted)),
        blobs(hooks.find),
        buffers(kSendBuffers / BufferPool::kBufferSize),
        door(std::make_shared<Door>()),
        sent_index(lt::find_metric_idx("net.sent_payload_bytes")),
        peers_index(lt::find_metric_idx("peer.num_peers_connected")),
        seeding_index(lt::find_metric_idx("ses.num_seeding_torrents")) {
    door->impl = this;
  }

  DiskParts disk_parts();
  Status start();
  void pump();
  void handle(lt::alert* alert);
  void added(const lt::add_torrent_alert& alert);
  void failures();
  void fail_torrent(const lt::torrent_handle& handle, const Error& why);

  // Constant after construction
  const Executor control;
  const Options options;
  const Hooks hooks;

  OpenBlobs blobs;
  BufferPool buffers;
  KnownFiles known;
  const std::shared_ptr<Door> door;
  const int sent_index;
  const int peers_index;
  const int seeding_index;
  std::optional<lt::session> session;
  StoreDisk* disk = nullptr;  // the session's
  std::map<TruncatedInfoHash, Torrent> torrents;
  Stats stats;
  std::uint16_t port = 0;
};

// --- Start
// -----------------------------------------------------------------------------------------

DiskParts Session::Impl::disk_parts() {
  auto blob_of = [this](const TruncatedInfoHash& torrent, const content::Hash32& root) {
    return known.find(torrent, root);
  };
  auto failed = [executor = control, weak = std::weak_ptr(door)](const TruncatedInfoHash& torrent,
                                                                 const Error& why) {
    auto open = weak.lock();
    if (!open) return;
    {
      std::lock_guard lock(open->mutex);
      const bool first = open->failed.empty();
      if (!open->failed.emplace(torrent, why).second || !first) return;
    }
    asio::post(executor, [open] {
      if (open->impl != nullptr) open->impl->failures();
    });
  };
  return {blobs, buffers, std::move(blob_of), hooks.pace, std::move(failed)};
}

Status Session::Impl::start() {
  // Only what is named here, instead of libtorrent's usual extensions: without ut_pex peers hear of
  // one another from the tracker alone, and smart_ban is for those who download.
  lt::session_params params(
      session_settings(options.listen, options.user_agent, options.upload_limit), {});
  params.disk_io_constructor = [this](lt::io_context& network, const lt::settings_interface&,
                                      lt::counters&) -> std::unique_ptr<lt::disk_interface> {
    auto made = std::make_unique<StoreDisk>(network, disk_parts(), kDiskThreads);
    disk = made.get();
    return made;
  };
  {
    ThreadNameForNew name("bt-network");
    session.emplace(std::move(params));
  }
  // Peers in private networks are no exception to the number that is served at once.
  session->set_peer_class_filter(lt::ip_filter());
  port = session->listen_port();
  if (port == 0) {
    std::string why;
    std::vector<lt::alert*> alerts;
    session->pop_alerts(&alerts);
    for (lt::alert* alert : alerts) {
      if (auto* one = lt::alert_cast<lt::listen_failed_alert>(alert)) {
        why = ": " + one->error.message();
      }
    }
    return fail(Errc::kUnavailable, "cannot listen on " + options.listen + why);
  }
  session->set_alert_notify([executor = control, weak = std::weak_ptr(door)] {
    if (auto open = weak.lock()) {
      asio::post(executor, [open] {
        if (open->impl != nullptr) open->impl->pump();
      });
    }
  });
  return {};
}

Result<std::unique_ptr<Session>> Session::open(Executor control, Options options, Hooks hooks) {
  auto impl = std::make_unique<Impl>(std::move(control), std::move(options), std::move(hooks));
  Status started = impl->start();
  std::unique_ptr<Session> session(new Session(std::move(impl)));
  if (!started) {
    session->stop();
    session->close();
    return fail(started.error());
  }
  return session;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Session::~Session() { SHOAL_CHECK(!impl_->session, "close() comes first"); }

// --- Torrents
// --------------------------------------------------------------------------------------

Result<std::shared_ptr<Session::Seed>> Session::prepare(const content::Torrent& torrent,
                                                        SeedFiles files) {
  lt::error_code error;
  auto info = std::make_shared<lt::torrent_info>(
      lt::span<const char>(torrent.bytes.data(), static_cast<std::ptrdiff_t>(torrent.bytes.size())),
      error, lt::from_span);
  if (error) {
    return fail(Errc::kInvalid, "libtorrent refuses the torrent: " + error.message());
  }
  auto seed = std::make_shared<Seed>();
  seed->hash = hash_of(*info);
  SHOAL_CHECK(seed->hash == torrent.info_hash.truncated(), "the same torrent for both");
  seed->files = std::make_shared<const SeedFiles>(std::move(files));
  lt::add_torrent_params& params = seed->params;
  // Everything is here and verified: nothing is hashed at the start, nor before it is sent.
  params.verified_pieces.resize(info->num_pieces(), true);
  params.ti = std::move(info);
  params.save_path = "/";  // libtorrent wants one; the disk never looks at it
  params.extensions = {lt::create_ut_metadata_plugin};
  // upload_mode: not even a torrent with an error asks peers for anything.
  params.flags = lt::torrent_flags::seed_mode | lt::torrent_flags::upload_mode |
                 lt::torrent_flags::disable_dht | lt::torrent_flags::disable_lsd |
                 lt::torrent_flags::disable_pex;
  return seed;
}

void Session::add(std::shared_ptr<Seed> seed) {
  assert_owner_thread();
  auto [it, fresh] = impl_->torrents.try_emplace(seed->hash);
  impl_->known.set(seed->hash, seed->files);
  if (!fresh) {
    // libtorrent is just adding it, and it was to be removed then: it just stays.
    SHOAL_CHECK(!it->second.wanted, "the torrent is there already");
    it->second.wanted = true;
    return;
  }
  lt::add_torrent_params params = std::move(seed->params);
  params.trackers = {impl_->options.announce};
  impl_->session->async_add_torrent(std::move(params));
}

void Session::remove(const TruncatedInfoHash& hash) {
  assert_owner_thread();
  auto it = impl_->torrents.find(hash);
  if (it == impl_->torrents.end()) return;
  if (!it->second.handle.is_valid()) {
    it->second.wanted = false;
    return;
  }
  impl_->session->remove_torrent(it->second.handle);
  impl_->torrents.erase(it);
  impl_->known.erase(hash);
}

std::size_t Session::torrents() const {
  assert_owner_thread();
  return static_cast<std::size_t>(std::count_if(impl_->torrents.begin(), impl_->torrents.end(),
                                                [](const auto& one) { return one.second.wanted; }));
}

void Session::blob_gone(const content::Digest& blob) { impl_->blobs.forget(blob); }

// --- Events
// ----------------------------------------------------------------------------------------

void Session::Impl::pump() {
  std::vector<lt::alert*> alerts;
  session->pop_alerts(&alerts);
  for (lt::alert* alert : alerts) handle(alert);
}

void Session::Impl::handle(lt::alert* alert) {
  if (auto* one = lt::alert_cast<lt::add_torrent_alert>(alert)) {
    added(*one);
  } else if (auto* counted = lt::alert_cast<lt::session_stats_alert>(alert)) {
    auto counters = counted->counters();
    stats.sent = static_cast<std::uint64_t>(counters[sent_index]);
    stats.peers = static_cast<std::uint64_t>(counters[peers_index]);
    stats.seeding = static_cast<std::uint64_t>(counters[seeding_index]);
  } else if (auto* broken = lt::alert_cast<lt::torrent_error_alert>(alert)) {
    fail_torrent(broken->handle, Error(Errc::kInternal, broken->error.message()));
  } else if (auto* refused = lt::alert_cast<lt::tracker_error_alert>(alert)) {
    log::warn("announcing a torrent",
              {{"tracker", std::string(refused->tracker_url())},
               {"torrent", std::string(refused->torrent_name())},
               {"err", refused->error_message()[0] != '\0' ? std::string(refused->error_message())
                                                           : refused->error.message()}});
  } else if (auto* deaf = lt::alert_cast<lt::listen_failed_alert>(alert)) {
    log::warn("BitTorrent cannot listen", {{"err", deaf->message()}});
  }
}

void Session::Impl::added(const lt::add_torrent_alert& alert) {
  const TruncatedInfoHash hash = hash_of(*alert.params.ti);
  auto it = torrents.find(hash);
  SHOAL_CHECK(it != torrents.end(), "a torrent that was not added");
  if (alert.error || !it->second.wanted) {
    if (!alert.error) session->remove_torrent(alert.handle);
    const bool wanted = it->second.wanted;
    torrents.erase(it);
    known.erase(hash);
    if (wanted) hooks.failed(hash, Error(Errc::kInternal, alert.error.message()));
    return;
  }
  it->second.handle = alert.handle;
}

void Session::Impl::failures() {
  std::map<TruncatedInfoHash, Error> failed;
  {
    std::lock_guard lock(door->mutex);
    failed.swap(door->failed);
  }
  for (const auto& [torrent, why] : failed) hooks.failed(torrent, why);
}

void Session::Impl::fail_torrent(const lt::torrent_handle& handle, const Error& why) {
  for (const auto& [hash, torrent] : torrents) {
    if (torrent.handle != handle) continue;
    // Not while looking at the map: the hook may remove it.
    const TruncatedInfoHash found = hash;
    hooks.failed(found, why);
    return;
  }
}

void Session::tick() {
  assert_owner_thread();
  impl_->blobs.close_unused_since(OpenBlobs::Clock::now() - kKeptOpen);
  impl_->buffers.trim();
  impl_->session->post_session_stats();
}

const Session::Stats& Session::stats() const { return impl_->stats; }

std::uint16_t Session::port() const { return impl_->port; }

// --- End
// -------------------------------------------------------------------------------------------

void Session::stop() {
  assert_owner_thread();
  if (impl_->door->impl == nullptr) return;
  impl_->door->impl = nullptr;
  if (impl_->session) impl_->session->set_alert_notify({});
}

void Session::close() {
  if (!impl_->session) return;
  {
    // The proxy waits for the network thread, which ends when the disk has answered everything.
    lt::session_proxy ending = impl_->session->abort();
    impl_->session.reset();
    // The network thread waits for the reads of its peers before it aborts the disk.
    impl_->disk->give_up();
  }
  impl_->torrents.clear();
  impl_->blobs.clear();
}

}  // namespace shoal::agent::bittorrent
