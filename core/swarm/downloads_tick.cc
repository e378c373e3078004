// What time alone brings about: rates, timeouts, stalls; and what an operator is told.

#include <algorithm>
#include <bit>

#include "core/swarm/downloads_impl.h"

namespace shoal::swarm {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr std::size_t kCrumbsPerTick = 16;
// How long a refused import is not asked for again; between this and twice as long.
constexpr Duration kRackTakenTurn = std::chrono::seconds(1);
constexpr int kStarvedPart = 2;
// All peers together tell their news about so often, each at least and at most.
constexpr Duration kNewsShare = std::chrono::milliseconds(10);
constexpr Duration kLeastNewsInterval = std::chrono::milliseconds(20);
constexpr Duration kMostNewsInterval = std::chrono::milliseconds(250);
// With less than this left, at the present rate, the end is near.
constexpr double kEndSeconds = 0.7;

}  // namespace

void Downloads::Impl::tick() {
  tick_at_ = now_ + kTick;
  if (rate_since_ == Time::min()) rate_since_ = now_;
  double seconds = std::chrono::duration<double>(now_ - rate_since_).count();
  if (seconds > 0) {
    double sample = static_cast<double>(rate_bytes_) / seconds;
    double weight = std::min(1.0, seconds / 0.5);
    total_rate_ += weight * (sample - total_rate_);
    rate_bytes_ = 0;
    rate_since_ = now_;
  }
  if (now_ >= rack_taken_turn_) {
    rack_taken_turn_ = now_ + kRackTakenTurn;
    for (BlobId id : active_) {
      Blob& blob = blobs_[id.value()];
      if (!blob.tracked) continue;
      std::swap(blob.rack_taken[0], blob.rack_taken[1]);
      std::fill(blob.rack_taken[0].begin(), blob.rack_taken[0].end(), 0);
    }
  }
  // A source that backed off may be asked again.
  for (PeerId id : up_) {
    Peer& peer = peers_[id.value()];
    if (peer.backoff.failures() != 0 && peer.backoff.ready(now_)) peer.dry = false;
  }
  crumbs_ = kCrumbsPerTick;
  if (crumbs_left_out_) wake_all();
  crumbs_left_out_ = false;
  check_requests();
  check_stalls();
  hedge_slow();
}

void Downloads::Impl::check_requests() {
  for (std::uint32_t slot = 0; slot < requests_.size(); ++slot) {
    Request& request = requests_[slot];
    if (!request.live || request.cancelled || request.orphan) continue;
    if (now_ - request.progress < options_.request_stall) continue;
    // Behind another request of the same source that moves, it may just have to wait.
    Time source_progress = request.progress;
    for (const Request& other : requests_) {
      if (other.live && !other.orphan && other.source == request.source &&
          other.urgent == request.urgent) {
        source_progress = std::max(source_progress, other.progress);
      }
    }
    if (now_ - source_progress < options_.request_stall) continue;
    out_.push_back(CancelRequest{RequestId(std::uint64_t{request.generation} << 32 | slot), true});
    // Its pieces go to others at once; what it still brings counts as a duplicate.
    Request ended = request;
    request.cancelled = true;
    request.orphan = true;
    in_flight_ -= ended.left;
    Blob& blob = blobs_[ended.blob.value()];
    unbusy(blob, ended);
    ++counters_.failures;
    blob.failures.push_back({now_, ended.source, Outcome::kTimeout});
    if (blob.failures.size() > kFailuresKept) blob.failures.pop_front();
    if (ended.source.is_origin()) {
      origin_.abandoned(ended.left, true, now_);
      --(ended.urgent ? origin_urgent_ : origin_bulk_);
    } else {
      Peer& peer = peers_[ended.source.peer().value()];
      peer.score.abandoned(ended.left, true, now_);
      --(ended.urgent ? peer.urgent : peer.bulk);
    }
    blame(blob, ended, Outcome::kTimeout, {});
    wake_all();
  }
}

bool Downloads::Impl::starved(const Blob& blob) const {
  // A file that waits for its turn behind others was not tried yet.
  if (blob.tried == kNever) return false;
  Time last = std::max({blob.progress, blob.news, blob.tried});
  return now_ - last >= options_.blob_stall / kStarvedPart;
}

void Downloads::Impl::check_stalls() {
  for (BlobId id : active_) {
    Blob& blob = blobs_[id.value()];
    if (!blob.tracked) continue;
    bool urgent = std::any_of(urgent_.begin(), urgent_.end(),
                              [id](const Urgent& want) { return want.blob == id; });
    if (!blob.wanted() && !urgent) {
      blob.progress = now_;
      continue;
    }
    // A file that waits for its turn behind others is no stall; nor is one starved by the rack rule
    // while pieces of it still appear in the swarm.
    Duration idle = now_ - std::max(blob.progress, progress_);
    bool free = starved(blob);
    if (free && !blob.unrestricted) wake_all();
    blob.unrestricted = free;
    if (idle >= options_.blob_stall && !blob.stall_reported) {
      blob.stall_reported = true;
      ++counters_.stalls;
      out_.push_back(ReportStall{id});
    }
  }
}

