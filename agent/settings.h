// What an operator can set of an agent.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/base/units.h"
#include "core/daemon/address.h"
#include "core/daemon/settings.h"

namespace shoal::agent {

struct Settings {
  std::string tracker;
  std::string node_id;
  daemon::KeyValues topology;
  daemon::KeyValues labels;

  std::filesystem::path store = "/var/lib/shoal";
  std::filesystem::path runtime = "/run/shoal/runtime";
  ByteCount store_capacity;
  int free_space_floor = 15;
  std::uint64_t replicas = 2;
  Rate scrub_rate{20'000'000};
  std::chrono::milliseconds scrub_pause{600'000};

  daemon::Address lane_listen{"0.0.0.0", 6970};
  std::string advertise;
  std::uint64_t lane_threads = 2;
  std::uint64_t upload_slots = 64;
  Rate upload_limit;
  Rate download_limit;

  std::optional<daemon::Address> bt_listen;
  std::string bt_announce;

  std::vector<std::string> origin_allow;
  std::uint64_t origin_threads = 16;
  Rate origin_limit;
  Rate origin_host_limit;
  std::uint64_t origin_host_requests = 8;
  std::string origin_proxy;
  std::filesystem::path origin_ca;
  std::string s3_endpoint;
  std::string s3_region;
  std::string s3_addressing = "auto";
  std::filesystem::path registry_config;
  std::vector<std::string> registry_plain;

  daemon::Address admin_listen{"0.0.0.0", 6971};
  std::filesystem::path socket = "/run/shoal/agent.sock";

  std::string mirror_listen = "127.0.0.1:6972";
  bool mirror_open = false;
  std::vector<std::string> mirror_names;
  std::chrono::milliseconds mirror_stall{60'000};

  std::filesystem::path tls_cert;
  std::filesystem::path tls_key;
  std::filesystem::path tls_ca;
  bool insecure = false;
};

// Where the mirror shall listen; nothing if it is off. Errors: invalid.
Result<std::optional<daemon::Address>> mirror_address(const Settings& settings);

void declare(daemon::Settings& table, Settings& values);

}  // namespace shoal::agent
