// What BitTorrent clients ask a tracker and what they are answered: BEP 3 with compact peers (BEP
// 23, and BEP 7 for IPv6), scrape (BEP 48), truncated v2 info-hashes (BEP 52). Hides the encodings.
// docs/formats/bittorrent.md is what operators read about it.
//
// Thread: pure functions and values.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/content/torrent.h"

namespace shoal::tracker {

// Limits of queries, checked before anything is built from them.
inline constexpr std::size_t kMaxBtQuery = 8 * 1024;  // bytes as they arrive
inline constexpr std::size_t kMaxBtParameters = 128;  // known or not
inline constexpr std::size_t kMaxScrapeHashes = 64;   // of one scrape
inline constexpr std::size_t kMaxBtKey = 64;          // bytes; a longer one counts as none

using BtPeerId = std::array<std::byte, 20>;

// Where a client listens. IPv4 addresses are kept in their IPv6-mapped form (RFC 4291, 2.5.5.2), so
// that one address has one spelling however it arrived.
struct BtAddress {
  std::array<std::byte, 16> ip = {};
  std::uint16_t port = 0;

  // `ip` as text, without brackets. Errors: invalid (a name, or an address with a scope).
  static Result<BtAddress> parse(const std::string& ip, std::uint16_t port);

  bool is_v4() const;

  friend auto operator<=>(const BtAddress&, const BtAddress&) = default;
};

struct AnnounceQuery {
  enum class Event { kNone, kStarted, kStopped, kCompleted };

  content::TruncatedInfoHash info_hash = {};
  BtPeerId peer_id = {};
  std::uint16_t port = 0;  // not 0
  bool seed = false;       // has nothing left to get
  Event event = Event::kNone;
  std::optional<std::uint32_t> numwant = {};  // how many peers it would like
  std::string key = {};  // proves to be the same client elsewhere; may be empty

  friend bool operator==(const AnnounceQuery&, const AnnounceQuery&) = default;
};

// `query` is what follows the '?', not decoded. Addresses that it may contain (`ip`, `ipv4`,
// `ipv6`) are ignored: a client is where its connection comes from, and nobody can announce others.
// Unknown parameters, events and a `left` that is no number (then it is no seed) are no mistakes.
// Errors: invalid; the message is meant for the client's user.
Result<AnnounceQuery> parse_announce(std::string_view query);

// The info-hashes asked about, each once, ascending. Errors: invalid (none, too many, malformed).
Result<std::vector<content::TruncatedInfoHash>> parse_scrape(std::string_view query);

// How many take part in the swarm of one torrent.
struct SwarmCounts {
  std::size_t seeds = 0;
  std::size_t leeches = 0;
  std::uint64_t completed = 0;  // downloads that ended since the swarm is known

  friend bool operator==(const SwarmCounts&, const SwarmCounts&) = default;
};

// Bencoded answers. Peers of IPv4 stand in `peers`, those of IPv6 in `peers6`.
std::string announce_answer(const SwarmCounts& counts, const std::vector<BtAddress>& peers,
                            std::chrono::seconds interval, std::chrono::seconds min_interval);
// Ascending by info-hash.
std::string scrape_answer(
    const std::vector<std::pair<content::TruncatedInfoHash, SwarmCounts>>& files);
std::string failure_answer(std::string_view reason);

}  // namespace shoal::tracker
