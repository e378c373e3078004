#include "agent/swarm/fetcher.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "core/api/limits.h"
#include "core/base/check.h"
#include "core/base/log.h"
#include "core/base/metrics.h"
#include "core/base/random.h"

namespace shoal::agent {
namespace {

using std::chrono::milliseconds;
using swarm::Outcome;

constexpr std::size_t kErrorsKept = 8;
constexpr std::chrono::seconds kHoldTime{5};
// An origin that has another file than the one published is looked at again after this long, and
// then after twice as long each time, up to the second: its operator may put the file back.
constexpr milliseconds kChangedRetry{5'000};
constexpr milliseconds kChangedRetryMost{300'000};

swarm::Time now() { return std::chrono::steady_clock::now(); }

metrics::Counter& received_bytes(bool from_origin) {
  static metrics::Counter& peers = metrics::counter(
      "shoal_agent_received_bytes_total", "Verified bytes received.", {{"source", "peer"}});
  static metrics::Counter& origin = metrics::counter(
      "shoal_agent_received_bytes_total", "Verified bytes received.", {{"source", "origin"}});
  return from_origin ? origin : peers;
}

metrics::Counter& request_outcomes(Outcome outcome, bool from_origin) {
  return metrics::counter("shoal_agent_requests_total", "Requests for pieces that have ended.",
                          {{"outcome", std::string(swarm::outcome_name(outcome))},
                           {"source", from_origin ? "origin" : "peer"}});
}

// URLs may carry signatures in their query.
std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

}  // namespace

Fetcher::Fetcher(Executor executor, LaneClient& lane, OriginReader& origins, Inventory& inventory,
                 HashBook& hashes, LeaseKeeper::Tracker& tracker, Listener& listener,
                 Options options)
    : executor_(executor),
      lane_(lane),
      origins_(origins),
      inventory_(inventory),
      hashes_(hashes),
      listener_(listener),
      options_(std::move(options)),
      downloads_({.node_key = swarm::node_key(options_.node),
                  .download_limit = options_.download_limit,
                  .pipeline = lane.pipeline()},
                 random_u64()),
      leases_(executor, tracker, *this),
      tasks_(executor, "fetcher"),
      stop_(executor),
      timer_(executor) {
  tasks_.spawn("leases", leases_.run(), [this] { leases_.close(); });
}

Fetcher::~Fetcher() = default;

Task<void> Fetcher::stop() {
  stopped_ = true;
  stop_.set();
  timer_.cancel();
  co_await tasks_.stop();
}

// --- Blobs and demand
// ------------------------------------------------------------------------------

void Fetcher::add(std::shared_ptr<store::Blob> blob, const std::vector<api::Origin>& origins,
                  std::string pull_id) {
  assert_owner_thread();
  const content::Digest digest = blob->digest();
  std::vector<std::string> urls;
  bool news = false;
  for (const api::Origin& origin : origins) {
    if (!origins_.can_read(origin.url)) continue;
    urls.push_back(origin.url);
    news |= origins_.expect(*blob, origin.url, origin.etag);
  }
  if (auto it = ids_.find(digest); it != ids_.end()) {
    Blob& known = blobs_[it->second];
    for (std::string& url : urls) {
      if (std::find(known.origins.begin(), known.origins.end(), url) != known.origins.end()) {
        continue;
      }
      known.origins.push_back(std::move(url));
      news = true;
    }
    // Published again, perhaps because of a change: looked at now and not when its time has come.
    if (news) {
      ++known.round;
      known.looks_again = known.etag_told = false;
      known.changes = 0;
    }
    if (!known.looks_again) downloads_.set_has_origin(it->second, !known.origins.empty(), now());
    schedule();
    return;
  }
  swarm::BlobId id(free_blobs_.empty() ? next_blob_++ : free_blobs_.back());
  if (!free_blobs_.empty()) free_blobs_.pop_back();
  downloads_.add_blob(id, blob->layout(), swarm::blob_key(digest), blob->have(), !urls.empty(),
                      now());
  ids_[digest] = id;
  by_key_[swarm::blob_key(digest)] = id;
  Blob& fresh = blobs_[id];
  fresh.stored = std::move(blob);
  fresh.origins = std::move(urls);
  fresh.pull_id = std::move(pull_id);
  interest_changed();
  schedule();
}

void Fetcher::want(const content::Digest& blob, content::PieceRange pieces, swarm::Class cls,
                   swarm::Time deadline) {
  auto it = ids_.find(blob);
  SHOAL_CHECK(it != ids_.end(), "wanting a blob that was not added");
  downloads_.want(it->second, pieces, cls, deadline, now());
  schedule();
}

void Fetcher::unwant(const content::Digest& blob, swarm::Class cls) {
  auto it = ids_.find(blob);
  if (it == ids_.end()) return;
  downloads_.unwant(it->second, cls, now());
  schedule();
}

void Fetcher::remove(const content::Digest& blob) {
  auto it = ids_.find(blob);
  if (it == ids_.end()) return;
  forget_blob(it->second);
}

void Fetcher::forget_blob(swarm::BlobId id) {
  content::Digest digest = blobs_.at(id).stored->digest();
  downloads_.remove_blob(id, now());
  leases_.forget(digest);
  for (const auto& peer : peers_) {
    if (peer) peer->poller->forget(swarm::blob_key(digest));
  }
  by_key_.erase(swarm::blob_key(digest));
  ids_.erase(digest);
  blobs_.erase(id);
  freed_blobs_.push_back(id.value());
  interest_changed();
  schedule();
}

void Fetcher::pieces_added(const content::Digest& blob, content::PieceRange pieces) {
  auto it = ids_.find(blob);
  if (it == ids_.end()) return;
  downloads_.pieces_added(it->second, pieces, now());
  finish_if_complete(it->second);
  schedule();
}

void Fetcher::pieces_lost(const content::Digest& blob, const content::PieceSet& pieces) {
  auto it = ids_.find(blob);
  if (it == ids_.end()) return;
  for (auto run = pieces.next_run(content::PieceIndex(0)); !run.empty();
       run = pieces.next_run(run.end())) {
    downloads_.pieces_lost(it->second, run, now());
  }
  schedule();
}

void Fetcher::finish_if_complete(swarm::BlobId id) {
  if (!downloads_.complete(id)) return;
  content::Digest digest = blobs_.at(id).stored->digest();
  forget_blob(id);
  listener_.blob_arrived(digest);
}

// --- Transfers
// -------------------------------------------------------------------------------------

void Fetcher::transfers(std::vector<TransferEvent>& events) {
  assert_owner_thread();
  if (stopped_) return;
  for (const TransferEvent& event : events) {
    switch (event.kind) {
      case TransferEvent::Kind::kVerified:
        on_verified(event);
        break;
      case TransferEvent::Kind::kActive:
        downloads_.request_active(event.id, now());
        if (auto it = running_.find(event.id); it != running_.end()) {
          if (auto blob = blobs_.find(it->second.blob); blob != blobs_.end()) {
            leases_.active(blob->second.stored->digest());
          }
        }
        break;
      case TransferEvent::Kind::kEnded:
        if (!event.pieces.empty()) on_verified(event);
        on_ended(event);
        break;
    }
  }
  decide();
}

void Fetcher::on_verified(const TransferEvent& event) {
  auto running = running_.find(event.id);
  if (running == running_.end()) return;
  downloads_.pieces_verified(event.id, event.pieces, now());
  auto it = blobs_.find(running->second.blob);
  if (it == blobs_.end()) return;
  Blob& blob = it->second;
  const content::Digest digest = blob.stored->digest();
  const bool from_origin = running->second.source.is_origin();
  // Counted against what was known before, so that a piece fetched twice counts once.
  std::uint64_t bytes = 0;
  const content::PieceSet* had = inventory_.pieces(digest);
  for (content::PieceIndex piece : event.pieces) {
    if (had == nullptr || !had->test(piece)) bytes += blob.stored->layout().piece_size(piece);
  }
  inventory_.added(digest, event.pieces);
  leases_.verified(digest, event.pieces);
  if (from_origin && !blob.etag_told) {
    blob.etag_told = true;
    std::string version = origins_.version(digest, running->second.origin).value_or("");
    if (!version.empty() && version.size() <= api::kMaxEtag)
      leases_.seen(digest, std::move(version));
  }
  (from_origin ? blob.origin_error : blob.peer_error).clear();
  blob.store_error.clear();
  if (from_origin) blob.changes = 0;
  received_bytes(from_origin).add(bytes);
  if (bytes > 0) listener_.pieces_arrived(digest, event.pieces, bytes, from_origin);
}

void Fetcher::on_ended(const TransferEvent& event) {
  auto it = running_.find(event.id);
  if (it == running_.end()) return;
  auto its_blob = blobs_.find(it->second.blob);
  if (event.outcome == Outcome::kCorrupt && !it->second.source.is_origin() &&
      !it->second.asks_hashes && its_blob != blobs_.end() && !its_blob->second.stored->settled()) {
    // It may be that another node has claimed something else about these pieces.
    it->second.asks_hashes = true;
    tasks_.spawn("judge",
                 judge(event, its_blob->second.stored, it->second.pieces, it->second.source.peer()),
                 [this] { close_hash_clients(); });
    return;
  }
  Running running = std::move(it->second);
  running_.erase(it);
  request_outcomes(event.outcome, running.source.is_origin()).add();
  downloads_.request_ended(event.id, event.outcome, event.retry_after, now());
  auto blob = blobs_.find(running.blob);
  if (blob == blobs_.end()) return;
  bool failed = event.outcome != Outcome::kFinished && event.outcome != Outcome::kCancelled &&
                (event.outcome != Outcome::kBusy || running.source.is_origin());
  if (failed) on_failed(running.blob, running, event);
  if (event.outcome == Outcome::kLocal && !blob->second.held) {
    blob->second.held = true;
    downloads_.hold(running.blob, true, now());
    tasks_.spawn("hold", end_hold(blob->second.stored->digest()), [this] { stop_.set(); });
  }
  finish_if_complete(running.blob);
}

void Fetcher::on_failed(swarm::BlobId id, const Running& running, const TransferEvent& event) {
  Blob& blob = blobs_.at(id);
  if (event.outcome == Outcome::kLocal) {
    blob.store_error = event.detail;
    note_error(blob, "this node's store: " + event.detail);
    return;
  }
  if (!running.source.is_origin()) {
    blob.peer_error = "peer " + peer_name(running.source.peer()) + ": " + event.detail;
    note_error(blob, blob.peer_error);
    return;
  }
  blob.origin_error = event.detail;
  blob.origin_outcome = event.outcome;
  note_error(blob, "origin " + without_query(running.origin) + ": " + event.detail);
  // Another of the blob's URLs may do better.
  ++blob.next_origin;
  if (event.outcome != Outcome::kChanged && event.outcome != Outcome::kCorrupt) return;
  if (running.round != blob.round) return;  // of what is known already, or published anew since
  origins_.forget(blob.stored->digest(), running.origin);
  not_that_file(id);
}

// What an origin has is not the file that was published. Nothing is lost by looking again later:
// each piece is checked.
void Fetcher::not_that_file(swarm::BlobId id) {
  Blob& blob = blobs_.at(id);
  if (blob.looks_again) return;  // is known
  blob.looks_again = true;
  blob.etag_told = false;
  downloads_.set_has_origin(id, false, now());
  auto times = static_cast<unsigned>(blob.changes++ / blob.origins.size());
  milliseconds after = std::min(kChangedRetryMost, kChangedRetry * (1 << std::min(times, 10u)));
  // The others first.
  if (blob.changes % blob.origins.size() != 0) after = milliseconds(0);
  tasks_.spawn("origin again", look_at_origin_again(blob.stored->digest(), ++blob.round, after),
               [this] { stop_.set(); });
}

Task<void> Fetcher::look_at_origin_again(content::Digest digest, std::uint64_t round,
                                         milliseconds after) {
  (void)co_await sleep_until(Deadline::after(after), &stop_);
  auto it = ids_.find(digest);
  if (it == ids_.end() || stopped_) co_return;
  Blob& blob = blobs_.at(it->second);
  if (blob.round != round) co_return;  // it was looked at before its time
  blob.looks_again = false;
  downloads_.set_has_origin(it->second, true, now());
  schedule();
}

std::string Fetcher::peer_name(swarm::PeerId id) const {
  std::size_t index = id.value();
  return index < peers_.size() && peers_[index] ? peers_[index]->address.node : "(gone)";
}

// The disk was full, or failed: tried again after a while, by then something may have been evicted.
Task<void> Fetcher::end_hold(content::Digest digest) {
  (void)co_await sleep_until(Deadline::after(kHoldTime), &stop_);
  auto it = ids_.find(digest);
  if (it == ids_.end() || stopped_) co_return;
  blobs_.at(it->second).held = false;
  downloads_.hold(it->second, false, now());
  schedule();
}

void Fetcher::note_error(Blob& blob, std::string text) {
  log::info("transfer failed",
            {{"digest", blob.stored->digest().str()}, {"pull_id", blob.pull_id}, {"err", text}});
  if (!blob.errors.empty() && blob.errors.back() == text) return;
  if (blob.errors.size() == kErrorsKept) blob.errors.erase(blob.errors.begin());
  blob.errors.push_back(std::move(text));
}

// --- Deciding
// --------------------------------------------------------------------------------------

// Several inputs of one turn of the event loop lead to one decision.
void Fetcher::schedule() {
  if (scheduled_ || stopped_) return;
  scheduled_ = true;
  asio::post(executor_, [this] {
    if (scheduled_) decide();
  });
}

void Fetcher::decide() {
  scheduled_ = false;
  if (stopped_) return;
  actions_.clear();
  downloads_.decide(now(), actions_);
  free_blobs_.insert(free_blobs_.end(), freed_blobs_.begin(), freed_blobs_.end());
  freed_blobs_.clear();
  for (swarm::Action& action : actions_) {
    if (auto* request = std::get_if<swarm::StartRequest>(&action)) {
      start(*request);
    } else if (auto* cancelled = std::get_if<swarm::CancelRequest>(&action)) {
      cancel(*cancelled);
    } else if (auto* ask = std::get_if<swarm::AskLease>(&action)) {
      if (auto it = blobs_.find(ask->ask.blob); it != blobs_.end()) {
        leases_.ask(ask->ask, it->second.stored->digest());
      }
    } else if (auto* release = std::get_if<swarm::ReleaseLease>(&action)) {
      if (auto it = blobs_.find(release->blob); it != blobs_.end()) {
        leases_.release(release->kind, it->second.stored->digest(), release->pieces);
      }
    } else if (auto* banned = std::get_if<swarm::BanPeer>(&action)) {
      ban(*banned);
    } else if (auto* stall = std::get_if<swarm::ReportStall>(&action)) {
      static metrics::Counter& stalls = metrics::counter(
          "shoal_agent_stalls_total", "Downloads without a verified byte for 10 s.");
      stalls.add();
      if (auto it = blobs_.find(stall->blob); it != blobs_.end()) {
        swarm::Explanation why = downloads_.explain(stall->blob, now());
        log::warn("download stalled", {{"digest", it->second.stored->digest().str()},
                                       {"pull_id", it->second.pull_id},
                                       {"waits_for", swarm::wait_name(why.wait)}});
      }
    }
  }
  swarm::Time wake = downloads_.next_wake();
  if (wake == swarm::kNever) {
    timer_.cancel();
    return;
  }
  timer_.expires_at(std::chrono::time_point_cast<asio::steady_timer::duration>(wake));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) decide();
  });
}

