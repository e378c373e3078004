#include "agent/tracker/fleet_report.h"

#include <algorithm>
#include <utility>

#include "core/base/check.h"

namespace shoal::agent {

using content::BlobLayout;
using content::Digest;
using content::PieceIndex;
using content::PieceRange;
using content::PieceSet;

namespace {

// Bytes of JSON, rounded up; text may need escapes.
constexpr std::size_t kDigestCost = 80;
constexpr std::size_t kBlobCost = 240;
constexpr std::size_t kSpanCost = 15;

std::size_t text_cost(const std::string& text) {
  return 2 * std::min(text.size(), api::kMaxText) + 16;
}

std::size_t cost(const api::BlobReport& blob) { return kBlobCost + blob.have.size() * kSpanCost; }

std::size_t cost(const api::PeerReport& peer) { return 400 + text_cost(peer.text); }

std::size_t cost(const api::PullReport& pull) {
  std::size_t sum = 800 + text_cost(pull.waiting_for);
  if (pull.error) sum += text_cost(pull.error->message());
  for (const api::PullSource& source : pull.sources) sum += 100 + text_cost(source.name);
  for (const api::PullWait& wait : pull.waits) sum += 100 + text_cost(wait.text);
  for (const std::string& error : pull.last_errors) sum += text_cost(error);
  return sum;
}

// Room for entries of one kind: at most `count`, at most `bytes`, but the first one always fits.
class Room {
 public:
  Room(std::size_t count, std::size_t bytes) : count_(count), bytes_(bytes) {}

  bool take(std::size_t cost) {
    if (count_ == 0 || (!first_ && cost > bytes_)) return false;
    first_ = false;
    --count_;
    bytes_ -= std::min(bytes_, cost);
    return true;
  }

 private:
  std::size_t count_;
  std::size_t bytes_;
  bool first_ = true;
};

template <typename T>
void cut(std::vector<T>& list, std::size_t limit) {
  if (list.size() > limit)
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(limit), list.end());
}

// The runs that are whole in `have` and have a piece in `news`; adjacent ones as one stretch.
std::vector<PieceRange> whole_runs(const BlobLayout& layout, const PieceSet& have,
                                   const PieceSet& news) {
  std::vector<PieceRange> stretches;
  PieceIndex from(0);
  while (std::optional<PieceIndex> piece = news.first_set(from)) {
    PieceRange run = layout.pieces_of_run(layout.run_of(*piece));
    from = run.end();
    if (!have.contains(run)) continue;
    if (!stretches.empty() && stretches.back().end() == run.first) {
      stretches.back().count += run.count;
    } else {
      stretches.push_back(run);
    }
  }
  return stretches;
}

}  // namespace

FleetReport::FleetReport(std::function<void()> hurry) : hurry_(std::move(hurry)) {}

bool FleetReport::has_pieces(const Blob& blob) {
  return blob.added && blob.state != api::BlobState::kComplete;
}

void FleetReport::changed(const Digest& digest, Blob& blob) {
  blob.change = ++changes_;
  if (blob.dirty_since != 0) return;
  blob.dirty_since = blob.change;
  dirty_.emplace(blob.dirty_since, digest);
}

void FleetReport::clean(Blob& blob) {
  dirty_.erase(blob.dirty_since);
  blob.dirty_since = 0;
}

void FleetReport::take_back(const Digest& digest, Blob& blob) {
  if (blob.told) removed_.insert(digest);
  blob.told = false;
}

void FleetReport::blob_added(const Digest& digest, const BlobLayout& layout, PieceSet have,
                             api::BlobState state) {
  SHOAL_CHECK(have.size() == layout.piece_count(), "pieces of another layout");
  Blob& blob = blobs_[digest];
  const bool complete = state == api::BlobState::kComplete;
  if (blob.added && !complete) {
    // What the tracker heard before only ever grows: less is told as a removal and a new blob.
    const bool less = blob.layout != layout || !has_pieces(blob) || !(blob.have - have).none();
    if (less) take_back(digest, blob);
  }
  blob.added = true;
  blob.size = layout.size();
  blob.layout = layout;
  blob.state = state;
  blob.have = complete ? PieceSet() : std::move(have);
  blob.unreported = blob.have;
  changed(digest, blob);
}

