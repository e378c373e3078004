// How the agent's libtorrent session is set up.
#pragma once

#include <cstddef>
#include <libtorrent/settings_pack.hpp>
#include <string>

#include "core/base/units.h"

namespace shoal::agent::bittorrent {

// Peers that are served at once. The rest wait for their turn.
inline constexpr int kUnchokeSlots = 32;
// Bytes that may be read ahead for one peer, where there is no upload limit.
inline constexpr std::uint64_t kReadAhead = 1 * kMiB;
// What all peers together may have in their send buffers.
inline constexpr std::size_t kSendBuffers = kUnchokeSlots * kReadAhead;

// Seeding to clients that the tracker names, over TCP, and nothing else: no DHT, no local
// discovery, no port mapping, no uTP. `listen` is ADDRESS:PORT.
lt::settings_pack session_settings(const std::string& listen, const std::string& user_agent,
                                   Rate upload_limit);

}  // namespace shoal::agent::bittorrent