Duration Downloads::Impl::news_interval() const {
  double left = 0;
  for (BlobId id : active_) {
    const Blob& blob = blobs_[id.value()];
    std::uint64_t pieces = blob.layout.piece_count() - blob.have.count();
    left += static_cast<double>(pieces * blob.layout.piece_length());
  }
  if (left <= total_rate_ * kEndSeconds || total_rate_ == 0) return kLeastNewsInterval;
  return std::clamp<Duration>(up_.size() * kNewsShare, kLeastNewsInterval, kMostNewsInterval);
}

Explanation Downloads::Impl::explain(BlobId id, Time now) const {
  Explanation out;
  const Blob* blob = find(id);
  if (!blob) return out;
  now = std::max(now, now_);
  const content::BlobLayout& layout = blob->layout;
  out.pieces_have = blob->have.count();
  out.pieces_total = layout.piece_count();
  out.since = blob->progress;
  out.failures.assign(blob->failures.begin(), blob->failures.end());
  content::PieceSet wanted(layout.piece_count());
  for (const RunSet& demand : blob->demand) {
    if (demand.count() != 0) wanted |= demand.pieces(layout);
  }
  for (const Urgent& want : urgent_) {
    if (want.blob == id) wanted.set_range(want.pieces);
  }
  wanted -= blob->have.pieces(layout);
  out.pieces_wanted = wanted.count();
  out.piece = wanted.first_set();
  for (const Request& request : requests_) {
    if (request.live && !request.orphan && request.blob == id) out.in_flight += request.left;
  }
  bool someone = false;
  bool near = false;
  for (PeerId peer_id : up_) {
    const Peer& peer = peers_[peer_id.value()];
    if (peer.banned || id.value() >= peer.has.size() || !out.piece) continue;
    const RunSet& has = peer.has[id.value()];
    if (has.count() == 0) continue;
    if (wanted.intersects(has.pieces(layout))) ++out.sources;
    if (has.contains(layout, *out.piece)) {
      someone = true;
      near |= peer.near;
    }
  }
  using Wait = Explanation::Wait;
  if (out.pieces_wanted == 0) {
    out.wait = Wait::kNothing;
  } else if (out.in_flight != 0) {
    out.wait = Wait::kTransfer;
  } else if (blob->held) {
    out.wait = Wait::kHeld;
  } else if (!limit_.unlimited() && limit_.ready_at(Class::kPrefetch, now) > now) {
    out.wait = Wait::kLimit;
  } else if (someone && !near && near_peers_ != 0 && tracker_up_ && !blob->unrestricted) {
    out.wait = Wait::kRack;
  } else if (someone) {
    out.wait = Wait::kPeer;
  } else if (!blob->has_origin) {
    out.wait = Wait::kSource;
  } else if (!blob->origin_backoff.ready(now) || !tracker_up_) {
    out.wait = Wait::kOrigin;
  } else {
    out.wait = Wait::kLease;
  }
  return out;
}

std::vector<SourceStatus> Downloads::Impl::sources() const {
  std::vector<SourceStatus> out;
  if (origin_.bytes() != 0 || origin_.in_flight() != 0) {
    out.push_back(
        {Source::origin(), origin_.rate(), origin_.in_flight(), origin_.bytes(), 0, Time::min()});
  }
  for (PeerId id : up_) {
    const Peer& peer = peers_[id.value()];
    out.push_back({Source::of(id), peer.score.rate(), peer.score.in_flight(), peer.score.bytes(),
                   peer.backoff.failures(), peer.backoff.until()});
  }
  return out;
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kFinished:
      return "finished";
    case Outcome::kBusy:
      return "busy";
    case Outcome::kNotHave:
      return "not_have";
    case Outcome::kCorrupt:
      return "corrupt";
    case Outcome::kShort:
      return "short";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kDisconnected:
      return "disconnected";
    case Outcome::kRefused:
      return "refused";
    case Outcome::kChanged:
      return "changed";
    case Outcome::kCancelled:
      return "cancelled";
    case Outcome::kLocal:
      return "local";
  }
  return "?";
}

std::string_view wait_name(Explanation::Wait wait) {
  using Wait = Explanation::Wait;
  switch (wait) {
    case Wait::kNothing:
      return "nothing";
    case Wait::kTransfer:
      return "transfer";
    case Wait::kSource:
      return "source";
    case Wait::kPeer:
      return "peer";
    case Wait::kLease:
      return "lease";
    case Wait::kRack:
      return "rack";
    case Wait::kOrigin:
      return "origin";
    case Wait::kLimit:
      return "limit";
    case Wait::kHeld:
      return "held";
  }
  return "?";
}

}  // namespace shoal::swarm