void FleetReport::pieces_verified(const Digest& digest, PieceRange pieces) {
  auto found = blobs_.find(digest);
  if (found == blobs_.end() || !has_pieces(found->second)) return;
  Blob& blob = found->second;
  if (blob.have.contains(pieces)) return;
  blob.have.set_range(pieces);
  blob.unreported.set_range(pieces);
  changed(digest, blob);
}

void FleetReport::blob_wanted(const Digest& digest, std::uint64_t size, bool wanted) {
  auto found = blobs_.find(digest);
  if (found == blobs_.end()) {
    if (!wanted) return;
    found = blobs_.try_emplace(digest).first;
  }
  Blob& blob = found->second;
  if (!blob.added) blob.size = size;
  if (blob.wanted == wanted) return;
  blob.wanted = wanted;
  if (!blob.added && !wanted) {
    blob_removed(digest);
  } else {
    changed(digest, blob);
  }
  if (hurry_) hurry_();
}

void FleetReport::blob_state(const Digest& digest, api::BlobState state) {
  auto found = blobs_.find(digest);
  if (found == blobs_.end() || !found->second.added || found->second.state == state) return;
  Blob& blob = found->second;
  const bool was_complete = blob.state == api::BlobState::kComplete;
  blob.state = state;
  if (state == api::BlobState::kComplete) {
    blob.have = PieceSet();
    blob.unreported = PieceSet();
  } else if (was_complete) {
    blob.have = PieceSet::full(blob.layout.piece_count());
    blob.unreported = blob.have;
  }
  changed(digest, blob);
}

void FleetReport::blob_removed(const Digest& digest) {
  auto found = blobs_.find(digest);
  if (found == blobs_.end()) return;
  Blob& blob = found->second;
  take_back(digest, blob);
  if (blob.wanted) {
    blob.added = false;
    blob.state = api::BlobState::kLive;
    blob.have = PieceSet();
    blob.unreported = PieceSet();
    changed(digest, blob);
  } else {
    clean(blob);
    blobs_.erase(found);
  }
}

void FleetReport::pull(api::PullReport report) {
  cut(report.sources, api::kMaxPullSources);
  cut(report.waits, api::kMaxPullNotes);
  cut(report.last_errors, api::kMaxPullNotes);
  auto found = std::find_if(pulls_.begin(), pulls_.end(),
                            [&](const Pull& known) { return known.report.id == report.id; });
  if (found == pulls_.end()) {
    if (pulls_.size() == kMaxPendingPulls) pulls_.erase(pulls_.begin());
    found = pulls_.insert(pulls_.end(), Pull{});
  }
  found->report = std::move(report);
  found->change = ++changes_;
}

void FleetReport::peer_fault(std::string node, std::string epoch, api::PeerFault fault,
                             std::string text) {
  auto found = std::find_if(peers_.begin(), peers_.end(), [&](const api::PeerReport& known) {
    return known.node == node && known.epoch == epoch && known.fault == fault;
  });
  if (found != peers_.end()) {
    found->text = std::move(text);
    return;
  }
  if (peers_.size() == api::kMaxPeerReports) return;
  peers_.push_back({std::move(node), std::move(epoch), fault, std::move(text)});
  if (fault == api::PeerFault::kBadBytes && hurry_) hurry_();
}

void FleetReport::start_over() {
  full_ = true;
  sent_ = Sent{};
}

// A full message replaces what the tracker knew: nothing was told, nothing has to be taken back.
void FleetReport::begin_full() {
  removed_.clear();
  for (auto& [digest, blob] : blobs_) {
    blob.told = false;
    blob.unreported = blob.have;
    if (blob.dirty_since == 0) changed(digest, blob);
  }
}

