#include "tracker/bittorrent/announce.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>

#include "core/base/percent.h"
#include "core/content/bencode.h"

namespace shoal::tracker {
namespace {

using content::BencodeWriter;
using content::TruncatedInfoHash;

constexpr std::array<std::byte, 12> kMappedPrefix = [] {
  std::array<std::byte, 12> prefix{};
  prefix[10] = prefix[11] = std::byte{0xff};
  return prefix;
}();

auto invalid(std::string why) { return fail(Errc::kInvalid, std::move(why)); }

// Any bytes; as in forms, '+' is a space. None for a '%' without two digits.
std::optional<std::string> decode(std::string_view text) {
  std::string spaced(text);
  std::replace(spaced.begin(), spaced.end(), '+', ' ');
  return percent_decode(spaced);
}

// Calls take(name, raw value) for each parameter until one fails.
template <typename Take>
Status for_each_parameter(std::string_view query, Take take) {
  if (query.size() > kMaxBtQuery) return invalid("the request is too long");
  std::size_t count = 0;
  while (!query.empty()) {
    if (++count > kMaxBtParameters) return invalid("the request has too many parameters");
    std::size_t end = query.find('&');
    std::string_view one = query.substr(0, end);
    std::size_t equals = one.find('=');
    std::string_view name = one.substr(0, equals);
    SHOAL_TRY(
        take(name, equals == std::string_view::npos ? std::string_view() : one.substr(equals + 1)));
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
  }
  return {};
}

template <std::size_t N>
Status read_bytes(std::string_view name, std::string_view value, std::array<std::byte, N>& out) {
  std::optional<std::string> bytes = decode(value);
  if (!bytes || bytes->size() != N) {
    return invalid(std::string(name) + " must be " + std::to_string(N) + " bytes");
  }
  std::memcpy(out.data(), bytes->data(), N);
  return {};
}

template <typename Number>
std::optional<Number> read_number(std::string_view text) {
  Number value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return {};
  return value;
}

AnnounceQuery::Event read_event(std::string_view text) {
  if (text == "started") return AnnounceQuery::Event::kStarted;
  if (text == "stopped") return AnnounceQuery::Event::kStopped;
  if (text == "completed") return AnnounceQuery::Event::kCompleted;
  return AnnounceQuery::Event::kNone;
}

std::string_view text_of(const TruncatedInfoHash& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

std::int64_t number(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// BEP 23 and BEP 7: the address, then the port, in network order.
std::string compact(const std::vector<BtAddress>& peers, bool v4) {
  std::string out;
  for (const BtAddress& peer : peers) {
    if (peer.is_v4() != v4) continue;
    std::span<const std::byte> ip = std::span(peer.ip).subspan(v4 ? kMappedPrefix.size() : 0);
    out.append(reinterpret_cast<const char*>(ip.data()), ip.size());
    out += static_cast<char>(peer.port >> 8);
    out += static_cast<char>(peer.port & 0xff);
  }
  return out;
}

}  // namespace

Result<BtAddress> BtAddress::parse(const std::string& ip, std::uint16_t port) {
  BtAddress address;
  address.port = port;
  std::array<std::byte, 4> v4;
  if (::inet_pton(AF_INET, ip.c_str(), v4.data()) == 1) {
    auto at = std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.ip.begin());
    std::copy(v4.begin(), v4.end(), at);
    return address;
  }
  if (::inet_pton(AF_INET6, ip.c_str(), address.ip.data()) == 1) return address;
  return invalid("peers have no use for the address " + ip);
}

bool BtAddress::is_v4() const {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), ip.begin());
}

Result<AnnounceQuery> parse_announce(std::string_view query) {
  AnnounceQuery out;
  bool hash = false, peer = false;
  auto take = [&](std::string_view name, std::string_view value) -> Status {
    if (name == "info_hash") {
      if (std::exchange(hash, true)) return invalid("info_hash is there twice");
      return read_bytes(name, value, out.info_hash);
    }
    if (name == "peer_id") {
      peer = true;
      return read_bytes(name, value, out.peer_id);
    }
    if (name == "port") {
      std::optional<std::uint16_t> port = read_number<std::uint16_t>(value);
      if (!port || *port == 0) return invalid("port must be 1 to 65535");
      out.port = *port;
    } else if (name == "left") {
      out.seed = read_number<std::uint64_t>(value) == 0;
    } else if (name == "event") {
      out.event = read_event(value);
    } else if (name == "numwant") {
      out.numwant = read_number<std::uint32_t>(value);  // some send -1 for "as you like"
    } else if (name == "key") {
      std::optional<std::string> key = decode(value);
      out.key = key && key->size() <= kMaxBtKey ? *key : std::string();
    }
    return {};
  };
  SHOAL_TRY(for_each_parameter(query, take));
  if (!hash) return invalid("info_hash is missing");
  if (!peer) return invalid("peer_id is missing");
  if (out.port == 0) return invalid("port is missing");
  return out;
}

Result<std::vector<TruncatedInfoHash>> parse_scrape(std::string_view query) {
  std::vector<TruncatedInfoHash> out;
  auto take = [&](std::string_view name, std::string_view value) -> Status {
    if (name != "info_hash") return {};
    if (out.size() == kMaxScrapeHashes) {
      return invalid("at most " + std::to_string(kMaxScrapeHashes) + " info-hashes at once");
    }
    return read_bytes(name, value, out.emplace_back());
  };
  SHOAL_TRY(for_each_parameter(query, take));
  if (out.empty()) return invalid("info_hash is missing: name the torrents to scrape");
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::string announce_answer(const SwarmCounts& counts, const std::vector<BtAddress>& peers,
                            std::chrono::seconds interval, std::chrono::seconds min_interval) {
  BencodeWriter out;
  out.begin_dictionary();
  out.key("complete").integer(number(counts.seeds));
  out.key("incomplete").integer(number(counts.leeches));
  out.key("interval").integer(interval.count());
  out.key("min interval").integer(min_interval.count());
  out.key("peers").string(compact(peers, true));
  out.key("peers6").string(compact(peers, false));
  out.end();
  return out.take();
}

std::string scrape_answer(const std::vector<std::pair<TruncatedInfoHash, SwarmCounts>>& files) {
  BencodeWriter out;
  out.begin_dictionary().key("files").begin_dictionary();
  for (const auto& [hash, counts] : files) {
    out.key(text_of(hash)).begin_dictionary();
    out.key("complete").integer(number(counts.seeds));
    out.key("downloaded").integer(number(counts.completed));
    out.key("incomplete").integer(number(counts.leeches));
    out.end();
  }
  out.end().end();
  return out.take();
}

std::string failure_answer(std::string_view reason) {
  BencodeWriter out;
  out.begin_dictionary().key("failure reason").string(reason).end();
  return out.take();
}

}  // namespace shoal::tracker
