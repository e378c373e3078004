// The ends of a BitTorrent transfer with libtorrent as it is packaged: the baseline of
// scripts/bench lane and swarm.
//
//   libtorrent_ends make --data FILE --piece-length N --torrent FILE     a v2 torrent of one file
//   libtorrent_ends seed --torrent FILE --dir DIR --listen A:P --settings FILE --variant NAME
//   libtorrent_ends leech --torrent FILE --dir DIR --listen A:P --peers A:P[,A:P…]
//                         --settings FILE --variant NAME [--stay]
//        prints {"seconds":S,"cpu":C,"finished":seconds since 1970}; with --stay it then seeds
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <libtorrent/add_torrent_params.hpp>
#include <libtorrent/alert_types.hpp>
#include <libtorrent/bencode.hpp>
#include <libtorrent/create_torrent.hpp>
#include <libtorrent/mmap_disk_io.hpp>
#include <libtorrent/posix_disk_io.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/session_params.hpp>
#include <libtorrent/settings_pack.hpp>
#include <libtorrent/torrent_handle.hpp>
#include <libtorrent/torrent_info.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/bench/arguments.h"

namespace shoal::bench {
namespace {

using nlohmann::json;

void make(const Arguments& arguments) {
  const std::filesystem::path data = arguments.get("data");
  lt::file_storage files;
  lt::add_files(files, data.string());
  lt::create_torrent torrent(files, static_cast<int>(arguments.number("piece-length")),
                             lt::create_torrent::v2_only);
  lt::error_code error;
  lt::set_piece_hashes(torrent, data.parent_path().string(), error);
  if (error) give_up("hashing: " + error.message());
  std::vector<char> bytes;
  lt::bencode(std::back_inserter(bytes), torrent.generate());
  std::ofstream file(arguments.get("torrent"), std::ios::binary | std::ios::trunc);
  if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush()) {
    give_up("cannot write the torrent");
  }
}

void apply(lt::settings_pack& pack, const json& settings) {
  for (const auto& [name, value] : settings.items()) {
    int setting = lt::setting_by_name(name);
    if (setting < 0) give_up("libtorrent knows no setting " + name);
    if (value.is_boolean()) {
      pack.set_bool(setting, value.get<bool>());
    } else {
      pack.set_int(setting, value.get<int>());
    }
  }
}

lt::session_params params_of(const Arguments& arguments) {
  std::ifstream file(arguments.get("settings"));
  const json all = json::parse(file);
  lt::session_params params;
  apply(params.settings, all.at("common"));
  bool found = false;
  for (const json& variant : all.at("sweep")) {
    if (variant.at("name") != arguments.get("variant")) continue;
    found = true;
    apply(params.settings, variant.at("settings"));
    if (variant.at("disk") == "posix") {
      params.disk_io_constructor = lt::posix_disk_io_constructor;
    } else {
      params.disk_io_constructor = lt::mmap_disk_io_constructor;
    }
  }
  if (!found) give_up("no such variant in the settings");
  params.settings.set_str(lt::settings_pack::listen_interfaces, arguments.get("listen"));
  params.settings.set_int(lt::settings_pack::alert_mask,
                          lt::alert_category::status | lt::alert_category::error);
  return params;
}

lt::add_torrent_params torrent_of(const Arguments& arguments) {
  lt::add_torrent_params torrent;
  torrent.ti = std::make_shared<lt::torrent_info>(arguments.get("torrent"));
  torrent.save_path = arguments.get("dir");
  torrent.flags &= ~(lt::torrent_flags::paused | lt::torrent_flags::auto_managed);
  return torrent;
}

// SIGTERM and SIGINT, which are from now on only waited for.
sigset_t block_ends() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  return ends;
}

void wait_for(const sigset_t& ends) {
  int received = 0;
  sigwait(&ends, &received);
}

void seed(const Arguments& arguments) {
  sigset_t ends = block_ends();
  lt::session session(params_of(arguments));
  lt::add_torrent_params torrent = torrent_of(arguments);
  torrent.flags |= lt::torrent_flags::seed_mode;
  session.add_torrent(std::move(torrent));
  wait_for(ends);
}

std::vector<lt::tcp::endpoint> endpoints(const std::string& text) {
  std::vector<lt::tcp::endpoint> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.find(',', at), text.size());
    std::string one = text.substr(at, end - at);
    std::size_t colon = one.rfind(':');
    if (colon == std::string::npos) give_up("'" + one + "' is not ADDRESS:PORT");
    out.emplace_back(lt::make_address(one.substr(0, colon)),
                     static_cast<std::uint16_t>(std::stoi(one.substr(colon + 1))));
    at = end + 1;
  }
  return out;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

void leech(const Arguments& arguments) {
  std::optional<sigset_t> ends;
  if (arguments.has("stay")) ends = block_ends();
  lt::session session(params_of(arguments));
  double cpu_before = cpu_seconds();
  auto before = std::chrono::steady_clock::now();
  lt::torrent_handle handle = session.add_torrent(torrent_of(arguments));
  for (const lt::tcp::endpoint& peer : endpoints(arguments.get("peers"))) {
    handle.connect_peer(peer);
  }
  for (;;) {
    if (session.wait_for_alert(std::chrono::minutes(10)) == nullptr) give_up("nothing happens");
    std::vector<lt::alert*> alerts;
    session.pop_alerts(&alerts);
    for (lt::alert* alert : alerts) {
      if (lt::alert_cast<lt::torrent_finished_alert>(alert) != nullptr) {
        double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
        double finished =
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
                .count();
        std::printf("{\"seconds\":%.6f,\"cpu\":%.6f,\"finished\":%.3f}\n", seconds,
                    cpu_seconds() - cpu_before, finished);
        std::fflush(stdout);
        if (ends) wait_for(*ends);
        return;
      }
      if (auto* failed = lt::alert_cast<lt::torrent_error_alert>(alert)) {
        give_up(failed->message());
      }
      if (auto* failed = lt::alert_cast<lt::file_error_alert>(alert)) give_up(failed->message());
    }
  }
}

}  // namespace
}  // namespace shoal::bench

int main(int argc, char** argv) {
  std::string verb = argc > 1 ? argv[1] : "";
  shoal::bench::Arguments arguments(
      std::vector<std::string>(argv + std::min(argc, 2), argv + argc));
  if (verb == "make") {
    shoal::bench::make(arguments);
  } else if (verb == "seed") {
    shoal::bench::seed(arguments);
  } else if (verb == "leech") {
    shoal::bench::leech(arguments);
  } else {
    shoal::bench::give_up("usage: libtorrent_ends make|seed|leech --…");
  }
  return 0;
}