api::HeartbeatRequest FleetReport::build(std::size_t max_bytes) {
  if (full_) begin_full();
  sent_ = Sent{};
  sent_.seq = seq_;
  left_over_ = false;
  api::HeartbeatRequest message;
  message.seq = seq_;
  message.full = full_;
  add_pulls(message, max_bytes / 4);
  add_peers(message, max_bytes / 8);
  add_removed(message, max_bytes / 8);
  add_blobs(message, max_bytes / 2);
  return message;
}

void FleetReport::add_pulls(api::HeartbeatRequest& message, std::size_t max_bytes) {
  Room room(api::kMaxPullReports, max_bytes);
  for (const Pull& pull : pulls_) {
    if (!room.take(cost(pull.report))) {
      left_over_ = true;
      return;
    }
    message.pulls.push_back(pull.report);
    sent_.pulls.push_back(pull.change);
  }
}

void FleetReport::add_peers(api::HeartbeatRequest& message, std::size_t max_bytes) {
  Room room(api::kMaxPeerReports, max_bytes);
  for (const api::PeerReport& peer : peers_) {
    if (!room.take(cost(peer))) {
      left_over_ = true;
      return;
    }
    message.peers.push_back(peer);
    ++sent_.peers;
  }
}

void FleetReport::add_removed(api::HeartbeatRequest& message, std::size_t max_bytes) {
  Room room(api::kMaxBlobReports, max_bytes);
  for (const Digest& digest : removed_) {
    if (!room.take(kDigestCost)) {
      left_over_ = true;
      return;
    }
    message.removed.push_back(digest);
    sent_.removed.push_back(digest);
  }
}

void FleetReport::add_blobs(api::HeartbeatRequest& message, std::size_t max_bytes) {
  Room room(api::kMaxBlobReports, max_bytes);
  for (bool wanted : {true, false}) {
    for (const auto& [since, digest] : dirty_) {
      Blob& blob = blobs_.at(digest);
      if (blob.wanted != wanted) continue;
      // Whether the tracker applies `removed` before or after `blobs` must not matter.
      if (removed_.contains(digest)) {
        left_over_ = true;
        continue;
      }
      api::BlobReport report{.digest = digest,
                             .size = blob.size,
                             .pieces_have = 0,
                             .have = {},
                             .state = blob.state,
                             .wanted = blob.wanted};
      if (has_pieces(blob)) {
        report.pieces_have = blob.have.count();
        report.have = whole_runs(blob.layout, blob.have, blob.unreported);
      } else if (blob.added) {
        report.pieces_have = blob.layout.piece_count();
      }
      if (!room.take(cost(report))) {
        left_over_ = true;
        return;
      }
      blob.told = true;
      sent_.blobs.push_back({digest, blob.change, report.have});
      message.blobs.push_back(std::move(report));
    }
  }
}

void FleetReport::acknowledged(std::uint64_t seq) {
  if (sent_.seq == 0 || seq != sent_.seq) return;
  const Sent sent = std::exchange(sent_, Sent{});
  full_ = false;
  ++seq_;
  for (const Digest& digest : sent.removed) removed_.erase(digest);
  for (const SentBlob& entry : sent.blobs) {
    auto found = blobs_.find(entry.digest);
    // Taken back since then: what was said counts for nothing.
    if (found == blobs_.end() || !found->second.told) continue;
    Blob& blob = found->second;
    if (has_pieces(blob)) {
      for (PieceRange pieces : entry.pieces) blob.unreported.reset_range(pieces);
    }
    if (blob.change == entry.change) clean(blob);
  }
  std::erase_if(pulls_, [&](const Pull& pull) {
    return std::find(sent.pulls.begin(), sent.pulls.end(), pull.change) != sent.pulls.end();
  });
  peers_.erase(peers_.begin(), peers_.begin() + static_cast<std::ptrdiff_t>(sent.peers));
}

}  // namespace shoal::agent
