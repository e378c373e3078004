// Queries of BitTorrent clients: what is accepted is within the limits, and means the same when it
// is written again with every byte escaped.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "core/base/hex.h"
#include "tracker/bittorrent/announce.h"

namespace {

using shoal::tracker::AnnounceQuery;

std::string escaped(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte& byte : bytes) out += "%" + shoal::to_hex(std::span(&byte, 1));
  return out;
}

std::string written(const AnnounceQuery& query) {
  std::string out = "info_hash=" + escaped(query.info_hash) + "&peer_id=" + escaped(query.peer_id) +
                    "&port=" + std::to_string(query.port) + "&left=" + (query.seed ? "0" : "1") +
                    "&key=" + escaped(std::as_bytes(std::span(query.key)));
  if (query.numwant) out += "&numwant=" + std::to_string(*query.numwant);
  switch (query.event) {
    case AnnounceQuery::Event::kNone:
      return out;
    case AnnounceQuery::Event::kStarted:
      return out + "&event=started";
    case AnnounceQuery::Event::kStopped:
      return out + "&event=stopped";
    case AnnounceQuery::Event::kCompleted:
      return out + "&event=completed";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal::tracker;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (auto query = parse_announce(text)) {
    if (query->port == 0 || query->key.size() > kMaxBtKey) std::abort();
    auto again = parse_announce(written(*query));
    if (!again || *again != *query) std::abort();
  }
  if (auto torrents = parse_scrape(text)) {
    if (torrents->empty() || torrents->size() > kMaxScrapeHashes) std::abort();
    std::string all;
    for (const auto& torrent : *torrents) all += "&info_hash=" + escaped(torrent);
    auto again = parse_scrape(all);
    if (!again || *again != *torrents) std::abort();
    // Aborts if they are not ascending and unique.
    std::vector<std::pair<shoal::content::TruncatedInfoHash, SwarmCounts>> files;
    for (const auto& torrent : *torrents) files.emplace_back(torrent, SwarmCounts{});
    if (scrape_answer(files).empty()) std::abort();
  }
  return 0;
}