void Fetcher::start(const swarm::StartRequest& request) {
  Blob& blob = blobs_.at(request.blob);
  Transfer transfer;
  transfer.id = request.id;
  transfer.blob = blob.stored;
  transfer.pieces = request.pieces;
  transfer.cls = request.cls;
  transfer.urgent = request.urgent;
  transfer.pull_id = blob.pull_id;
  Running running{request.blob, request.source, {}, blob.round, request.pieces};
  if (request.source.is_origin()) {
    running.origin = blob.origins.at(blob.next_origin % blob.origins.size());
    running_.emplace(request.id, running);
    origins_.fetch(std::move(transfer), running.origin);
  } else {
    const bool hashes_first = !blob.stored->settled() && !blob.stored->knows_hashes(request.pieces);
    running.asks_hashes = hashes_first;
    running_.emplace(request.id, running);
    if (hashes_first) {
      tasks_.spawn("hashes", fetch_hashes_first(std::move(transfer), request.source.peer()),
                   [this] { close_hash_clients(); });
    } else {
      lane_.fetch(std::move(transfer), peers_.at(request.source.peer().value())->address);
    }
  }
}

void Fetcher::cancel(const swarm::CancelRequest& request) {
  const swarm::RequestId id = request.id;
  auto it = running_.find(id);
  if (it == running_.end()) return;
  auto blob = blobs_.find(it->second.blob);
  if (request.stalled && blob != blobs_.end()) {
    request_outcomes(Outcome::kTimeout, it->second.source.is_origin()).add();
    const std::string silent = "sends nothing: what was asked of it is asked elsewhere";
    if (it->second.source.is_origin()) {
      blob->second.origin_error = "origin " + without_query(it->second.origin) + " " + silent;
      blob->second.origin_outcome = Outcome::kTimeout;
      note_error(blob->second, blob->second.origin_error);
    } else {
      blob->second.peer_error = "peer " + peer_name(it->second.source.peer()) + " " + silent;
      note_error(blob->second, blob->second.peer_error);
    }
  }
  if (it->second.source.is_origin()) {
    origins_.cancel(id);
    return;
  }
  if (it->second.asks_hashes) {
    it->second.cancelled = true;
    return;
  }
  std::size_t index = it->second.source.peer().value();
  if (index < peers_.size() && peers_[index]) lane_.cancel(id, peers_[index]->address);
}

// --- Status
// ----------------------------------------------------------------------------------------

std::optional<Fetcher::Report> Fetcher::explain(const content::Digest& digest) const {
  auto it = ids_.find(digest);
  if (it == ids_.end()) return std::nullopt;
  const Blob& blob = blobs_.at(it->second);
  Report report;
  report.swarm = downloads_.explain(it->second, now());
  report.last_errors = blob.errors;
  report.origin_error = blob.origin_error;
  if (!blob.origin_error.empty()) report.origin_outcome = blob.origin_outcome;
  report.peer_error = blob.peer_error;
  report.store_error = blob.store_error;
  for (const swarm::SourceStatus& status : downloads_.sources()) {
    SourceReport source{"origin", "", status.rate, status.in_flight, status.bytes};
    if (status.source.is_origin()) {
      if (blob.origins.empty()) continue;
      source.name = without_query(blob.origins[blob.next_origin % blob.origins.size()]);
    } else {
      std::size_t index = status.source.peer().value();
      if (index >= peers_.size() || !peers_[index]) continue;
      source.kind = "peer";
      source.name = peers_[index]->address.node;
    }
    report.sources.push_back(std::move(source));
  }
  return report;
}

}  // namespace shoal::agent
